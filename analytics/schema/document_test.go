package schema

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/schema.md")

const documentFile = "../../docs/schema.md"

const documentHead = `# The schema in ClickHouse

What analysts query, in database ` + "`keystone`" + `: every table, view and column, in the words of its comment
(` + "`DESCRIBE TABLE events`" + ` says the same). Made by ` + "`make schema-doc`" + ` from the migrations in
[analytics/schema](../analytics/schema/migrations); a test fails when it is not up to date. Questions and their SQL
are in the [cookbook](../analytics/COOKBOOK.md).

`

// relation is a table or view as the documentation has it.
type relation struct {
	name, kind, comment string
	parameters          []string // of a view that is called like a function: name Type
	columns             [][3]string
	like                string // the relation whose columns it has, where it declares none
}

// The schema is an interface: nothing in it goes without a word of explanation, and docs/schema.md has
// all of it.
func TestDocument(t *testing.T) {
	m, db := open(t)
	up(t, m)
	all := describe(t, db)
	var names []string
	for _, d := range all {
		names = append(names, d.name)
		if d.comment == "" {
			t.Errorf("%s has no comment", d.name)
		}
		if len(d.columns) == 0 && d.like == "" {
			t.Errorf("%s has no columns", d.name)
		}
		for _, c := range d.columns {
			if c[2] == "" {
				t.Errorf("column %s.%s has no comment", d.name, c[0])
			}
		}
		signature(t, d)
	}
	for _, name := range strings.Fields("events identity_map profiles attribute_changes profile_merges orders products events_resolved " +
		"sessions sessions_in paths funnel retention cohorts attribution abandoned_carts revenue_by_campaign top_pages daily_active active " +
		"order_items product_performance live_traffic person_events events_in") {
		if !slices.Contains(names, name) {
			t.Errorf("there is no %s", name)
		}
	}
	text := document(all)
	if *update {
		if err := os.WriteFile(documentFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(documentFile); err != nil || string(have) != text {
		t.Errorf("docs/schema.md is not up to date: make schema-doc (%v)", err)
	}
}

// signature wants the comment of a view with parameters to begin with the call, all of them named.
func signature(t *testing.T, d relation) {
	if len(d.parameters) == 0 {
		return
	}
	call, _, ok := strings.Cut(d.comment, "): ")
	name, list, _ := strings.Cut(call, "(")
	told := strings.Split(list, ", ")
	var have []string
	for _, p := range d.parameters {
		have = append(have, strings.Fields(p)[0])
	}
	slices.Sort(told)
	slices.Sort(have)
	if !ok || name != d.name || !slices.Equal(told, have) {
		t.Errorf("the comment of %s does not begin with the call of its parameters %q: %.100s", d.name, have, d.comment)
	}
}

func describe(t *testing.T, db *sql.DB) []relation {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `
SELECT name, engine, comment, create_table_query, arrayMap(p -> p.1 || ' ' || p.2, parameterized_view_parameters)
FROM system.tables WHERE database = currentDatabase() ORDER BY engine LIKE '%View', name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []relation
	for rows.Next() {
		var d relation
		var create string
		if err := rows.Scan(&d.name, &d.kind, &d.comment, &create, &d.parameters); err != nil {
			t.Fatal(err)
		}
		slices.Sort(d.parameters)
		if len(d.parameters) > 0 {
			d.columns = declared(create) // system.columns has none of these
		}
		all = append(all, d)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if len(all[i].parameters) > 0 && all[i].columns == nil {
			if slices.Equal(called(t, db, all[i]), columnsOf(t, db, resolved)) {
				all[i].like = resolved
			}
			continue
		}
		if all[i].columns == nil {
			for line := range strings.SplitSeq(ask(t, db, `SELECT name, type, replaceAll(comment, '|', '¦') FROM system.columns
				WHERE database = currentDatabase() AND table = ? ORDER BY position`, all[i].name), "\n") {
				if c := strings.SplitN(line, "|", 3); len(c) == 3 {
					all[i].columns = append(all[i].columns, [3]string(c))
				}
			}
		}
	}
	return all
}

// resolved is what a view with parameters may hand through as it is.
const resolved = "events_resolved"

func columnsOf(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	return strings.Split(ask(t, db, `SELECT concat(name, ' ', type) FROM system.columns WHERE database = currentDatabase() AND table = ? ORDER BY position`, table), "\n")
}

// called are the columns of a view with parameters that declares none.
func called(t *testing.T, db *sql.DB, d relation) (columns []string) {
	t.Helper()
	var arguments []string
	for _, p := range d.parameters {
		name, kind, _ := strings.Cut(p, " ")
		arguments = append(arguments, fmt.Sprintf("%s = defaultValueOfTypeName('%s')", name, kind))
	}
	for line := range strings.SplitSeq(ask(t, db, fmt.Sprintf("DESCRIBE (SELECT * FROM %s(%s))", d.name, strings.Join(arguments, ", "))), "\n") {
		if c := strings.Split(line, "|"); len(c) > 1 {
			columns = append(columns, c[0]+" "+c[1])
		}
	}
	return columns
}

// declared reads the columns of a view from its definition: `name` Type COMMENT 'text', …
func declared(create string) (columns [][3]string) {
	_, rest, ok := strings.Cut(create, " (`")
	if !ok {
		return nil
	}
	for _, item := range items("`" + rest) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(item, "`"), "` ")
		kind, comment, _ := strings.Cut(rest, " COMMENT '")
		comment = strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.TrimSuffix(comment, "'"))
		columns = append(columns, [3]string{name, kind, comment})
	}
	return columns
}

