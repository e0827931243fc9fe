package schema

import (
	"database/sql"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// open gives a migrator and a connection to an empty database.
func open(t *testing.T) (*Migrator, *sql.DB) {
	t.Helper()
	ch := enginetest.ClickHouse(t)
	m, err := New(ch.NativeDSN, Engines{})
	if err != nil {
		t.Fatal(err)
	}
	opt, err := clickhouse.ParseDSN(ch.NativeDSN)
	if err != nil {
		t.Fatal(err)
	}
	db := clickhouse.OpenDB(opt)
	t.Cleanup(func() {
		_ = m.Close()
		_ = db.Close()
	})
	return m, db
}

func up(t *testing.T, m *Migrator) []string {
	t.Helper()
	applied, err := m.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

// ask is the result of a query with string columns, a line for each row, values separated by a bar.
func ask(t *testing.T, db *sql.DB, query string, args ...any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for rows.Next() {
		texts := make([]string, len(names))
		values := make([]any, len(names))
		for i := range texts {
			values[i] = &texts[i]
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		lines = append(lines, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

func exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

const described = `SELECT table, name, type, default_expression, comment FROM system.columns
WHERE database = currentDatabase() AND table != 'schema_migrations' ORDER BY table, position
UNION ALL SELECT name, engine, '', '', create_table_query FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%View' ORDER BY name`

func TestUpDownUp(t *testing.T) {
	m, db := open(t)
	if applied := up(t, m); len(applied) == 0 || applied[0] != "0001_events.sql" {
		t.Fatalf("applied %v", applied)
	}
	first := ask(t, db, described)
	if applied := up(t, m); len(applied) != 0 {
		t.Errorf("applied again: %v", applied)
	}
	have, want, err := m.Version(t.Context())
	if err != nil || have != want || want < 6 {
		t.Errorf("version %d of %d, %v", have, want, err)
	}
	if err := m.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := ask(t, db, `SELECT name FROM system.tables WHERE database = currentDatabase()`); left != historyTable {
		t.Errorf("left after down: %s", left)
	}
	up(t, m)
	if again := ask(t, db, described); again != first {
		t.Errorf("the second up made another schema:\n%s\nwant\n%s", again, first)
	}
}

// A migration that died before it was noted down is applied again, over what it left, data included.
func TestUpAgainAfterACrash(t *testing.T) {
	m, db := open(t)
	up(t, m)
	exec(t, db, `INSERT INTO products (tenant_id, product_id, version) VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8', 'P', 1)`)
	before := ask(t, db, described)
	exec(t, db, `TRUNCATE TABLE schema_migrations`)
	exec(t, db, `INSERT INTO schema_migrations (version_id, is_applied) VALUES (0, 1)`)
	up(t, m)
	if after := ask(t, db, described); after != before {
		t.Errorf("another schema:\n%s\nwant\n%s", after, before)
	}
	if got := ask(t, db, `SELECT product_id FROM products`); got != "P" {
		t.Errorf("data: %q", got)
	}
}

func TestUpCreatesTheDatabase(t *testing.T) {
	m, db := open(t)
	exec(t, db, "DROP DATABASE "+m.database+" SYNC")
	up(t, m)
	if got := ask(t, db, "SELECT toString(count() > 10) FROM system.tables WHERE database = '"+m.database+"'"); got != "1" {
		t.Error("no tables")
	}
}

// Bots are told by the device class, in rows of any age, by device as by person.
func TestIsBot(t *testing.T) {
	m, db := open(t)
	up(t, m)
	exec(t, db, `INSERT INTO events (message_id, device_class) VALUES ('a', 'bot'), ('b', 'mobile'), ('c', '')`)
	for _, table := range []string{"events", "events_resolved"} {
		if got := ask(t, db, `SELECT message_id FROM `+table+` WHERE is_bot`); got != "a" {
			t.Errorf("%s: %q", table, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, dsn := range map[string]string{
		"no address":        "postgres//user:secret@",
		"a name with a ;":   "clickhouse://user:secret@127.0.0.1:9000/x;drop",
		"a name with a '-'": "clickhouse://user:secret@127.0.0.1:9000/x-y",
	} {
		_, err := New(dsn, Engines{})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := New("clickhouse://127.0.0.1:9000", Engines{})
	if err != nil || m.database != DefaultDatabase {
		t.Errorf("without a database: %v", err)
	}
}

func TestReplicatedEngines(t *testing.T) {
	f, err := render(Engines{Replicated: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range f {
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "ENGINE = ") && !strings.HasPrefix(line, "ENGINE = Replicated") {
				t.Errorf("%s: %s", name, line)
			}
			if strings.Contains(line, "{{") {
				t.Errorf("%s: not filled in: %s", name, line)
			}
		}
	}
	if got := (Engines{Replicated: true}).ReplacingMergeTree("version"); got != "ReplicatedReplacingMergeTree(version)" {
		t.Error(got)
	}
}

var (
	createdTable = regexp.MustCompile(`CREATE TABLE IF NOT EXISTS (\w+)`)
	filledView   = regexp.MustCompile(`(?s)CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ TO (\w+)\n.*?\nFROM (\w+)\n`)
)

// On a cluster every table is either a part of one of all shards, or whole on each: one that a migration adds
// and says nothing of would have the rows of whatever server one asks. And one server has nothing of it all.
func TestShardedEngines(t *testing.T) {
	cluster := Engines{Cluster: "shop"}
	f, err := render(cluster)
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	for name, text := range f {
		for _, created := range createdTable.FindAllStringSubmatch(string(text), -1) {
			base, local := strings.CutSuffix(created[1], LocalSuffix)
			if !local && !Whole(base) && !First(base) {
				t.Errorf("%s: table %s has no place on a cluster: see Engines", name, base)
			}
			if local && !strings.Contains(string(text), cluster.Distributed(base)) {
				t.Errorf("%s: nothing asks all shards for %s", name, base)
			}
			parts++
		}
		for _, filled := range filledView.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(filled[1], LocalSuffix) || !strings.HasSuffix(filled[2], LocalSuffix) {
				t.Errorf("%s: a materialized view from %s to %s", name, filled[2], filled[1])
			}
		}
	}
	if parts < 10 {
		t.Errorf("%d tables", parts)
	}
	if got, want := cluster.Distributed("events"), "CREATE OR REPLACE TABLE events AS events_local ENGINE = Distributed('shop', currentDatabase(), 'events_local');"; got != want {
		t.Error(got)
	}
	if f, err = render(Engines{}); err != nil {
		t.Fatal(err)
	}
	for name, text := range f {
		for _, word := range []string{LocalSuffix, "Distributed", "GLOBAL", "{{"} {
			if strings.Contains(string(text), word) {
				t.Errorf("%s: one server is told of %s", name, word)
			}
		}
	}
}

// What a replicated cluster is told the embedded engine cannot run, but it can read it.
func TestReplicatedStatementsAreRead(t *testing.T) {
	_, db := open(t)
	f, err := render(Engines{Replicated: true, Cluster: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for name, text := range f {
		for statement := range strings.SplitSeq(string(text), ";\n") {
			lines := slices.DeleteFunc(strings.Split(statement, "\n"), func(line string) bool { return strings.HasPrefix(line, "--") || line == "" })
			if len(lines) == 0 {
				continue
			}
			formatted := ask(t, db, "SELECT formatQuery(?)", strings.Join(lines, "\n"))
			if strings.Contains(formatted, "ENGINE = ") != strings.Contains(statement, "ENGINE = ") {
				t.Errorf("%s: read as %s", name, formatted)
			}
			read++
		}
	}
	if read < 50 {
		t.Errorf("%d statements", read)
	}
}
