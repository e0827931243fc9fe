package consume

import (
	"testing"

	"github.com/keystone-cdp/keystone/internal/event"
)

// hostile sends a hostile event between two good ones, and answers what the store has of its sender.
func hostile(t *testing.T, member string) (attributes string, orders int) {
	t.Helper()
	r := newRig(t, 1)
	r.send(
		r.record(event.TopicEvents, 0, r.page(1, "a")),
		r.record(event.TopicEvents, 0, `{"message_id":"m`+member+`","identity":"u","event_type":"identify","payload":{"k`+member+`":"v`+member+`"}}`),
		r.record(event.TopicEvents, 0, `{"message_id":"o`+member+`","identity":"u","event_type":"track","event_name":"Order`+member+`","payload":{"order_id":"o`+member+`"}}`),
		r.record(event.TopicEvents, 0, r.page(2, "b")),
	)
	r.start(nil, nil)
	r.at(event.TopicEvents, 0, 4)
	if n := r.counted(); n != 4 {
		t.Errorf("%d events counted", n)
	}
	if n := len(r.read(event.TopicDLQ)); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	for p, err := range r.states.Profiles(t.Context(), r.tenant, false) {
		if err != nil {
			t.Fatal(err)
		}
		if p.ProfileID == event.NodeID(r.tenant, event.KindCRM, "u") {
			attributes = string(p.Attributes)
		}
	}
	for o, err := range r.states.Orders(t.Context(), r.tenant) {
		if err != nil || o.OrderID != "o\uFFFD" {
			t.Errorf("%+v, %v", o, err)
		}
		orders++
	}
	return attributes, orders
}

// The raw event is the sink's: its tests have the same there.
func TestCase_03_nul(t *testing.T) {
	if attributes, orders := hostile(t, `\u0000`); attributes != "{\"k\uFFFD\":\"v\uFFFD\"}" || orders != 1 {
		t.Errorf("%s and %d orders", attributes, orders)
	}
}

func TestCase_03a_lone_surrogate(t *testing.T) {
	if attributes, orders := hostile(t, `\ud800`); attributes != "{\"k\uFFFD\":\"v\uFFFD\"}" || orders != 1 {
		t.Errorf("%s and %d orders", attributes, orders)
	}
}
