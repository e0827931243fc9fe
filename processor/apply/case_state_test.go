package apply_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
)

func (e ending) lineage(want ...string) {
	e.t.Helper()
	if got := e.paths(); !slices.Equal(got, want) {
		e.t.Errorf("lineage: %q, want %q", got, want)
	}
}

func TestCase_31_one_row_for_one_change(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"city":"Chicago","name":"Ann"}`, crm("u"))
		s.identify(`{"city":"Miami","name":"Ann"}`, crm("u"))
	}, func(t *testing.T, e ending) {
		e.lineage("add /city", "add /name", "update /city")
		l := e.Lineage[1]
		c := l.Changes[0]
		want := event.AttributeChange{Version: 2, Index: 0, Path: "/city", Op: "update", Old: []byte(`"Chicago"`), New: []byte(`"Miami"`),
			Cause: "m1", CauseKind: "event", EventTime: start.Add(time.Second), ProcessedAt: applytest.ProcessedAt}
		if fmt.Sprintf("%+v", c) != fmt.Sprintf("%+v", want) || l.ProfileID != crm("u").Node || l.Version != 2 {
			t.Errorf("row: %+v\nwant %+v", c, want)
		}
	})
}

func TestCase_32_the_same_identify_twice(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"a":{"b":[1,"x"]},"c":null}`, crm("u"))
		s.identify(`{"c":null,"a":{"b":[1.0,"x"]}}`, crm("u"))
	}, func(t *testing.T, e ending) {
		e.lineage("add /a/b", "add /c")
		if p := e.owner(crm("u")); !p.AttributesAt.Equal(start.Add(time.Second)) || p.Version != 2 {
			t.Errorf("attributes_at %s, version %d", p.AttributesAt, p.Version)
		}
	})
}

func TestCase_39_late_identify_only_fills(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"city":"Miami","gone":null}`, crm("u"))
		s.identify(`{"city":"Chicago","gone":1,"name":"Ann","$unset":["city"]}`, crm("u")).At = start.Add(-time.Hour)
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"city":"Miami","gone":null,"name":"Ann"}`)
		if p := e.owner(crm("u")); !p.AttributesAt.Equal(start) || !p.FirstSeen.Equal(start.Add(-time.Hour)) {
			t.Errorf("attributes_at %s, first seen %s", p.AttributesAt, p.FirstSeen)
		}
	})
}

// Only an identify makes later ones late, and a collapse takes the later of both times.
func TestCase_39_what_makes_late(t *testing.T) {
	tell(t, func(s *story) {
		s.page(device("a")).Traits = []byte(`{"city":"Rome"}`)
		s.identify(`{"city":"Oslo"}`, device("a")).At = start.Add(-time.Hour) // not late: no identify before
		s.identify(`{"city":"Miami"}`, crm("u"))
		e := s.identify(`{"city":"Chicago"}`, crm("u"), device("a"))
		e.At = start // late: the anchor's identify was after
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"city":"Miami"}`)
		e.lineage("add /city", "update /city", "add /city")
	})
}

func TestCase_40_odd_names(t *testing.T) {
	long := strings.Repeat("k", 10_000)
	tell(t, func(s *story) {
		s.identify(`{"__proto__":1,"constructor":2,"a.b":3,"a/b":4,"~":5,"":6,"`+long+`":7,"🙂":8}`, crm("u"))
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"":6,"__proto__":1,"a.b":3,"a/b":4,"constructor":2,"`+long+`":7,"~":5,"🙂":8}`)
		e.lineage("add /", "add /__proto__", "add /a.b", "add /a~1b", "add /constructor", "add /"+long, "add /~0", "add /🙂")
	})
}

