package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
)

// The log of a campaign is many small worlds: a few people, devices, orders and products that only
// meet each other, as applytest makes them, so that every rule of identity and attributes is reached
// all the time. A world lives in one partition and shares nothing with others but its tenant. Hence
// what comes out does not depend on which partition runs when (law 5 without its conditions: relinks,
// conflicts and late events are in), while the partitions' transactions still meet in the same tables
// and on the same pages of the indexes.
//
// Products would be the exception in real life, where partitions share a catalogue: first_seen and
// the first name given then depend on who came first. Here they are a world's own.
const (
	eventsPerWorld = 60 // at most
	worldsAtOnce   = 40 // in one partition: a batch concerns many, and each many batches
)

// lane is one partition of the log.
type lane struct {
	topic     string
	partition int32
}

func (l lane) String() string { return l.topic + "/" + strconv.Itoa(int(l.partition)) }

// lanes are the partitions of both topics that the processor reads. The model's time grows with the
// square of what is in one of them.
var lanes = func() (all []lane) {
	for p := range int32(8) {
		all = append(all, lane{event.TopicEvents, p})
	}
	for p := range int32(4) {
		all = append(all, lane{event.TopicBackfill, p})
	}
	return all
}()

func partitions(topic string) (n int) {
	for _, l := range lanes {
		if l.topic == topic {
			n++
		}
	}
	return n
}

// entry is an event as the log has it.
type entry struct {
	tenant   uuid.UUID
	received time.Time
	value    []byte
}

// makeLog makes a log of so many events, by partition, from a seed.
func makeLog(events int, seed uint64) map[lane][]entry {
	rng := rand.New(rand.NewPCG(seed, 1))
	logs := applytest.Logs(eventsPerWorld)
	world := 0
	log := map[lane][]entry{}
	for n, l := range lanes {
		want := events*(n+1)/len(lanes) - events*n/len(lanes)
		var open [][]entry
		for len(log[l]) < want {
			for len(open) < worldsAtOnce {
				world++
				open = append(open, makeWorld(logs.Example(int(seed%1e6)*1e6+world), world))
			}
			i := rng.IntN(len(open))
			log[l] = append(log[l], open[i][0])
			if open[i] = open[i][1:]; len(open[i]) == 0 {
				open = slices.Delete(open, i, i+1)
			}
		}
	}
	return log
}

// makeWorld is a generated log with names of its own.
func makeWorld(log []applytest.Entry, world int) []entry {
	w := namer{world: world, says: shopNames(world)}
	out := make([]entry, len(log))
	for i := range log {
		e := &log[i].Event
		out[i] = entry{tenant: e.Tenant, received: e.ReceivedAt, value: w.wire(e)}
	}
	return out
}

// shopNames gives orders and products names of the world's own.
func shopNames(world int) *strings.Replacer {
	n := strconv.Itoa(1_000_000 + world)
	return strings.NewReplacer(
		`"o1"`, `"o1-`+n+`"`, `" o1 "`, `" o1-`+n+` "`, `"o2"`, `"o2-`+n+`"`, `"order_id":7`, `"order_id":7`+n, `"order_id":"7"`, `"order_id":"7`+n+`"`,
		`"p1"`, `"p1-`+n+`"`, `"p2"`, `"p2-`+n+`"`, `"id":3`, `"id":3`+n, `"product_id":3`, `"product_id":3`+n,
	)
}

type namer struct {
	world int
	says  *strings.Replacer
}

// name is an identifier's value, which the edge would have accepted as being of its kind.
func (w namer) name(id event.Identifier) string {
	switch id.Kind {
	case event.KindEmail:
		return fmt.Sprintf("%s-w%d@shop.example", id.Value, w.world)
	case event.KindPhone:
		last, _ := strconv.Atoi(id.Value[len(id.Value)-1:])
		return fmt.Sprintf("+1415%07d", 3_000_000+w.world*10+last)
	}
	return fmt.Sprintf("%s-w%d", id.Value, w.world)
}

// wire is an event as a client sends it. Of several identifiers of one kind, which JSON has no place
// for, the first goes; what is expected is read from what was written.
func (w namer) wire(e *apply.Event) []byte {
	b := []byte(`{"message_id":` + quote(e.MessageID+"-w"+strconv.Itoa(w.world)))
	member := func(name, raw string) { b = append(b, `,"`+name+`":`+raw...) }
	member("event_type", quote(e.Type.String()))
	member("timestamp", quote(e.At.Format(time.RFC3339Nano)))
	if e.Name != "" {
		member("event_name", quote(e.Name))
	}
	if e.GroupID != "" {
		member("group_id", quote(e.GroupID))
	}
	if n := len(e.IDs.Anonymous); n > 0 {
		member("anonymous_id", quote(w.name(e.IDs.Anonymous[n-1])))
		if n > 1 {
			member("previous_id", quote(w.name(e.IDs.Anonymous[0])))
		}
	}
	kinds := map[string]string{}
	for _, id := range e.IDs.Verified {
		if kinds[id.Kind] == "" {
			kinds[id.Kind] = w.name(id)
		}
	}
	if len(kinds) > 0 {
		text, err := json.Marshal(kinds)
		if err != nil {
			panic(err)
		}
		member("identity", string(text))
	}
	if e.Payload != nil {
		text := string(e.Payload)
		if e.Type == event.Track || e.Type == event.Page {
			text = w.says.Replace(text)
		}
		member("payload", text)
	}
	if e.Traits != nil {
		member("context", `{"traits":`+string(e.Traits)+`}`)
	}
	return append(b, '}')
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// record is the entry as the edge writes it.
func (x *entry) record(l lane) *kgo.Record {
	meta := event.Meta{Tenant: x.tenant, ReceivedAt: x.received, KeyID: "chaos", RequestID: "chaos"}
	return &kgo.Record{Topic: l.topic, Partition: l.partition, Key: []byte("key"), Value: x.value, Headers: meta.Headers()}
}

// event reads the entry, by another way than the processor's decoder.
func (x *entry) event(settings map[uuid.UUID]*event.Settings) (apply.Event, error) {
	var e event.Event
	if err := e.Decode(x.value, event.DefaultLimits()); err != nil {
		return apply.Event{}, fmt.Errorf("decode %s: %w", x.value, err)
	}
	own := event.DefaultSettings()
	if s := settings[x.tenant]; s != nil {
		own = *s
	}
	out := apply.Event{Tenant: x.tenant, MessageID: string(e.MessageID), Type: e.Type, Name: string(e.Name), GroupID: string(e.GroupID),
		Payload: e.Payload, ReceivedAt: x.received}
	e.Identifiers(x.tenant, &own, &out.IDs)
	if out.IDs.Empty() || out.IDs.Dropped > 0 {
		return out, fmt.Errorf("a name of nobody in %s", x.value)
	}
	out.At, _ = e.Time(x.received)
	out.Traits = event.Member(e.Context, "traits")
	return out, nil
}