// items are the parts of a list up to its closing parenthesis, cut at commas outside of quotes and
// parentheses.
func items(list string) (all []string) {
	depth, start := 0, 0
	var quoted, escaped bool
	for i, c := range list {
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '\''
		case c == '\'':
			quoted = true
		case c == '(':
			depth++
		case c == ')' && depth == 0:
			return append(all, strings.TrimSpace(list[start:i]))
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			all = append(all, strings.TrimSpace(list[start:i]))
			start = i + 1
		}
	}
	return nil
}

func document(all []relation) string {
	var b strings.Builder
	b.WriteString(documentHead)
	section := func(title string, of func(relation) bool) {
		fmt.Fprintf(&b, "## %s\n\n", title)
		for _, d := range all {
			if of(d) {
				write(&b, d)
			}
		}
	}
	view := func(d relation) bool { return d.kind == "View" }
	rollup := func(d relation) bool { return strings.HasPrefix(d.comment, "Rollup") }
	own := func(d relation) bool {
		return d.name == "sink_positions" || d.name == "sink_erasures" || d.name == "erasures" || d.name == historyTable
	}
	section("Tables", func(d relation) bool { return strings.HasSuffix(d.kind, "MergeTree") && !rollup(d) && !own(d) })
	section("Views", func(d relation) bool { return view(d) && len(d.parameters) == 0 })
	section("Views with parameters", func(d relation) bool { return view(d) && len(d.parameters) > 0 })
	section("Rollups", rollup)
	section("Of the sink", own)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func write(b *strings.Builder, d relation) {
	fmt.Fprintf(b, "### %s\n\n%s.\n\n", d.name, d.comment)
	if len(d.parameters) > 0 {
		fmt.Fprintf(b, "Parameters: `%s`\n\n", strings.Join(d.parameters, "`, `"))
	}
	if d.like != "" {
		fmt.Fprintf(b, "Columns: those of [%s](#%s).\n\n", d.like, d.like)
		return
	}
	b.WriteString("| column | type | |\n| --- | --- | --- |\n")
	for _, c := range d.columns {
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", c[0], c[1], c[2])
	}
	b.WriteString("\n")
}
