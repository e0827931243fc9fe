package check

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// documented are the metrics of docs/metrics.md.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\w+) ").FindAllStringSubmatch(string(text), -1) {
		names[row[1]] = true
		if row[2] == "histogram" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[row[1]+part] = true
			}
		}
	}
	if len(names) < 50 {
		t.Fatalf("docs/metrics.md has %d metrics", len(names))
	}
	return names
}

// checkPromQL parses an expression and looks its metrics up.
func checkPromQL(t *testing.T, where, expr string, names map[string]bool) {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h").Replace(expr)
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %q: %v", where, expr, err)
		return
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			library := strings.HasPrefix(s.Name, "process_") || strings.HasPrefix(s.Name, "go_")
			if !names[s.Name] && !library {
				t.Errorf("%s: %s is not in docs/metrics.md", where, s.Name)
			}
		}
		return nil
	})
}

type dashboard struct {
	UID    string
	Title  string
	Panels []struct {
		ID      int
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Expr, RawSQL string
			Datasource   struct{ UID string }
		}
	}
}

func TestDashboards(t *testing.T) {
	names := documented(t)
	sources, err := os.ReadFile("../grafana/provisioning/datasources/keystone.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"overview", "edge", "processor", "sink", "identity", "tracker"} {
		text, err := os.ReadFile(filepath.Join("..", "grafana", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.UID != "keystone-"+name || len(d.Panels) < 5 {
			t.Errorf("%s: uid %s, %d panels", name, d.UID, len(d.Panels))
		}
		ids := []int{}
		for i, p := range d.Panels {
			where := name + ": " + p.Title
			if slices.Contains(ids, p.ID) || len(p.Targets) == 0 {
				t.Errorf("%s: its id is taken, or it asks nothing", where)
			}
			ids = append(ids, p.ID)
			for _, q := range d.Panels[:i] {
				if p.GridPos.X < q.GridPos.X+q.GridPos.W && q.GridPos.X < p.GridPos.X+p.GridPos.W &&
					p.GridPos.Y < q.GridPos.Y+q.GridPos.H && q.GridPos.Y < p.GridPos.Y+p.GridPos.H {
					t.Errorf("%s lies over %s", where, q.Title)
				}
			}
			for _, target := range p.Targets {
				if !strings.Contains(string(sources), "uid: "+target.Datasource.UID+"\n") {
					t.Errorf("%s: the source %q is not provisioned", where, target.Datasource.UID)
				}
				if target.Expr != "" {
					checkPromQL(t, where, target.Expr, names)
				} else if target.RawSQL == "" {
					t.Errorf("%s asks nothing", where)
				}
			}
		}
	}
}
