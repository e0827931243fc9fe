package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/ingest"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor"
	"github.com/keystone-cdp/keystone/sql"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// recorder is a registry that remembers who was registered: what a registry gathers lacks every metric
// that has not happened yet.
type recorder struct {
	*prometheus.Registry
	collectors []prometheus.Collector
}

func (r *recorder) MustRegister(all ...prometheus.Collector) {
	r.collectors = append(r.collectors, all...)
	r.Registry.MustRegister(all...)
}

type metric struct {
	name, kind, help string
	labels           []string
}

var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", (?:unit: "[^"]*", )?constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}\}$`)

func (r *recorder) metrics(t *testing.T) (all []metric) {
	t.Helper()
	for _, c := range r.collectors {
		descs := make(chan *prometheus.Desc, 16)
		c.Describe(descs)
		close(descs)
		for desc := range descs {
			found := described.FindStringSubmatch(desc.String())
			if found == nil {
				t.Fatalf("cannot read %s", desc)
			}
			m := metric{name: found[1], help: strings.ReplaceAll(found[2], `\"`, `"`), kind: kind(t, c)}
			for pair := range strings.SplitSeq(found[3]+","+found[4], ",") {
				if label, _, _ := strings.Cut(pair, "="); label != "" {
					m.labels = append(m.labels, label)
				}
			}
			if !slices.ContainsFunc(all, func(o metric) bool { return o.name == m.name }) { // one for each lane or topic
				all = append(all, m)
			}
		}
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all
}

func kind(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec:
		return "gauge"
	case *prometheus.HistogramVec:
		return "histogram"
	}
	one := make(chan prometheus.Metric, 1)
	c.Collect(one)
	var sample dto.Metric
	if err := (<-one).Write(&sample); err != nil {
		t.Fatal(err)
	}
	switch {
	case sample.Counter != nil:
		return "counter"
	case sample.Gauge != nil:
		return "gauge"
	case sample.Histogram != nil:
		return "histogram"
	}
	t.Fatalf("a kind of metric that this test does not know: %v", &sample)
	return ""
}

// everyMetric starts what registers metrics: the edge as a whole, which needs no server to start, and the
// makers of the two other roles.
func everyMetric(t *testing.T) []metric {
	t.Helper()
	r := &recorder{Registry: prometheus.NewRegistry()}
	log := slog.New(slog.DiscardHandler)
	nowhere := []string{"127.0.0.1:1"}
	pool, err := sql.Open(t.Context(), "postgres://127.0.0.1:1/none", edgeConns)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	cfg := ingest.DefaultConfig()
	cfg.Edge.Listen, cfg.Edge.TrustedProxies, cfg.Spool.Dir, cfg.Log.Brokers = "127.0.0.1:0", []netip.Prefix{}, t.TempDir(), nowhere
	plane := edgePlane{control.New(pool)}
	edge, err := ingest.New(cfg, ingest.Deps{Keys: plane, Jobs: plane, Log: log, Registry: r})
	if err != nil {
		t.Fatal(err)
	}
	if err := edge.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := edge.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	p := processor.DefaultConfig()
	p.DSN, p.Brokers = "postgres://127.0.0.1:1/none", nowhere
	if _, err := processor.New(p, log, r); err != nil {
		t.Fatal(err)
	}
	s := analytics.DefaultConfig()
	s.ClickHouseDSN, s.Sink.Brokers = "clickhouse://127.0.0.1:1/none", nowhere
	if _, err := analytics.New(s, log, r); err != nil {
		t.Fatal(err)
	}
	r.MustRegister(buildInfo())
	if _, err := trace.New(trace.Config{Role: "edge", QueueSpans: 1, BatchSpans: 1, SendEvery: 1, SendTimeout: 1}, log, trace.NewMetrics(r)); err != nil {
		t.Fatal(err)
	}
	return r.metrics(t)
}

const (
	tableBegin = "<!-- made by go test ./cmd/keystone -run TestMetricsTable -update; do not edit -->\n"
	tableEnd   = "<!-- end -->\n"
)

// TestMetricsTable holds docs/metrics.md against the code.
func TestMetricsTable(t *testing.T) {
	var table strings.Builder
	table.WriteString("| metric | kind | labels | is |\n|---|---|---|---|\n")
	for _, m := range everyMetric(t) {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), strings.ReplaceAll(m.help, "|", `\|`))
	}
	path := filepath.Join("..", "..", "docs", "metrics.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begun := strings.Cut(string(text), tableBegin)
	have, tail, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	if have == table.String() {
		return
	}
	if !*update {
		t.Fatalf("docs/metrics.md is stale: go test ./cmd/keystone -run TestMetricsTable -update")
	}
	if err := os.WriteFile(path, []byte(head+tableBegin+table.String()+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMetricNames holds the names to the house's form.
func TestMetricNames(t *testing.T) {
	form := regexp.MustCompile(`^keystone_(edge|key|job|produce|spool|processor|outbox|sink|trace|build)_[a-z_]+$`)
	for _, m := range everyMetric(t) {
		if !form.MatchString(m.name) || (m.kind == "counter") != strings.HasSuffix(m.name, "_total") {
			t.Errorf("%s, a %s, is named otherwise than the rest", m.name, m.kind)
		}
		for _, label := range m.labels {
			if strings.HasSuffix(label, "_id") {
				t.Errorf("%s: the label %s has as many values as there are ids", m.name, label)
			}
		}
	}
}
