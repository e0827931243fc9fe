package order

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/internal/event"
)

var (
	eventNames = []string{"Cart Updated", "added to cart", "product_removed", "Order Completed", "Order Cancelled", "order-refunded", "Order Updated", ""}
	amounts    = []string{`1`, `1.0`, `"2"`, `2.50`, `"25e-1"`, `0`, `-1`, `1e30`, `"junk"`, `null`}
)

func drawLine(t *rapid.T) string {
	members := []string{fmt.Sprintf(`"%s":%s`, rapid.SampledFrom([]string{"product_id", "sku", "id", "none"}).Draw(t, "id kind"),
		rapid.SampledFrom([]string{`"A"`, `" A "`, `"B"`, `7`, `""`, `null`}).Draw(t, "id"))}
	for _, name := range []string{"quantity", "price"} {
		if rapid.Bool().Draw(t, "with "+name) {
			members = append(members, fmt.Sprintf("%q:%s", name, rapid.SampledFrom(amounts).Draw(t, name)))
		}
	}
	if rapid.Bool().Draw(t, "with name") {
		members = append(members, `"name":`+rapid.SampledFrom([]string{`"n"`, `"m"`, `""`}).Draw(t, "name"))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func drawInput(t *rapid.T) Input {
	members := []string{`"order_id":"1"`}
	if rapid.Bool().Draw(t, "single") {
		members = append(members, strings.Trim(drawLine(t), "{}"))
	}
	if rapid.Bool().Draw(t, "list") {
		var lines []string
		for range rapid.IntRange(0, 3).Draw(t, "lines") {
			lines = append(lines, drawLine(t))
		}
		members = append(members, fmt.Sprintf("%q:[%s]", rapid.SampledFrom([]string{"products", "line_items", "items"}).Draw(t, "list name"), strings.Join(lines, ",")))
	}
	for _, name := range []string{"total", "revenue", "value", "tax", "currency"} {
		if rapid.IntRange(0, 3).Draw(t, "with "+name) == 0 {
			members = append(members, fmt.Sprintf("%q:%s", name, rapid.SampledFrom(amounts).Draw(t, name)))
		}
	}
	return Input{
		Name: rapid.SampledFrom(eventNames).Draw(t, "event"), Payload: []byte("{" + strings.Join(members, ",") + "}"),
		At:      noon.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "minute")) * time.Minute),
		Profile: rapid.SampledFrom([]uuid.UUID{ann, bob}).Draw(t, "profile"),
	}
}

