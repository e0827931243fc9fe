package apply

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/order"
)

// mayName says no only where package order finds nothing.
func TestMayName(t *testing.T) {
	for payload, want := range map[string]bool{
		``:                                  false,
		`{}`:                                false,
		`{"url":"/products/chairs"}`:        false,
		`{"ids":[1],"s":"","d":"d"}`:        false,
		`{"order_id":1}`:                    true,
		`{"order\u005fid":1}`:               true,
		`{"x":1,"product_id":"p"}`:          true,
		`{"products":[]}`:                   true,
		`{"line_items":[{"sku":"a"}]}`:      true,
		"{\"items\" \n:[{\"id\":1}]}":       true,
		`{"list":"items","n":["order_id"]}`: false,
		`{"\u0069tems":[{"id":1}]}`:         true,
		`{"nested":{"order_id":"not it"}}`:  true, // a false alarm costs time only
	} {
		if got := mayName([]byte(payload)); got != want {
			t.Errorf("%s: %t, want %t", payload, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"order_id", "product_id", "products", "line_items", "items", "sku", "id", "s", "d", `\u0069tems`, ""})
		value := rapid.SampledFrom([]string{`1`, `"x"`, `[{"id":1}]`, `[{"product_id":"p"}]`, `"items"`, `""`})
		payload := "{"
		for n := range rapid.IntRange(0, 4).Draw(t, "members") {
			if n > 0 {
				payload += ","
			}
			payload += `"` + name.Draw(t, "name") + `":` + value.Draw(t, "value")
		}
		payload += "}"
		if id, products := order.Named([]byte(payload), time.Time{}); id == "" && products == nil {
			return
		}
		if !mayName([]byte(payload)) {
			t.Fatalf("%s names something", payload)
		}
	})
}

func TestKeysOf(t *testing.T) {
	a, b := uuid.UUID{1}, uuid.UUID{2}
	ids := func(tenant uuid.UUID, values ...string) (ids event.Identifiers) {
		for _, v := range values {
			ids.Anonymous = append(ids.Anonymous, event.Identifier{Node: event.NodeID(tenant, event.KindAnonymous, v)})
			ids.Verified = append(ids.Verified, event.Identifier{Node: event.NodeID(tenant, event.KindCRM, v)})
		}
		return ids
	}
	const payload = `{"order_id":"o2","products":[{"id":"p2"},{"id":"p1"}]}`
	keys := KeysOf([]Event{
		{Tenant: b, Type: event.Track, IDs: ids(b, "x"), Payload: []byte(payload)},
		{Tenant: a, Type: event.Page, IDs: ids(a, "y", "x"), Payload: []byte(`{"order_id":1}`)},
		{Tenant: b, Type: event.Page, IDs: ids(b, "x"), Payload: []byte(payload)},
		{Tenant: a, Type: event.Identify, IDs: ids(a, "x"), Payload: []byte(`{"order_id":2}`)}, // no order: 2.7
	})
	if len(keys.Nodes) != 6 || !slices.IsSortedFunc(keys.Nodes, NodeKey.compare) || keys.Nodes[0].Tenant != a || keys.Nodes[5].Tenant != b {
		t.Errorf("nodes: %v", keys.Nodes)
	}
	if want := []OrderKey{{a, "1"}, {b, "o2"}}; !slices.Equal(keys.Orders, want) {
		t.Errorf("orders: %v, want %v", keys.Orders, want)
	}
	if want := []ProductKey{{b, "p1"}, {b, "p2"}}; !slices.Equal(keys.Products, want) {
		t.Errorf("products: %v, want %v", keys.Products, want)
	}
}
