package order

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ann  = uuid.MustParse("00000000-0000-0000-0000-00000000000a")
	bob  = uuid.MustParse("00000000-0000-0000-0000-00000000000b")
)

// history applies events, "name payload" each, a minute apart.
func history(events ...string) event.OrderState {
	o := event.OrderState{OrderID: "1001"}
	for i, e := range events {
		name, payload, _ := strings.Cut(e, "{")
		Apply(&o, Input{Name: name, Payload: []byte("{" + payload), At: noon.Add(time.Duration(i) * time.Minute), Profile: ann})
	}
	return o
}

// brief is what a test looks at: status, lines as id×quantity@price, total.
func brief(o event.OrderState) string {
	var lines []string
	for _, i := range o.Items {
		s := i.ProductID + "×" + i.Quantity
		if i.Price != "" {
			s += "@" + i.Price
		}
		lines = append(lines, s)
	}
	return fmt.Sprintf("%s [%s] %s", o.Status, strings.Join(lines, " "), o.Total)
}

func checkHistory(t *testing.T, want string, events ...string) event.OrderState {
	t.Helper()
	o := history(events...)
	if got := brief(o); got != want {
		t.Errorf("%s\ngot  %s\nwant %s", strings.Join(events, "\n"), got, want)
	}
	return o
}

const (
	cartOfTwo = `{"products":[{"product_id":"A","quantity":2,"price":"1.50"},{"product_id":"B"}],"value":3.5}`
	cartOfOne = `{"products":[{"product_id":"C","quantity":9}],"value":99}`
)

func TestCase_43_CheckoutThenCompleted(t *testing.T) {
	o := checkHistory(t, "completed [A×2@1.50 B×1] 4.00", "Checkout Started"+cartOfTwo, `Order Completed{"total":4.00}`)
	if o.Version != 2 || !o.FirstEvent.Equal(noon) || !o.LastEvent.Equal(noon.Add(time.Minute)) || !o.CompletedAt.Equal(noon.Add(time.Minute)) {
		t.Errorf("got %+v", o)
	}
}