func TestGroupAttachesTheAccount(t *testing.T) {
	tell(t, func(s *story) {
		for _, payload := range []string{`{"plan":"basic"}`, `{"plan":"pro","seats":3}`, ``} {
			e := s.happens(event.Group, crm("u"))
			e.GroupID, e.Traits = `a"b/c`, []byte(`{"vip":true}`)
			if payload != "" {
				e.Payload = []byte(payload)
			}
		}
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"groups":{"a\"b/c":{"plan":"pro","seats":3}},"vip":true}`)
		e.lineage(`add /groups/a"b~1c/plan`, "add /vip", `update /groups/a"b~1c/plan`, `add /groups/a"b~1c/seats`)
		p := e.owner(crm("u"))
		e.counts("events", int(p.EventCount), 3)
		e.counts("counters by type", int(p.PageCount+p.TrackCount+p.IdentifyCount), 0)
		if !p.AttributesAt.IsZero() {
			t.Error("a group set attributes_at")
		}
	})
}

// A payload is attributes on an identify only; traits are on any type.
func TestTraitsOfAnyType(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Viewed", `{"price":1}`, crm("u")).Traits = []byte(`{"a":1}`)
		s.page(crm("u")).Traits = []byte(`{"b":1}`)
		s.identify(`{"a":2}`, crm("u")).Traits = []byte(`{"a":3}`)
	}, func(t *testing.T, e ending) {
		e.attributes(crm("u"), `{"a":3,"b":1}`)
		e.lineage("add /a", "add /b", "update /a")
	})
}

func TestCase_43_checkout_then_completed(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Checkout Started", `{"order_id":"o","products":[{"product_id":"p","quantity":1}],"total":10}`, crm("u"))
		s.track("Order Completed", `{"order_id":"o","products":[{"product_id":"p","quantity":2}],"total":"20.00","currency":"EUR"}`, crm("u"))
	}, func(t *testing.T, e ending) {
		o := e.order("o")
		if o.Status != "completed" || o.Total != "20.00" || o.Currency != "EUR" || len(o.Items) != 1 || o.Items[0].Quantity != "2" || !o.CompletedAt.Equal(start.Add(time.Second)) {
			t.Errorf("order: %+v", o)
		}
		e.counts("orders", len(e.Orders), 1)
		e.counts("orders of u", e.owner(crm("u")).Orders, 1)
	})
}

func TestCase_44_late_cart_update(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Order Completed", `{"order_id":"o","products":[{"product_id":"p"}],"total":20}`, crm("u"))
		s.track("Cart Updated", `{"order_id":"o","products":[],"total":0}`, crm("u"))
	}, func(t *testing.T, e ending) {
		if o := e.order("o"); o.Status != "completed" || o.Total != "20" || len(o.Items) != 1 {
			t.Errorf("order: %+v", o)
		}
	})
}

func TestCase_45_completed_twice(t *testing.T) {
	const payload = `{"order_id":"o","products":[{"product_id":"p"}],"total":20}`
	tell(t, func(s *story) {
		s.track("Order Completed", payload, crm("u"))
		s.track("Order Completed", payload, crm("u")).MessageID = "m0"
		s.track("Order Completed", `{"order_id":"o","products":[{"product_id":"p"}],"total":21}`, crm("u"))
	}, func(t *testing.T, e ending) {
		if o := e.order("o"); o.Total != "21" || o.Version != 2 || !o.CompletedAt.Equal(start) {
			t.Errorf("order: %+v", o)
		}
		e.counts("events", int(e.owner(crm("u")).EventCount), 2)
	})
}

func TestCase_46_added_to_cart_without_order(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Added to Cart", `{"product_id":"P-1234","price":100.00}`, device("a"))
		s.track("Added to Cart", `{"product_id":"P-1234","price":50,"name":"Chair"}`, device("b"))
	}, func(t *testing.T, e ending) {
		e.counts("orders", len(e.Orders), 0)
		p := e.Products[apply.ProductKey{Tenant: tenant, ID: "P-1234"}]
		if !p.Skeleton || p.Price != "100.00" || p.Name != "Chair" || !p.FirstSeen.Equal(start) || p.Version != 2 {
			t.Errorf("product: %+v", p)
		}
	})
}

