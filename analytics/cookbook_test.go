package analytics

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

var update = flag.Bool("update", false, "write the answers into COOKBOOK.md")

// cookbookParameters are what an analyst would fill in.
var cookbookParameters = map[string]string{
	"tenant":  "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
	"since":   "2026-11-01 00:00:00",
	"until":   "2026-12-01 00:00:00",
	"now":     "2026-11-21 18:10:00",
	"email":   "ann@example.com",
	"profile": "00000000-0000-5000-8000-0000000000a1",
}

func TestCookbook(t *testing.T) {
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
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

	text := cookbook
	entries := recipe.FindAllStringSubmatch(text, -1)
	if headings, blocks := strings.Count(text, "\n## "), strings.Count(text, "```")/2; len(entries) != headings || len(entries) != blocks {
		t.Errorf("%d entries, %d blocks under %d headings", len(entries), blocks, headings)
	}
	for _, e := range entries {
		t.Run(e[1], func(t *testing.T) {
			answer, err := query.Table(t.Context(), conn, e[2], cookbookParameters)
			if err != nil {
				t.Fatal(err)
			}
			if len(answer.Rows) == 0 {
				t.Error("an answer without a row shows nothing")
			}
			got := markdown(answer)
			if *update {
				text = strings.Replace(text, e[0], "\n## "+e[1]+"\n\n```sql\n"+e[2]+"\n```\n\n"+got, 1)
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
