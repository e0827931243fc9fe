// Package cookbook_test asks ClickHouse the questions of the cookbook, about a shop of thousands of
// events with collapses, merges and shared devices and about cases made by hand, and counts the same
// in plain Go: slowly, from the events themselves and the identity model, with no SQL and nothing of
// the sink's. It also measures the questions.
package cookbook_test

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/model"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

var (
	north = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	south = uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
)

// world is all that happened, and whose it is by the identity model.
type world struct {
	events []happening
	model  *model.Model
	cause  map[string]time.Time // when the event of a message id was received

	records []*kgo.Record
	now     time.Time // the edge's clock
	seen    map[string]bool
	ids     []event.Identifiers // of events, by their place
}

// newWorld lets the shop of each tenant run, and then what is made by hand.
func newWorld(tb testing.TB) *world {
	w := &world{model: model.New(nil), cause: map[string]time.Time{}, seen: map[string]bool{}, now: shop.DefaultStart}
	for tenant, cfg := range shops() {
		s, err := shop.New(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		for body, d := range s.All() {
			if d.Invalid == "" {
				w.happen(tb, tenant, slices.Clone(body))
			}
		}
	}
	for _, tenant := range []uuid.UUID{north, south} {
		for _, body := range handmade(tenant) {
			w.happen(tb, tenant, []byte(body))
		}
	}
	for i := range w.events {
		w.events[i].person, w.events[i].named = w.owner(&w.ids[i], w.events[i].received)
	}
	return w
}

// shops are small ones in which much goes wrong: shared devices, late and repeated deliveries.
func shops() func(func(uuid.UUID, shop.Config) bool) {
	return func(yield func(uuid.UUID, shop.Config) bool) {
		for i, tenant := range []uuid.UUID{north, south} {
			cfg := shop.DefaultConfig()
			cfg.Seed, cfg.Events = uint64(i+1), 6000/(1+2*i)
			cfg.Mix.Shared, cfg.Mix.Late, cfg.Mix.Duplicate = 0.3, 0.05, 0.05
			if !yield(tenant, cfg) {
				return
			}
		}
	}
}

// happen writes an event to the log and tells the model.
func (w *world) happen(tb testing.TB, tenant uuid.UUID, body []byte) {
	h := read(tenant, body, w.now)
	w.now = w.now.Add(time.Microsecond)
	if at := h.at.Add(time.Second); at.After(w.now) {
		w.now = at
	}
	h = read(tenant, body, w.now)

	var e event.Event
	var ids event.Identifiers
	if err := e.Decode(body, event.DefaultLimits()); err != nil {
		tb.Fatalf("%v: %s", err, body)
	}
	settings := event.DefaultSettings()
	e.Identifiers(tenant, &settings, &ids)
	meta := event.Meta{Tenant: tenant, ReceivedAt: w.now}
	if len(ids.Verified) > 0 {
		meta.IdentityNode = ids.Verified[0].Node
	}
	var routing []byte // as the edge does
	if len(ids.Anonymous) > 0 {
		routing = ids.Anonymous[0].Node[:]
	} else {
		routing = ids.Verified[0].Node[:]
	}
	w.records = append(w.records, &kgo.Record{Topic: event.TopicEvents, Key: routing, Value: body, Headers: meta.Headers()})

	if key := tenant.String() + h.id; w.seen[key] {
		return
	} else {
		w.seen[key] = true
	}
	w.cause[h.id] = w.now
	w.model.Apply(model.Event{Lane: "0", Tenant: tenant, MessageID: h.id, Type: e.Type, Name: string(e.Name), IDs: ids,
		Payload: slices.Clone(e.Payload), Traits: slices.Clone(event.Member(e.Context, "traits")), At: h.at, ReceivedAt: w.now})
	w.events, w.ids = append(w.events, h), append(w.ids, ids)
}

// owner is whom an event belongs to as of now: the first verified identifier decides, else the device.
func (w *world) owner(ids *event.Identifiers, received time.Time) (person uuid.UUID, named bool) {
	var node uuid.UUID
	if named = len(ids.Verified) > 0; named {
		node = ids.Verified[0].Node
	} else {
		node = ids.Anonymous[0].Node
	}
	person = node
	if i := w.model.Identifiers[node]; i != nil {
		for _, s := range i.Spans {
			if !received.Before(s.From) {
				person = s.Profile
			}
		}
	}
	return person, named
}

// changes are what the processor would have told the column store: once as it was before everything,
// which must not show, and once as it is now.
func (w *world) changes(tb testing.TB) []*kgo.Record {
	var all []event.Change
	for _, i := range w.model.Identifiers {
		c := event.Change{TenantID: i.Tenant, ProfileID: i.Node}
		for _, s := range i.Spans {
			c.Identifiers = append(c.Identifiers, event.IdentifierState{Node: i.Node, Kind: i.Kind, Value: i.Value, ProfileID: i.Node, ValidFrom: s.From})
		}
		all = append(all, c)
	}
	for _, i := range w.model.Identifiers {
		c := event.Change{TenantID: i.Tenant, ProfileID: i.Node}
		for _, s := range i.Spans {
			c.Identifiers = append(c.Identifiers, event.IdentifierState{Node: i.Node, Kind: i.Kind, Value: i.Value, ProfileID: s.Profile, ValidFrom: s.From, Version: s.Version})
		}
		all = append(all, c)
	}
	for _, p := range w.model.Profiles {
		state := profileState(p)
		all = append(all, event.Change{TenantID: p.Tenant, ProfileID: p.ID, Profile: &state})
	}
	for _, o := range w.model.Orders {
		state := event.OrderState{OrderID: o.ID, ProfileID: o.Profile, Status: o.Status, Total: o.Total, Currency: o.Currency,
			Tax: o.Tax, Shipping: o.Shipping, Discount: o.Discount, Coupon: o.Coupon,
			FirstEvent: o.First, LastEvent: o.Last, CompletedAt: o.CompletedAt, Version: o.Version}
		for _, x := range o.Items {
			state.Items = append(state.Items, event.OrderItem{ProductID: x.Product, Quantity: x.Quantity, Price: x.Price, Name: x.Name, Category: x.Category})
		}
		before := state
		before.Status, before.Version, before.Total = "completed", 0, "1000000"
		all = append(all, event.Change{TenantID: o.Tenant, ProfileID: o.Profile, Orders: []event.OrderState{before}},
			event.Change{TenantID: o.Tenant, ProfileID: o.Profile, Orders: []event.OrderState{state}})
	}
	for _, p := range w.model.Products {
		all = append(all, event.Change{TenantID: p.Tenant, Products: []event.ProductState{{ProductID: p.ID, Name: p.Name, Price: p.Price,
			Category: p.Category, Skeleton: true, FirstSeen: p.FirstSeen, Version: p.Version}}})
	}
	for _, m := range w.model.Merges {
		all = append(all, event.Change{TenantID: m.Tenant, ProfileID: m.Winner, Merges: []event.Merge{{MergeID: uuid.New(), WinnerID: m.Winner, LoserID: m.Loser,
			Cause: m.Cause, Kind: m.Kind, MergedAt: w.cause[m.Cause], Winner: profileState(&m.WinnerBefore), Loser: profileState(&m.LoserBefore)}}})
	}
	index := map[string]int{}
	for _, l := range w.model.Lineage {
		key := fmt.Sprint(l.Profile, l.Version)
		c := event.AttributeChange{Version: l.Version, Index: index[key], Path: l.Path, Op: l.Op, Cause: l.Cause, CauseKind: l.Kind, EventTime: l.At}
		index[key]++
		if l.Old != model.Absent {
			c.Old = json.RawMessage(model.Text(l.Old))
		}
		if l.New != model.Absent {
			c.New = json.RawMessage(model.Text(l.New))
		}
		all = append(all, event.Change{TenantID: l.Tenant, ProfileID: l.Profile, Lineage: []event.AttributeChange{c}})
	}
	records := make([]*kgo.Record, len(all))
	for n, c := range all {
		text, err := json.Marshal(c)
		if err != nil {
			tb.Fatal(err)
		}
		header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
		records[n] = &kgo.Record{Topic: event.TopicChanges, Key: []byte(c.ProfileID.String()), Value: text, Headers: []kgo.RecordHeader{
			header(event.HeaderSourceTopic, event.TopicEvents), header(event.HeaderSourcePartition, "0"),
			header(event.HeaderSourceOffset, fmt.Sprint(n+1)), header(event.HeaderSequence, "0")}}
	}
	return records
}

func profileState(p *model.Profile) event.ProfileState {
	return event.ProfileState{Kind: p.Kind, Attributes: json.RawMessage(model.Text(p.Attributes)), FirstSeen: p.FirstSeen, LastSeen: p.LastSeen,
		EventCount: p.EventCount, TrackCount: p.TrackCount, PageCount: p.PageCount, IdentifyCount: p.IdentifyCount, AttributesAt: p.AttributesAt,
		Version: p.Version, CreatedAt: p.CreatedAt, MergedInto: p.MergedInto}
}

// patience bounds the wait for the sink.
const patience = 5 * time.Minute

// load brings the world through the log and the sink into an empty ClickHouse.
func (w *world) load(tb testing.TB) driver.Conn {
	tb.Helper()
	dsn := enginetest.ClickHouse(tb).NativeDSN
	schematest.Migrate(tb, dsn)
	const partitions = 4 // which shards share
	seeds := enginetest.Broker(tb, enginetest.Topic{Name: event.TopicEvents, Partitions: partitions},
		enginetest.Topic{Name: event.TopicBackfill, Partitions: 1}, enginetest.Topic{Name: event.TopicChanges, Partitions: partitions})
	producer, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		tb.Fatal(err)
	}
	defer producer.Close()
	records := append(slices.Clone(w.records), w.changes(tb)...)
	if err := producer.ProduceSync(tb.Context(), records...).FirstErr(); err != nil {
		tb.Fatal(err)
	}
	cfg := analytics.DefaultConfig()
	cfg.ClickHouseDSN, cfg.Sink.Brokers = dsn, seeds
	sink, err := analytics.New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	if err := sink.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	conn, err := query.Open(dsn, 2)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	want := int64(len(records))
	for tick, begin := time.NewTicker(20*time.Millisecond), time.Now(); ; <-tick.C {
		positions, err := query.Positions(tb.Context(), conn)
		if err != nil {
			tb.Fatal(err)
		}
		var have int64
		for _, p := range positions {
			have += p.NextOffset
		}
		if have == want {
			tick.Stop()
			break
		}
		if time.Since(begin) > patience {
			tb.Fatalf("the sink is at %d of %d", have, want)
		}
	}
	if err := sink.Stop(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// table is an answer as lines of text, in an order of its own where the question gives none.
type table [][]string

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	*t = append(*t, row)
}

// date and clock are a time as the columns of either kind print it.
func date(t time.Time) string  { return t.Format(time.DateOnly) }
func clock(t time.Time) string { return t.Format(time.DateTime) }

func (t table) sorted() table {
	slices.SortFunc(t, func(a, b []string) int { return strings.Compare(strings.Join(a, "\x00"), strings.Join(b, "\x00")) })
	return t
}
