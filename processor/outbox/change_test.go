package outbox

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

var source = Source{Topic: event.TopicEvents, Partition: 3, NextOffset: 77}

func TestChangesAsRecords(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123000, time.UTC)
	change := event.Change{TenantID: uuid.New(), ProfileID: uuid.New(), Profile: &event.ProfileState{Kind: "shadow", Attributes: json.RawMessage(`{"a":"<&>"}`),
		FirstSeen: at, LastSeen: at, EventCount: 1, Version: 1, CreatedAt: at, UpdatedAt: at}}
	records, err := Changes(nil, source, []event.Change{change, {TenantID: change.TenantID, ProfileID: uuid.New()}})
	if err != nil || len(records) != 2 {
		t.Fatal(records, err)
	}
	for i, r := range records {
		headers := map[string]string{}
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if r.Topic != event.TopicChanges || headers[event.HeaderSourceTopic] != event.TopicEvents || headers[event.HeaderSourcePartition] != "3" ||
			headers[event.HeaderSourceOffset] != "77" || headers[event.HeaderSequence] != strconv.Itoa(i) {
			t.Errorf("%s %v", r.Topic, headers)
		}
	}
	if string(records[0].Key) != change.ProfileID.String() {
		t.Errorf("key %q", records[0].Key)
	}
	want, err := json.Marshal(change) // the standard library is the oracle
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(string(want), `\u003c\u0026\u003e`, "<&>"); string(records[0].Value) != got {
		t.Errorf("wrote\n%s, not\n%s", records[0].Value, got)
	}
}

// A change that is larger than a record is told in several, each of which fits, and nothing is lost.
func TestLargeChangesAreSplit(t *testing.T) {
	long := json.RawMessage(`"` + strings.Repeat("x", 200<<10) + `"`)
	change := event.Change{TenantID: uuid.New(), ProfileID: uuid.New(), Profile: &event.ProfileState{Attributes: long}}
	for i := range 20 {
		change.Lineage = append(change.Lineage, event.AttributeChange{Index: i, New: long})
		change.Orders = append(change.Orders, event.OrderState{OrderID: strconv.Itoa(i), Coupon: string(long[:100<<10])})
	}
	change.Identifiers = []event.IdentifierState{{Value: "a"}}
	change.Products = []event.ProductState{{ProductID: "p"}, {ProductID: "q"}}
	change.Merges = []event.Merge{{Cause: "m", Loser: event.ProfileState{Attributes: long}, MovedOrders: []string{string(long), string(long), string(long), string(long), string(long)}}}
	records, err := Changes(nil, source, []event.Change{change})
	if err != nil {
		t.Fatal(err)
	}
	var all event.Change
	for i, r := range records {
		var c event.Change
		if err := json.Unmarshal(r.Value, &c); err != nil || len(r.Value) > MaxRecordBytes {
			t.Fatalf("record %d has %d bytes: %v", i, len(r.Value), err)
		}
		if c.ProfileID != change.ProfileID || c.TenantID != change.TenantID {
			t.Errorf("record %d is about another profile", i)
		}
		if c.Profile != nil {
			all.Profile = c.Profile
		}
		all.Identifiers, all.Products = append(all.Identifiers, c.Identifiers...), append(all.Products, c.Products...)
		all.Lineage, all.Orders, all.Merges = append(all.Lineage, c.Lineage...), append(all.Orders, c.Orders...), append(all.Merges, c.Merges...)
	}
	if all.Profile == nil || len(all.Identifiers) != 1 || len(all.Products) != 2 || len(all.Lineage) != 20 || len(all.Orders) != 20 || len(all.Merges) != 1 {
		t.Errorf("%d records tell of %d lineage, %d orders, %d merges", len(records), len(all.Lineage), len(all.Orders), len(all.Merges))
	}
	for i := range all.Lineage {
		if all.Lineage[i].Index != i || all.Orders[i].OrderID != strconv.Itoa(i) {
			t.Fatalf("place %d holds another", i)
		}
	}
	if len(all.Merges[0].MovedOrders) != 0 || all.Merges[0].Cause != "m" {
		t.Error("a merge that fits no record keeps its lists")
	}
}

// What one batch says of one profile is written out a fixed number of times, however much it is: once
// to find that it is too large, once list by list, once in pieces.
func TestSplittingTakesTwoSteps(t *testing.T) {
	const rows, pieces = 100_000, 40
	change := event.Change{TenantID: uuid.New(), ProfileID: uuid.New(), Profile: &event.ProfileState{}}
	for i := range rows {
		change.Lineage = append(change.Lineage, event.AttributeChange{Index: i, Path: "/visits", Op: "update", New: json.RawMessage("1")})
	}
	lists := split(&change, pieces)
	if len(lists) != 2 || lists[0].Profile == nil || lists[0].Lineage != nil || len(lists[1].Lineage) != rows {
		t.Fatalf("%d lists", len(lists))
	}
	parts := split(&lists[1], pieces)
	if len(parts) != pieces {
		t.Fatalf("%d pieces", len(parts))
	}
	for i, part := range parts {
		if len(part.Lineage) != rows/pieces || part.Lineage[0].Index != i*rows/pieces || part.ProfileID != change.ProfileID {
			t.Errorf("piece %d has %d rows", i, len(part.Lineage))
		}
	}
	records, err := Changes(nil, source, []event.Change{change})
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, r := range records {
		written += len(r.Value)
	}
	if len(records) > written/MaxRecordBytes*3/2+2 {
		t.Errorf("%d records for %d bytes", len(records), written)
	}
}

func TestOneThingTooLarge(t *testing.T) {
	huge := event.Change{Orders: []event.OrderState{{Coupon: strings.Repeat("x", MaxRecordBytes)}}}
	if _, err := Changes(nil, source, []event.Change{huge}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}