func TestCase_44_CartAfterCompletionTouchesNothing(t *testing.T) {
	for _, name := range []string{"Cart Updated", "Added to Cart", "Product Removed", "cart viewed", "checkout_started", "payment info entered", "Order Refunded", "Order Cancelled"} {
		want := "completed [A×2@1.50 B×1] 3.5"
		switch name {
		case "Order Refunded":
			want = strings.Replace(want, Completed, Refunded, 1)
		case "Order Cancelled":
			want = strings.Replace(want, Completed, Cancelled, 1)
		}
		o := checkHistory(t, want, "Order Completed"+cartOfTwo, name+cartOfOne)
		checkHistory(t, want, "Order Completed"+cartOfTwo, name+`{"product_id":"A","total":5,"currency":"EUR","coupon":"x","tax":1,"shipping":2,"discount":3}`)
		if o.Version != 2 || o.CompletedAt != noon {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestCase_45_SecondCompletionChangesWhatDiffers(t *testing.T) {
	o := checkHistory(t, "completed [A×2@1.50 B×1] 3.5", "Order Completed"+cartOfTwo,
		`Order Completed{"items":[{"sku":"A","quantity":"2.0","price":1.5},{"id":"B","quantity":1}],"revenue":"3.50","currency":" EUR "}`)
	if o.Currency != "EUR" || o.CompletedAt != noon {
		t.Errorf("got %+v", o)
	}
	in := Input{Name: "Order Completed", Payload: []byte(cartOfTwo), At: noon, Profile: ann}
	if version := o.Version; Apply(&o, in) || o.Version != version {
		t.Error("an event that says nothing new changed the order")
	}
}

func TestCase_46_AddedToCartWithoutOrder(t *testing.T) {
	payload := []byte(`{"product_id":"P-1","name":"Mug","price":100.00}`)
	want := []event.ProductState{{ProductID: "P-1", Name: "Mug", Price: "100.00", Skeleton: true, FirstSeen: noon, Version: 1}}
	if id, got := Named(payload, noon); id != "" || !reflect.DeepEqual(got, want) {
		t.Errorf("order %q, products %+v", id, got)
	}
}

func TestCase_47_SingleProducts(t *testing.T) {
	for name, c := range map[string]struct {
		want   string
		events []string
	}{
		"removed without quantity":     {"incomplete [B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Removed from Cart{"product_id":"A"}`}},
		"removed in part":              {"incomplete [A×0.5@1.50 B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"A","quantity":"1.5"}`}},
		"removed to the last":          {"incomplete [B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"A","quantity":2}`}},
		"removed more than there is":   {"incomplete [B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"A","quantity":5}`}},
		"removed what is not there":    {"incomplete [A×2@1.50 B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"X"}`}},
		"removed from nothing":         {"incomplete [] ", []string{`Product Removed{"product_id":"X"}`}},
		"removed nothing":              {"incomplete [A×2@1.50 B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"A","quantity":0}`}},
		"removed an unreadable number": {"incomplete [B×1] 3.5", []string{"Cart Updated" + cartOfTwo, `Product Removed{"product_id":"A","quantity":"all"}`}},
		"added, new":                   {"incomplete [P×1@9.99] ", []string{`Added to Cart{"product_id":"P","price":"9.99"}`}},
		"added twice, last price":      {"incomplete [P×3@8] ", []string{`Added to Cart{"product_id":"P","price":"9.99"}`, `product_added{"product_id":"P","quantity":2,"price":8}`}},
		"added to the first line":      {"incomplete [P×2 P×5] ", []string{`Cart Updated{"products":[{"id":"P"},{"id":"P","quantity":5}]}`, `Product Added{"product_id":"P"}`}},
		"added less than nothing":      {"incomplete [] ", []string{`Product Added{"product_id":"P","quantity":-1}`}},
		"a list wins":                  {"incomplete [C×9] 99", []string{`Added to Cart{"product_id":"P","products":[{"product_id":"C","quantity":9}],"value":99}`}},
		"other names take no product":  {"incomplete [] ", []string{`Product Viewed{"product_id":"P"}`}},
		"the sku is no product here":   {"incomplete [] ", []string{`Product Added{"sku":"P"}`}},
	} {
		t.Run(name, func(t *testing.T) { checkHistory(t, c.want, c.events...) })
	}
}

func TestCase_48_OrderIDs(t *testing.T) {
	for payload, want := range map[string]string{
		`{"order_id":1001}`:                  "1001",
		`{"order_id":"1001"}`:                "1001",
		`{"order_id":" 1001 "}`:              "1001",
		`{"order_id":12345678901234567890}`:  "12345678901234567890",
		`{"order_id":"x","order_id":1001.0}`: "1001.0",
		`{"order\u005fid":"a\u0000\ud800b"}`: "a\ufffd\ufffdb",
		`{"order_id":""}`:                    "",
		`{"order_id":"  "}`:                  "",
		`{"order_id":null}`:                  "",
		`{"order_id":1001,"order_id":null}`:  "",
		`{"order_id":true}`:                  "",
		`{"order_id":["1"]}`:                 "",
		`{"order_id":{"id":1}}`:              "",
		`{"orderId":"1"}`:                    "",
		`{"ORDER_ID":"1"}`:                   "",
		`{}`:                                 "",
		`[]`:                                 "",
		``:                                   "",
		`{"order_id":"` + strings.Repeat("x", MaxIDBytes) + `"}`:   strings.Repeat("x", MaxIDBytes),
		`{"order_id":"` + strings.Repeat("x", MaxIDBytes+1) + `"}`: "",
	} {
		if got, _ := Named([]byte(payload), noon); got != want {
			t.Errorf("%.60s: got %q", payload, got)
		}
	}
}

func TestCase_50_OrderFollowsItsLatestEvent(t *testing.T) {
	o := history("Checkout Started" + cartOfTwo)
	if o.ProfileID != ann {
		t.Fatalf("got %v", o.ProfileID)
	}
	if !Apply(&o, Input{Name: "page", At: noon, Profile: bob}) || o.ProfileID != bob || o.Version != 2 {
		t.Errorf("got %+v", o)
	}
}

func TestCase_52_RefundOfAnUnknownOrder(t *testing.T) {
	checkHistory(t, "refunded [A×2@1.50 B×1] 3.5", "Order Refunded"+cartOfTwo)
	checkHistory(t, "refunded [C×9] 99", "Order Refunded"+cartOfTwo, "Order Completed"+cartOfOne)
}

func TestCase_53_ProductIDs(t *testing.T) {
	checkHistory(t, "incomplete [S×1 7×1 P×1 I×1 S2×1 8.0×1] ",
		`Cart Updated{"products":[{"sku":"S"},{"product_id":7},{"product_id":" P ","sku":"S","id":"I"},{"id":"I"},{"product_id":"","sku":"S2"},{"product_id":null,"sku":{},"id":8.0},{"name":"nothing"},"text",5,null,[]]}`)
}

func TestCase_54_Money(t *testing.T) {
	for raw, want := range map[string]string{
		`"19.99"`: "19.99", `19.990`: "19.990", `1e2`: "100", `" 1e2 "`: "100", `100.00`: "100.00", `0`: "0", `-0`: "0", `-0.00`: "0.00",
		`-5.5`: "-5.5", `1.50e1`: "15.0", `1E-2`: "0.01", `0e18`: "0", `0e-99`: "0", `"+5"`: "5", `".5"`: "0.5", `"5."`: "5", `"007.50"`: "7.50",
		`12345678901234567890.123456789012345678`: "12345678901234567890.123456789012345678",
		`9007199254740993`:                        "9007199254740993",
		`1.0000000000000000000000000`:             "1",
		`1e19`:                                    "10000000000000000000",
		`1e20`:                                    "", `1e999999999`: "", `1e-999999999`: "", `1e-19`: "", `123456789012345678901`: "",
		`1e99999999999999999999`: "", `"NaN"`: "", `"Infinity"`: "", `"-inf"`: "", `"1_000"`: "", `"1,000.00"`: "", `"$5"`: "", `""`: "", `"."`: "", `"-"`: "", `"1e"`: "",
		`"1e1e1"`: "", `"1.2.3"`: "", `"--1"`: "", `"0x10"`: "", `"١"`: "", `true`: "", `null`: "", `[1]`: "", `{"amount":1}`: "",
		`"` + strings.Repeat("0", 200) + `"`: "", strings.Repeat("9", 100_000): "",
	} {
		o := event.OrderState{}
		Apply(&o, Input{Name: "Order Completed", Payload: []byte(`{"total":` + raw + `}`), At: noon})
		if o.Total != want {
			t.Errorf("%.60s: got %q, want %q", raw, o.Total, want)
		}
	}
}

func TestCase_55_FiveThousandLines(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, `,{"product_id":"P-%05d","sku":"S-%05d","name":"Product number %d","category":"things","price":%d.99,"quantity":%d}`, i, i, i, i, i%9+1)
	}
	payload := []byte(`{"order_id":"1","products":[` + b.String()[1:] + `]}`)
	o := event.OrderState{OrderID: "1"}
	if !Apply(&o, Input{Name: "Order Completed", Payload: payload, At: noon}) || len(o.Items) != 5000 || o.Items[4999].Price != "4999.99" {
		t.Errorf("%d lines", len(o.Items))
	}
	if Apply(&o, Input{Name: "Order Completed", Payload: payload, At: noon}) {
		t.Error("the same lines changed the order")
	}
	if _, products := Named(payload, noon); len(products) != 5000 || products[4999].ProductID != "P-04999" {
		t.Errorf("%d products", len(products))
	}
}

func TestNames(t *testing.T) {
	for status, names := range map[string][]string{
		Incomplete: {"cart updated", "removed from cart", "added to cart", "product added", "product removed", "cart viewed", "cart created", "checkout started", "checkout step viewed", "checkout step completed", "payment info entered"},
		Completed:  {"order completed", "checkout completed", "purchase"},
		Cancelled:  {"order cancelled", "order canceled"},
		Refunded:   {"order refunded"},
		"":         {"", "order updated", "checkout", "order completed!", "ordercompleted", "orders completed", "checkout step completed ok", strings.Repeat("x", 1000), "ördér completed"},
	} {
		for _, name := range names {
			for _, spelling := range []string{name, strings.ToUpper(name), "  " + name + "\n", strings.ReplaceAll(name, " ", "_"), strings.ReplaceAll(name, " ", "-"), strings.ReplaceAll(name, " ", "  _\u00a0"), "_" + name + "_"} {
				if got := classify(spelling).status(); got != status {
					t.Errorf("%q: got %q, want %q", spelling, got, status)
				}
			}
		}
	}
}

func TestStatuses(t *testing.T) {
	for name, c := range map[string]struct {
		want   string
		events []string
	}{
		"others start incomplete":        {"incomplete [A×2@1.50 B×1] 3.5", []string{"Order Updated" + cartOfTwo}},
		"others keep the status":         {"completed [C×9] 99", []string{"Order Completed" + cartOfTwo, "Order Updated" + cartOfOne}},
		"refund after cancellation":      {"refunded [] ", []string{"Order Cancelled{}", "Order Refunded{}"}},
		"cancellation after refund":      {"cancelled [] ", []string{"Order Refunded{}", "Order Canceled{}"}},
		"completion after cancellation":  {"cancelled [] ", []string{"Order Cancelled{}", "Order Completed{}"}},
		"cart after cancellation":        {"cancelled [] ", []string{"Order Cancelled{}", "Cart Updated" + cartOfTwo}},
		"refund names what was returned": {"refunded [A×2@1.50 B×1] 3.5", []string{"Order Updated" + cartOfTwo, "Order Refunded" + cartOfOne}},
	} {
		t.Run(name, func(t *testing.T) { checkHistory(t, c.want, c.events...) })
	}
}

func TestLists(t *testing.T) {
	for name, c := range map[string]struct{ want, payload string }{
		"products first":                    {"[P×1]", `{"items":[{"id":"I"}],"line_items":[{"id":"L"}],"products":[{"id":"P"}]}`},
		"then line_items":                   {"[L×1]", `{"items":[{"id":"I"}],"line_items":[{"id":"L"}],"products":{"id":"P"}}`},
		"then items":                        {"[I×1]", `{"items":[{"id":"I"}],"line_items":null}`},
		"an empty list empties":             {"[]", `{"products":[],"items":[{"id":"I"}]}`},
		"a list of something else":          {"[old×1]", `{"items":["a",{"name":"b"}]}`},
		"no list":                           {"[old×1]", `{"products":"P"}`},
		"a product named twice keeps lines": {"[P×1 P×2]", `{"products":[{"id":"P"},{"id":"P","quantity":2}]}`},
		"the last duplicate member counts":  {"[Q×1]", `{"products":[{"id":"P"}],"products":[{"id":"P","id":"Q"}]}`},
		"unreadable quantity and price":     {"[P×1]", `{"products":[{"id":"P","quantity":"many","price":"free"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			checkHistory(t, "incomplete "+c.want+" ", `Cart Updated{"products":[{"id":"old"}]}`, "Cart Updated"+c.payload)
		})
	}
}

func TestTotals(t *testing.T) {
	o := history(`Cart Updated{"total":"free","revenue":2,"value":3,"tax":1,"shipping":"2.00","discount":3,"coupon":" SALE ","currency":"eur"}`,
		`Cart Updated{"total":null,"currency":"","coupon":7,"tax":"1.0"}`)
	want := event.OrderState{Total: "2", Tax: "1", Shipping: "2.00", Discount: "3", Coupon: "7", Currency: "EUR"}
	got := event.OrderState{Total: o.Total, Tax: o.Tax, Shipping: o.Shipping, Discount: o.Discount, Coupon: o.Coupon, Currency: o.Currency}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestEventTimes(t *testing.T) {
	o := history("Order Completed{}")
	if !Apply(&o, Input{Name: "Order Completed", At: noon.Add(-time.Hour), Profile: ann}) {
		t.Error("an earlier event changed nothing")
	}
	if !o.FirstEvent.Equal(noon.Add(-time.Hour)) || !o.LastEvent.Equal(noon) || !o.CompletedAt.Equal(noon) {
		t.Errorf("got %+v", o)
	}
}

func TestEventsOfOneInstant(t *testing.T) {
	var o event.OrderState
	for i, payload := range []string{`{}`, cartOfOne, cartOfTwo, `{"total":1}`, `{"tax":1}`, `{"shipping":1}`, `{"discount":1}`, `{"currency":"EUR"}`, `{"coupon":"x"}`} {
		if !Apply(&o, Input{Name: "Cart Updated", Payload: []byte(payload), At: noon, Profile: ann}) || o.Version != int64(i+1) {
			t.Errorf("%s changed nothing", payload)
		}
	}
}

func TestStatesBeforeAreNeverWrittenTo(t *testing.T) {
	before := history("Cart Updated"+cartOfTwo, `Product Added{"product_id":"C"}`)
	before.Items = slices.Grow(before.Items, 4)
	lines := slices.Clone(before.Items)
	for _, first := range []string{`Product Added{"product_id":"A"}`, `Product Added{"product_id":"E"}`, `Product Removed{"product_id":"A"}`, `Product Removed{"product_id":"A","quantity":1}`, "Cart Updated" + cartOfOne} {
		name, payload, _ := strings.Cut(first, "{")
		one, two := before, before
		Apply(&one, Input{Name: name, Payload: []byte("{" + payload), At: noon})
		items := slices.Clone(one.Items)
		Apply(&two, Input{Name: "Product Added", Payload: []byte(`{"product_id":"F"}`), At: noon})
		if !slices.Equal(before.Items, lines) || !slices.Equal(one.Items, items) {
			t.Errorf("%s: states share what one of them writes", first)
		}
	}
}

func TestItemsOfANewOrderAreNoNull(t *testing.T) {
	for _, events := range [][]string{{"x{}"}, {`Product Added{"product_id":"P"}`, `Product Removed{"product_id":"P"}`}} {
		if text, err := json.Marshal(history(events...).Items); err != nil || string(text) != "[]" {
			t.Errorf("got %s, %v", text, err)
		}
	}
}

func TestLimits(t *testing.T) {
	lines := func(n int, line string) []byte {
		return []byte(`{"products":[` + strings.Repeat(","+line, n)[1:] + `]}`)
	}
	var o event.OrderState
	Apply(&o, Input{Name: "Cart Updated", Payload: lines(MaxItems+5, `{"id":1}`), At: noon})
	if len(o.Items) != MaxItems {
		t.Errorf("%d lines", len(o.Items))
	}
	if Apply(&o, Input{Name: "Product Added", Payload: []byte(`{"product_id":2}`), At: noon}) {
		t.Error("one line more was added")
	}
	o = event.OrderState{}
	Apply(&o, Input{Name: "Cart Updated", Payload: lines(5000, `{"id":1,"name":"`+strings.Repeat("n", MaxTextBytes)+`"}`), At: noon})
	text, err := json.Marshal(o.Items)
	if err != nil || len(text) > 1<<20 || len(text) < MaxItemsBytes*9/10 {
		t.Errorf("%d lines, %d bytes, %v", len(o.Items), len(text), err)
	}
	o = history(`Cart Updated{"coupon":"` + strings.Repeat("x", MaxTextBytes+1) + `","products":[{"id":"` + strings.Repeat("x", MaxIDBytes+1) + `","sku":"S"}]}`)
	if o.Coupon != "" || len(o.Items) != 1 || o.Items[0].ProductID != "S" {
		t.Errorf("got %+v", o)
	}
	o = history(`Product Added{"product_id":"P","quantity":99999999999999999999}`, `Product Added{"product_id":"P"}`)
	if o.Items[0].Quantity != "99999999999999999999" {
		t.Errorf("got %+v", o.Items)
	}
}

func TestNothingToReadAllocatesNothing(t *testing.T) {
	payload := []byte(`{"url":"https://shop.example/","title":"Mugs","nested":{"a":[1,2]},"price":5}`)
	if n := testing.AllocsPerRun(100, func() {
		if id, products := Named(payload, noon); id != "" || products != nil {
			t.Fatal("named something")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
