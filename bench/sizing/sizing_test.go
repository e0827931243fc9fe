package sizing

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/sink"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/store"
)

var update = flag.Bool("update", false, "write docs/sizing.md anew")

const (
	begin = "<!-- made by go test ./bench/sizing -update; do not edit -->\n"
	end   = "<!-- end -->\n"
)

var rates = []float64{1e3, 1e4, 1e5, 1e6}

// TestDocument holds the tables of docs/sizing.md against the inputs.
func TestDocument(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "sizing.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), begin)
	tables := []string{plans(), inputTable()}
	if len(parts) != 1+len(tables) {
		t.Fatalf("%s has %d places for %d tables", path, len(parts)-1, len(tables))
	}
	for i, table := range tables {
		_, tail, ended := strings.Cut(parts[i+1], end)
		if !ended {
			t.Fatalf("%s: table %d has no end", path, i)
		}
		parts[i+1] = table + end + tail
	}
	want := strings.Join(parts, begin)
	switch {
	case want == string(text):
	case !*update:
		t.Fatal("docs/sizing.md is stale: go test ./bench/sizing -update")
	default:
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func inputTable() string {
	var b strings.Builder
	b.WriteString("| input | is | how it is known |\n|---|---|---|\n")
	for _, in := range inputs {
		fmt.Fprintf(&b, "| %s | %s | %s: %s |\n", in.Name, in.quantity(), in.Kind, in.From)
	}
	return b.String()
}

// plans has a row for each thing, and a column for each rate.
func plans() string {
	all := make([]Plan, len(rates))
	for i, r := range rates {
		all[i] = For(r)
	}
	var b strings.Builder
	b.WriteString("| events a second, at the peak | 1 k | 10 k | 100 k | 1 M |\n|---|---|---|---|---|\n")
	row := func(name string, cell func(p Plan) string) {
		b.WriteString("| " + name)
		for _, p := range all {
			b.WriteString(" | " + cell(p))
		}
		b.WriteString(" |\n")
	}
	cores := func(of func(Plan) float64) func(Plan) string {
		return func(p Plan) string { return fmt.Sprint(max(1, ceil(of(p)))) }
	}
	disk := func(v float64) string { return number(roundUp(v)) + "B" }
	nodes := func(n int, v float64, byDisk bool) string {
		if byDisk {
			return fmt.Sprintf("%d (disk), %s", n, disk(v))
		}
		return fmt.Sprintf("%d, %s", n, disk(v))
	}
	row("events a day", func(p Plan) string { return number(p.EventsADay) })
	row("edge, cores", cores(func(p Plan) float64 { return p.EdgeCores }))
	row("processor, cores", cores(func(p Plan) float64 { return p.ProcessorCores }))
	row("sink, cores", cores(func(p Plan) float64 { return p.SinkCores }))
	row("partitions of `keystone.events`", func(p Plan) string { return fmt.Sprint(p.Partitions) })
	row("a sink, as set, knows the messages of the last", func(p Plan) string {
		if p.SeenHours < 1 {
			return fmt.Sprintf("%.2g minutes", p.SeenHours*60)
		}
		return fmt.Sprintf("%.2g hours", p.SeenHours)
	})
	row("brokers; their disks together", func(p Plan) string { return fmt.Sprintf("%d, %s", p.Brokers, disk(p.LogDisk)) })
	row("nodes of the state store; disks, after a year", func(p Plan) string { return nodes(p.StoreNodes, p.StoreDisk, p.StoreByDisk) })
	row("profiles by then", func(p Plan) string { return number(roundUp(p.Profiles)) })
	row("nodes of ClickHouse; disks, a year kept", func(p Plan) string { return nodes(p.ColumnNodes, p.ColumnDisk, p.ColumnByDisk) })
	row("$ a month, order of magnitude", func(p Plan) string { return strings.TrimSpace(number(oneDigit(p.Dollars))) })
	return b.String()
}

// roundUp keeps two digits: more would pretend.
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return math.Ceil(v/unit) * unit
}

func oneDigit(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	return math.Round(v/unit) * unit
}

// Reckoned by hand, for one rate.
func TestFor(t *testing.T) {
	p := For(10_000)
	for name, is := range map[string][2]float64{
		"events a day":     {p.EventsADay, 432e6},
		"edge":             {p.EdgeCores, 0.5},                                  // 10 000 × 25 µs, half idle
		"processor":        {p.ProcessorCores, 0.54},                            //
		"partitions":       {float64(p.Partitions), 4},                          // 12 300 a partition, half of it
		"brokers":          {float64(p.Brokers), 3},                             // 21 MB a second
		"log":              {p.LogDisk, 432e6 * 3 * 696 * 3 / 0.6},              //
		"store's nodes":    {float64(p.StoreNodes), 10},                         // of 4 TB
		"store's disks":    {p.StoreDisk, 432e6 * (47.5*365 + 102*7) * 3 / 0.6}, // 39 TB
		"ClickHouse's":     {float64(p.ColumnNodes), 5},                         // of 16 TB
		"ClickHouse disks": {p.ColumnDisk, 432e6 * 365 * 128 * 2 / 0.6},         // 67 TB
		"profiles":         {p.Profiles, 432e6 * 365 * 0.019},                   // 3 thousand million
		"a sink's memory":  {p.SeenHours, 16e6 / 5000 / 3600.},
		"a partition":      {math.Round(PartitionRate()), math.Round(1000 / 0.081)}, //
	} {
		if math.Abs(is[0]-is[1]) > 1e-6*is[1] {
			t.Errorf("%s: %g, not %g", name, is[0], is[1])
		}
	}
	for i := 1; i < len(rates); i++ {
		if a, b := For(rates[i-1]), For(rates[i]); b.Dollars <= a.Dollars || b.Partitions < a.Partitions || b.ColumnNodes < a.ColumnNodes || b.StoreNodes < a.StoreNodes {
			t.Errorf("%g events a second take less than %g", rates[i], rates[i-1])
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0.076: "0.076 ", 27: "27 ", 4000: "4000 ", 20_000: "20 k", 432e6: "432 M", 4.32e9: "4.32 G", 3.9e15: "3.9 P"} {
		if got := number(v); got != want {
			t.Errorf("%g: %q", v, got)
		}
	}
}

// What is said to be set in the code is.
func TestSettings(t *testing.T) {
	if got := float64(consume.DefaultConfig().BatchRecords); got != batchEvents {
		t.Errorf("a batch has %g events, not %g", got, batchEvents)
	}
	if got := float64(sink.DefaultConfig().SeenMessages); got != seenMessages {
		t.Errorf("a sink knows %g messages, not %g", got, seenMessages)
	}
	if got := store.DefaultConfig().SeenFor.Hours() / 24; got != messageDays {
		t.Errorf("message ids are remembered for %g days, not %g", got, messageDays)
	}
}
