package order

import (
	"testing"

	"github.com/keystone-cdp/keystone/internal/event"
)

func BenchmarkReadNothing(b *testing.B) {
	payload := []byte(`{"url":"https://shop.example/mugs?page=2","title":"Mugs","referrer":"https://search.example/","nested":{"a":[1,2]},"price":5}`)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		Named(payload, noon)
	}
}

func BenchmarkOrderCompleted(b *testing.B) {
	in := Input{Name: "Order Completed", Payload: []byte(`{"order_id":"1001","total":"104.97","currency":"EUR","tax":9.5,"products":[{"product_id":"A","quantity":2,"price":19.99,"name":"Mug"},{"product_id":"B","price":"64.99","name":"Pan"}]}`), At: noon, Profile: ann}
	b.ReportAllocs()
	for b.Loop() {
		o := event.OrderState{OrderID: "1001"}
		Named(in.Payload, in.At)
		Apply(&o, in)
	}
}