var plainText = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$`)

func TestOrdersKeepTheirRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := event.OrderState{OrderID: "1"}
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			before, lines := o, slices.Clone(o.Items)
			in := drawInput(t)
			changed := Apply(&o, in)
			c := classify(in.Name)

			if !slices.Equal(before.Items, lines) {
				t.Fatal("the state before was written to")
			}
			if changed != (o.Version == before.Version+1) || !changed && !reflect.DeepEqual(o, before) {
				t.Fatalf("changed: %v, from %+v to %+v", changed, before, o)
			}
			if rank(o.Status) < rank(before.Status) {
				t.Fatalf("%s went back to %s", before.Status, o.Status)
			}
			guarded := c == cancelled || c == refunded || rank(before.Status) > 0 && (c == cart || c == added || c == removed)
			if before.Version > 0 && guarded && (!slices.Equal(o.Items, before.Items) || o.Total != before.Total || o.Tax != before.Tax || o.Currency != before.Currency) {
				t.Fatalf("%s touched a %s order: %+v became %+v", in.Name, before.Status, before, o)
			}
			if o.ProfileID != in.Profile || in.At.Before(o.FirstEvent) || in.At.After(o.LastEvent) {
				t.Fatalf("%+v after %+v", o, in)
			}
			for _, text := range append([]string{o.Total, o.Tax}, texts(o.Items)...) {
				if text != "" && !plainText.MatchString(text) {
					t.Fatalf("%q is no plain decimal", text)
				}
			}
			// Once more: only single products count again, by their nature.
			if c != added && c != removed && Apply(&o, in) {
				t.Fatalf("%s %s changed the order again", in.Name, in.Payload)
			}
		}
	})
}

func texts(items []event.OrderItem) (all []string) {
	for _, i := range items {
		all = append(all, i.Quantity, i.Price)
	}
	return all
}

func TestProductsAreNamedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		_, products := Named(in.Payload, in.At)
		var o event.OrderState
		Apply(&o, in)
		seen := map[string]bool{}
		for _, p := range products {
			if seen[p.ProductID] || p.ProductID == "" || !p.Skeleton || p.Version != 1 || p.FirstSeen != in.At {
				t.Fatalf("%s: %+v", in.Payload, products)
			}
			seen[p.ProductID] = true
		}
		for _, i := range o.Items {
			if !seen[i.ProductID] {
				t.Fatalf("%s: line %+v without a product", in.Payload, i)
			}
		}
	})
}

func TestDecimalsAgreeWithRationals(t *testing.T) {
	limit, _ := new(big.Rat).SetString("1e20")
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.StringMatching(`-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		value, ok := new(big.Rat).SetString(raw)
		if !ok {
			t.Skip("no rational")
		}
		scaled := new(big.Rat).Mul(value, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(MaxFractionDigits), nil)))
		fits := scaled.IsInt() && new(big.Rat).Abs(value).Cmp(limit) < 0
		quoted, _ := json.Marshal(" " + raw + " ")
		for _, text := range []string{decimal([]byte(raw)), decimal(quoted)} {
			if fits != (text != "") {
				t.Fatalf("%s: got %q, fits %v", raw, text, fits)
			}
			if !fits {
				continue
			}
			if got, ok := new(big.Rat).SetString(text); !ok || got.Cmp(value) != 0 || !plainText.MatchString(text) {
				t.Fatalf("%s became %q", raw, text)
			}
		}
	})
}

func TestSumsAreExact(t *testing.T) {
	text := rapid.StringMatching(`(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		sum, ok := add(a, b)
		difference, ok2 := subtract(a, b)
		gotSum, _ := new(big.Rat).SetString(sum)
		gotDifference, _ := new(big.Rat).SetString(difference)
		if !ok || !ok2 || gotSum.Cmp(new(big.Rat).Add(x, y)) != 0 || gotDifference.Cmp(new(big.Rat).Sub(x, y)) != 0 {
			t.Fatalf("%s, %s: sum %s, difference %s", a, b, sum, difference)
		}
		if sameDecimal(a, b) != (x.Cmp(y) == 0) || positive(difference) != (x.Cmp(y) > 0) {
			t.Fatalf("%s, %s: compared wrong", a, b)
		}
	})
}

func FuzzApply(f *testing.F) {
	f.Add("Order Completed", []byte(`{"order_id":1,"products":[{"id":"A","price":"1e2"}],"total":1e999}`), []byte(`{"product_id":"A","quantity":"0.5"}`))
	f.Add("added_to_cart", []byte(`{"product_id":"\ud800\u0000"}`), []byte(`{`))
	f.Fuzz(func(t *testing.T, name string, first, second []byte) {
		o := event.OrderState{OrderID: "1"}
		for _, in := range []Input{{Name: name, Payload: first, At: noon}, {Name: "product removed", Payload: second, At: noon}, {Name: name, Payload: second, At: noon}} {
			Apply(&o, in)
			_, products := Named(in.Payload, in.At)
			for _, p := range products {
				if p.ProductID == "" || len(p.ProductID) > MaxIDBytes {
					t.Fatalf("product %q", p.ProductID)
				}
			}
		}
		text, err := json.Marshal(o)
		if err != nil || strings.Contains(string(text), `\u0000`) && !strings.Contains(string(text), `\\u0000`) {
			t.Fatalf("state %s: %v", text, err)
		}
		for _, text := range append(texts(o.Items), o.Total, o.Tax, o.Shipping, o.Discount) {
			if text != "" && !plainText.MatchString(text) {
				t.Fatalf("%q is no plain decimal", text)
			}
		}
	})
}