func TestCase_46_any_event_names_products(t *testing.T) {
	tell(t, func(s *story) {
		s.identify(`{"product_id":"p"}`, crm("u"))
		s.page(crm("u")).Payload = []byte(`{"products":[{"sku":"q"}]}`)
		s.page(crm("u")).Payload = []byte(`{"order_id":"o"}`)
		s.identify(`{"order_id":"not an order"}`, crm("u"))
	}, func(t *testing.T, e ending) {
		e.counts("products", len(e.Products), 2)
		e.counts("orders", len(e.Orders), 1)
	})
}

func TestCase_47_removed_without_quantity(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Added to Cart", `{"order_id":"o","product_id":"p","quantity":3}`, crm("u"))
		s.track("Removed from Cart", `{"order_id":"o","product_id":"p","quantity":1}`, crm("u"))
		s.track("Added to Cart", `{"order_id":"o","product_id":"q"}`, crm("u"))
		s.track("Removed from Cart", `{"order_id":"o","product_id":"q"}`, crm("u"))
	}, func(t *testing.T, e ending) {
		if o := e.order("o"); len(o.Items) != 1 || o.Items[0].ProductID != "p" || o.Items[0].Quantity != "2" {
			t.Errorf("lines: %+v", o.Items)
		}
	})
}

func TestCase_48_order_id_forms(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Order Updated", `{"order_id":1001}`, crm("u"))
		s.track("Order Updated", `{"order_id":"1001","total":1}`, crm("u"))
		s.track("Order Updated", `{"order_id":" 1001 ","total":2}`, crm("u"))
	}, func(t *testing.T, e ending) {
		if o := e.order("1001"); o.Total != "2" {
			t.Errorf("total: %s", o.Total)
		}
		e.counts("orders", len(e.Orders), 1)
	})
}

func TestCase_49_same_order_in_two_tenants(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Order Completed", `{"order_id":"o","total":1}`, crm("u"))
		s.track("Order Completed", `{"order_id":"o","total":2}`, applytest.ID(applytest.Strict, event.KindCRM, "u")).Tenant = applytest.Strict
	}, func(t *testing.T, e ending) {
		if there := e.Orders[apply.OrderKey{Tenant: applytest.Strict, ID: "o"}]; e.order("o").Total != "1" || there.Total != "2" {
			t.Error("the orders are not apart")
		}
	})
}

func TestCase_50_order_begun_as_a_shadow(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Checkout Started", `{"order_id":"o"}`, device("a"))
		s.track("Order Completed", `{"order_id":"o"}`, device("a"), crm("u"))
	}, func(t *testing.T, e ending) {
		if o := e.order("o"); o.Status != "completed" || o.ProfileID != crm("u").Node {
			t.Errorf("order: %+v", o)
		}
		e.counts("orders of u", e.owner(crm("u")).Orders, 1)
		if m := e.Merges[0].MovedOrders; !slices.Equal(m, []string{"o"}) {
			t.Errorf("moved orders: %q", m)
		}
	})
}

func TestCase_51_profiles_with_orders_merge(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Order Completed", `{"order_id":"o1"}`, crm("u"))
		s.track("Order Completed", `{"order_id":"o2"}`, mail("e"))
		s.page(crm("u"), mail("e"))
	}, func(t *testing.T, e ending) {
		p := e.owner(crm("u"))
		e.counts("orders", p.Orders, 2)
		e.counts("events", int(p.EventCount), 3)
		if e.order("o1").ProfileID != p.ID || e.order("o2").ProfileID != p.ID || e.order("o2").Version != 2 {
			t.Error("the orders are not united")
		}
	})
}

