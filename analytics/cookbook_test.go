package analytics

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

var update = flag.Bool("update", false, "write the answers into COOKBOOK.md")

// cookbookParameters are what an analyst would fill in.
var cookbookParameters = map[string]string{
	"tenant":  "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
	"from":    "2026-11-01 00:00:00",
	"to":      "2026-12-01 00:00:00",
	"email":   "ann@example.com",
	"profile": "00000000-0000-5000-8000-0000000000a1",
}

// entry is a heading, its SQL, and the table below it.
var entry = regexp.MustCompile("(?s)## ([^\n]+)\n\n```sql\n(.*?)\n```\n\n((?:\\|[^\n]*\n)*)")

func TestCookbook(t *testing.T) {
	db := enginetest.ClickHouse(t)
	migrate(t, db.NativeDSN)
	conn, err := query.Open(db.NativeDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fixture, err := os.ReadFile("testdata/cookbook.sql")
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(string(fixture), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%.60s: %v", statement, err)
		}
	}

	book, err := os.ReadFile("COOKBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(book)
	entries := entry.FindAllStringSubmatch(text, -1)
	if headings := strings.Count(text, "\n## "); len(entries) != headings {
		t.Errorf("%d entries under %d headings", len(entries), headings)
	}
	for _, e := range entries {
		t.Run(e[1], func(t *testing.T) {
			answer, err := query.Table(t.Context(), conn, e[2], cookbookParameters)
			if err != nil {
				t.Fatal(err)
			}
			got := markdown(answer)
			if *update {
				text = strings.Replace(text, e[0], "## "+e[1]+"\n\n```sql\n"+e[2]+"\n```\n\n"+got, 1)
			} else if got != e[3] {
				t.Errorf("answer:\n%swant\n%s", got, e[3])
			}
		})
	}
	if *update {
		if err := os.WriteFile("COOKBOOK.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	demo(t, entries)
}

// demo checks that the questions of the demo are the cookbook's.
func demo(t *testing.T, entries [][]string) {
	questions, err := query.Questions()
	if err != nil || len(questions) < 3 {
		t.Fatalf("%d questions, %v", len(questions), err)
	}
	book := map[string]string{}
	for _, e := range entries {
		book[e[1]] = e[2]
	}
	for _, q := range questions {
		if book[q.Title] != q.SQL {
			t.Errorf("%q is not in the cookbook as it is in the demo", q.Title)
		}
	}
}

// markdown is an answer as a table.
func markdown(a query.Answer) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(a.Columns)
	line(strings.Split(strings.Repeat("---,", len(a.Columns))[:4*len(a.Columns)-1], ","))
	for _, row := range a.Rows {
		line(row)
	}
	return b.String()
}

func migrate(t *testing.T, dsn string) {
	t.Helper()
	m, err := schema.New(dsn, schema.Engines{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
}
