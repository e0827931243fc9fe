package cookbook_test

import (
	"encoding/json" //nolint:depguard // of the test's own
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/query"
)

// dashboard is what of a Grafana dashboard the test looks at.
type dashboard struct {
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		TimeFrom    string
		Datasource  struct{ Type, UID string }
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct {
			RawSQL     string `json:"rawSql"`
			QueryType  string
			Format     int
			Datasource struct{ Type, UID string }
		}
	}
}

// everyPanel runs the dashboard's queries as Grafana would: macros and variables filled in.
func everyPanel(t *testing.T, conn driver.Conn) {
	text, err := os.ReadFile("../../deploy/grafana/keystone-shop.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, v := range d.Templating.List {
		switch v.Type {
		case "query": // the choices are an answer; the first one, or the north's
			rows := ask(t, conn, filledIn(v.Query, variables, span{}), nil)
			if len(rows) == 0 || len(rows[0]) != 1 {
				t.Fatalf("variable %s: %v", v.Name, rows)
			}
			variables[v.Name] = rows[0][0]
			for _, row := range rows {
				if row[0] == north.String() || row[0] == "EUR" {
					variables[v.Name] = row[0]
				}
			}
		case "custom":
			variables[v.Name], _, _ = strings.Cut(v.Query, ",")
		case "datasource":
			if v.Query != "grafana-clickhouse-datasource" || v.Name != "datasource" {
				t.Errorf("data source %q of %s", v.Name, v.Query)
			}
		default:
			t.Errorf("variable %s is of type %s", v.Name, v.Type)
		}
	}
	seen, place, asked := map[int]bool{}, map[[2]int]string{}, 0
	for _, p := range d.Panels {
		if seen[p.ID] {
			t.Errorf("two panels have id %d", p.ID)
		}
		seen[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := place[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies on %q, or beyond the edge", p.Title, other)
				}
				place[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		t.Run(p.Title, func(t *testing.T) {
			if len(p.Targets) != 1 {
				t.Fatalf("%d queries", len(p.Targets))
			}
			target := p.Targets[0]
			if target.Datasource.UID != "${datasource}" || p.Datasource.UID != "${datasource}" {
				t.Error("it asks a data source of its own")
			}
			over := span{at("2026-10-01 00:00:00"), at("2026-12-31 23:59:59")}
			if p.TimeFrom != "" {
				d, err := time.ParseDuration(p.TimeFrom)
				if err != nil {
					t.Fatal(err)
				}
				over = span{at("2026-11-10 10:05:00").Add(-d), at("2026-11-10 10:05:00")}
			}
			sql := filledIn(target.RawSQL, variables, over)
			if strings.Contains(sql, "$") {
				t.Fatalf("not filled in: %s", sql)
			}
			answer, err := query.Table(t.Context(), conn, sql, nil)
			if err != nil {
				t.Fatalf("%v: %s", err, sql)
			}
			if len(answer.Rows) == 0 {
				t.Error("an empty panel")
			}
			if series := target.QueryType == "timeseries"; series != (answer.Columns[0] == "time") || series != (target.Format == 0) || series != (p.Type == "timeseries") {
				t.Errorf("a %s panel, query type %s, format %d, columns %s", p.Type, target.QueryType, target.Format, answer.Columns)
			}
		})
		asked++
	}
	if asked < 12 {
		t.Errorf("%d panels", asked)
	}
}

var macro = regexp.MustCompile(`\$__timeFilter\(([^)]*)\)`)

// filledIn is what the plugin makes of a query: https://grafana.com/docs/plugins/grafana-clickhouse-datasource (macros).
func filledIn(sql string, variables map[string]string, over span) string {
	moment := func(t time.Time) string { return fmt.Sprintf("toDateTime(intDiv(%d,1000))", t.UnixMilli()) }
	sql = macro.ReplaceAllString(sql, fmt.Sprintf("$1 >= %s AND $1 <= %s", moment(over.since), moment(over.until)))
	sql = strings.NewReplacer("$__fromTime", moment(over.since), "$__toTime", moment(over.until)).Replace(sql)
	for name, value := range variables {
		sql = strings.ReplaceAll(sql, "${"+name+"}", value)
	}
	return sql
}
