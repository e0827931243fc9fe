package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// storedAs are the rows that the state store and ClickHouse both have: what is exported, its fields, and the
// same ones by SQL.
var storedAs = []struct {
	what   string
	fields []string
	sql    string
}{
	{"profiles", []string{"profile_id", "kind", "event_count", "track_count", "page_count", "identify_count", "version", "attributes"},
		"SELECT profile_id, kind, event_count, track_count, page_count, identify_count, version, attributes FROM profiles FINAL"},
	{"identifiers", []string{"node", "kind", "value", "profile_id", "version"}, "SELECT node, kind, value, profile_id, version FROM identity_map FINAL"},
	{"merges", []string{"merge_id", "winner_id", "loser_id", "kind", "cause"}, "SELECT merge_id, winner_id, loser_id, kind, cause FROM profile_merges"},
	{"lineage", []string{"profile_id", "version", "index", "path", "op", "cause"}, "SELECT profile_id, version, change_index, path, op, cause FROM attribute_changes"},
	{"orders", []string{"order_id", "profile_id", "status", "version"}, "SELECT order_id, profile_id, status, version FROM orders FINAL"},
	{"products", []string{"product_id", "name", "version"}, "SELECT product_id, name, version FROM products FINAL"},
}

// compareStores wants ClickHouse to have of each thing what the state store has, each row once.
func compareStores(t *testing.T, d *dev) {
	t.Helper()
	for _, x := range storedAs {
		args := []string{}
		if x.what == "profiles" {
			args = append(args, "--live")
		}
		var stored []string
		for _, row := range d.export(t, x.what, args...) {
			values := make([]string, len(x.fields))
			for i, field := range x.fields {
				values[i] = text(row[field])
			}
			stored = append(stored, strings.Join(values, "\t"))
		}
		columns := d.sql(t, x.sql)
		for i, row := range columns {
			values := strings.Split(row, "\t")
			if x.what == "profiles" { // the text has the numbers as they came, the export's are read
				values[7] = text(decode(t, values[7]))
			}
			columns[i] = strings.Join(values, "\t")
		}
		slices.Sort(stored)
		slices.Sort(columns)
		diff(t, x.what+" in ClickHouse, beside the state store's", columns, stored)
	}
}

// text is a field as ClickHouse prints it.
func text(field any) string {
	if field == nil {
		return ""
	}
	return fmt.Sprint(field)
}
