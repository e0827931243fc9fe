package order

import (
	"reflect"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

func TestProducts(t *testing.T) {
	_, got := Named([]byte(`{"products":[{"id":"A"},{"sku":"B","price":1},{"product_id":"A","name":"Mug","price":"2"},{"id":"A","name":"Cup"}],"product_id":"B","name":"Bowl","price":3,"category":"c"}`), noon)
	want := []event.ProductState{
		{ProductID: "A", Name: "Mug", Price: "2", Skeleton: true, FirstSeen: noon, Version: 1},
		{ProductID: "B", Name: "Bowl", Price: "1", Category: "c", Skeleton: true, FirstSeen: noon, Version: 1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	for _, nothing := range []string{``, `{}`, `{"sku":"S","id":"I","name":"n"}`, `{"products":[]}`, `{"products":["a"]}`, `{"products":[{"id":"A"}`} {
		if _, got := Named([]byte(nothing), noon); got != nil {
			t.Errorf("%s: got %+v", nothing, got)
		}
	}
}

func TestProvision(t *testing.T) {
	from := func(text string, at time.Time) event.ProductState {
		_, products := Named([]byte(text), at)
		return products[0]
	}
	p := event.ProductState{ProductID: "P"}
	if !Provision(&p, from(`{"product_id":"P","name":"Mug"}`, noon)) || p.Version != 1 || !p.Skeleton || p.Name != "Mug" {
		t.Fatalf("new: %+v", p)
	}
	if Provision(&p, from(`{"product_id":"P","name":"Cup"}`, noon.Add(time.Hour))) || p.Version != 1 {
		t.Errorf("nothing new: %+v", p)
	}
	if !Provision(&p, from(`{"product_id":"P","name":"Cup","price":5,"category":"c"}`, noon.Add(-time.Hour))) || p.Version != 2 {
		t.Errorf("fill: %+v", p)
	}
	want := event.ProductState{ProductID: "P", Name: "Mug", Price: "5", Category: "c", Skeleton: true, FirstSeen: noon.Add(-time.Hour), Version: 2}
	if p != want {
		t.Errorf("filled: %+v", p)
	}
	catalogue := event.ProductState{ProductID: "P", Version: 1, FirstSeen: noon}
	before := catalogue
	if Provision(&catalogue, want) || catalogue != before {
		t.Errorf("catalogue row: %+v", catalogue)
	}
}
