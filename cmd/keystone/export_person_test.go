package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-json"
)

// TestExportPerson hands out all that is known of one person: what a device did before it was known
// whose it is, from both stores; and nothing of anybody else.
func TestExportPerson(t *testing.T) {
	d := startDev(t, lived(t))
	d.ingest(t, `{"message_id":"1","anonymous_id":"phone","event_type":"page","context":{"page":{"url":"https://shop.example/a"}}}`)
	d.ingest(t, `{"message_id":"2","anonymous_id":"phone","identity":"Bob@example.com","event_type":"identify","payload":{"city":"Bonn","n":9007199254740993}}`)
	d.ingest(t, `{"message_id":"3","anonymous_id":"phone","event_type":"track","event_name":"Order Completed","payload":{"order_id":"O-1","total":10.50,"currency":"EUR"}}`)
	d.ingest(t, `{"message_id":"4","anonymous_id":"other","identity":"ann@example.com","event_type":"identify","payload":{"city":"Ulm"}}`)
	d.settle(t)

	out := d.keystone(t, "export", "person", "--tenant", "demo", "--who", "email:bob@example.com")
	count := map[string]int{}
	var ids []string
	var profile string
	for _, text := range strings.Split(strings.TrimSpace(out), "\n") {
		var l map[string]map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &l); err != nil || len(l) != 1 {
			t.Fatalf("%v: %s", err, text)
		}
		for member, of := range l {
			count[member]++
			switch member {
			case "event":
				ids = append(ids, string(of["message_id"]))
			case "profile":
				profile = strings.Trim(string(of["profile_id"]), `"`)
			}
		}
	}
	if !slices.Equal(ids, []string{`"1"`, `"2"`, `"3"`}) {
		t.Errorf("events %v", ids)
	}
	for member, n := range map[string]int{"profile": 1, "identifier": 2, "merge": 1, "attribute_change": 2, "order": 1} {
		if count[member] != n {
			t.Errorf("%d lines of %s, want %d", count[member], member, n)
		}
	}
	for text, there := range map[string]bool{`9007199254740993`: true, `"Bonn"`: true, `10.50`: true, `shop.example/a`: true, "ann@": false, "Ulm": false} {
		if strings.Contains(out, text) != there {
			t.Errorf("%s: %v in %s", text, !there, out)
		}
	}
	if again := d.keystone(t, "export", "person", "--tenant", "demo", "--profile", profile); again != out {
		t.Errorf("by profile:\n%s\nby email:\n%s", again, out)
	}
	for _, bad := range [][]string{{"--who", "email:nobody@example.com"}, {"--who", "bob@example.com"}, {}} {
		if out, err := d.try(append([]string{"export", "person", "--tenant", "demo"}, bad...)...); err == nil {
			t.Errorf("%v: %s", bad, out)
		}
	}
	d.stop(t)
}