// The order belongs to the profile of its latest event; the former owner has one less.
func TestOrderChangesHands(t *testing.T) {
	tell(t, func(s *story) {
		s.track("Checkout Started", `{"order_id":"o"}`, crm("u"))
		s.track("Order Completed", `{"order_id":"o"}`, crm("v"))
		s.track("Viewed", `{}`, crm("u"), device("a"))
		s.page(crm("u"), mail("e"))
	}, func(t *testing.T, e ending) {
		if o := e.order("o"); o.ProfileID != crm("v").Node {
			t.Error("the order is not v's")
		}
		e.counts("orders of u", e.owner(crm("u")).Orders, 0)
		e.counts("orders of v", e.owner(crm("v")).Orders, 1)
	})
}

// Whatever was true before stays true after a merge by somebody who has nothing at hand.
func TestMissing(t *testing.T) {
	settings := applytest.Settings()
	s := applytest.NewStore(settings)
	at := func(lane string, events ...*apply.Event) *apply.Result {
		t.Helper()
		batch := make([]apply.Event, len(events))
		for n, e := range events {
			batch[n] = *e
		}
		r, err := s.Apply(lane, batch, applytest.ProcessedAt)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	var w story
	at("0", w.page(crm("ann")))
	at("0", w.page(mail("e"), phone("+1")))
	at("0", w.page(mail("e"), device("a")))
	at("0", w.track("Order Completed", `{"order_id":"o"}`, mail("e")))
	at("0", w.page(crm("bob"), device("a"))) // e's device is Bob's now
	if s.Reruns != 0 {
		t.Fatal("a batch without merges had to load more")
	}
	r := at("0", w.page(crm("ann"), mail("e")))
	if s.Reruns != 1 {
		t.Errorf("%d batches had to load more, want 1", s.Reruns)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	if len(r.Identifiers) != 2 || len(r.Spans) != 1 || len(r.Orders) != 1 || r.Spans[0].ProfileID != crm("ann").Node {
		t.Errorf("moved %d identifiers, %d spans, %d orders, want 2, 1, 1", len(r.Identifiers), len(r.Spans), len(r.Orders))
	}
	at("0", w.page(device("x")))
	at("0", w.page(device("x"), crm("ann")))
	if s.Reruns != 1 {
		t.Error("a shadow of one device needs nothing more to collapse")
	}
}

// Changes tells each thing once, by the record of the profile it belongs to.
func TestChanges(t *testing.T) {
	var w story
	w.page(device("a"))
	w.track("Order Completed", `{"order_id":"o","product_id":"p"}`, device("a"))
	w.identify(`{"city":"Oslo"}`, device("a"), crm("ann"))
	w.page(device("a"), crm("bob"))
	var batch []apply.Event
	for _, e := range w.events {
		batch = append(batch, *e)
	}
	r, missing := apply.Run(&apply.State{}, batch, applytest.ProcessedAt)
	if missing != nil {
		t.Fatal("missing something of nothing")
	}
	got := map[uuid.UUID]string{}
	for _, c := range r.Changes() {
		if c.TenantID != tenant || c.Profile == nil {
			t.Errorf("record of %s: tenant %s, no profile: %t", c.ProfileID, c.TenantID, c.Profile == nil)
		}
		got[c.ProfileID] = fmt.Sprintf("identifiers %d merges %d lineage %d orders %d products %d",
			len(c.Identifiers), len(c.Merges), len(c.Lineage), len(c.Orders), len(c.Products))
	}
	want := map[uuid.UUID]string{
		device("a").Node: "identifiers 0 merges 0 lineage 0 orders 0 products 1",
		crm("ann").Node:  "identifiers 2 merges 1 lineage 1 orders 1 products 0",
		crm("bob").Node:  "identifiers 2 merges 0 lineage 0 orders 0 products 0",
	}
	for id, what := range want {
		if got[id] != what {
			t.Errorf("record of %s: %s, want %s", id, got[id], what)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	if d := r.Redirects; len(d) != 1 || d[0] != (apply.Redirect{Tenant: tenant, Loser: device("a").Node, Winner: crm("ann").Node}) {
		t.Errorf("redirects: %v", d)
	}
}
