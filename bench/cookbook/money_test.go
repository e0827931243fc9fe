package cookbook_test

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/model"
)

// credit is one order's, or a share of it, to one touch.
type credit struct {
	order                    *model.Order
	at                       time.Time
	source, medium, campaign string
	weight                   float64
}

func (w *world) credits(tenant uuid.UUID, p span, rule string, lookback int, halfLife float64) (all []credit) {
	people := w.people(tenant)
	for _, o := range w.standing(tenant) {
		if o.CompletedAt.Before(p.since) || !o.CompletedAt.Before(p.until) {
			continue
		}
		var touches []*happening
		for _, h := range people[o.Profile] {
			campaign := h.source != "" || h.campaign != "" || h.network != ""
			if h.kind == "page" && campaign && !h.at.After(o.CompletedAt) && !h.at.Before(o.CompletedAt.AddDate(0, 0, -lookback)) {
				touches = append(touches, h)
			}
		}
		if len(touches) == 0 {
			all = append(all, credit{order: o, at: time.Unix(0, 0).UTC(), weight: 1})
			continue
		}
		weights, sum := make([]float64, len(touches)), 0.
		for i, h := range touches {
			switch {
			case rule == "first" && i == 0, rule == "last" && i == len(touches)-1, rule == "linear":
				weights[i] = 1
			case rule == "time_decay":
				weights[i] = math.Pow(0.5, o.CompletedAt.Sub(h.at).Hours()/24/halfLife)
			}
			sum += weights[i]
		}
		for i, h := range touches {
			all = append(all, credit{o, h.at, cmp.Or(h.source, h.network), h.medium, h.campaign, weights[i] / sum})
		}
	}
	return all
}

func (w *world) creditTable(tenant uuid.UUID, p span, rule string, lookback int, halfLife float64) (t table) {
	for _, c := range w.credits(tenant, p, rule, lookback, halfLife) {
		t.add(c.order.ID, c.order.Profile, clock(c.order.CompletedAt), c.order.Currency, money(rat(c.order.Total)),
			clock(c.at), c.source, c.medium, c.campaign, c.weight)
	}
	return t
}

func (w *world) attribution(tenant uuid.UUID, p span, rule string, lookback int, halfLife float64) (t table) {
	type key struct{ source, medium, campaign, currency string }
	orders, share, revenue := map[key]map[string]bool{}, map[key]float64{}, map[key]float64{}
	for _, c := range w.credits(tenant, p, rule, lookback, halfLife) {
		if c.weight == 0 {
			continue
		}
		k := key{c.source, c.medium, c.campaign, c.order.Currency}
		put(orders, k, c.order.ID)
		share[k] += c.weight
		total, _ := rat(c.order.Total).Float64()
		revenue[k] += c.weight * total
	}
	for k := range orders {
		t.add(k.source, k.medium, k.campaign, k.currency, len(orders[k]), share[k], revenue[k])
	}
	return t
}

func (w *world) revenueByCampaign(tenant uuid.UUID, p span) (t table) {
	type key struct {
		day                                time.Time
		source, medium, campaign, currency string
	}
	orders, who, revenue := map[key]int{}, map[key]map[uuid.UUID]bool{}, map[key]*big.Rat{}
	for _, c := range w.credits(tenant, p, "last", 30, 7) {
		if c.weight == 0 {
			continue
		}
		k := key{day(c.order.CompletedAt), c.source, c.medium, c.campaign, c.order.Currency}
		orders[k]++
		put(who, k, c.order.Profile)
		if revenue[k] == nil {
			revenue[k] = new(big.Rat)
		}
		revenue[k].Add(revenue[k], rat(c.order.Total))
	}
	for k := range orders {
		t.add(date(k.day), k.source, k.medium, k.campaign, k.currency, orders[k], len(who[k]), money(revenue[k]))
	}
	return t
}

func (w *world) abandonedCarts(tenant uuid.UUID, asOf time.Time, idle time.Duration) (t table) {
	for _, o := range w.model.Orders {
		if o.Tenant != tenant || o.Status != "incomplete" || !o.Last.Before(asOf.Add(-idle)) {
			continue
		}
		email, since := "", time.Time{}
		for _, i := range w.model.Identifiers {
			for _, s := range i.Spans {
				if i.Kind == "email" && s.Profile == o.Profile && (email == "" || s.From.After(since) || s.From.Equal(since) && i.Value > email) {
					email, since = i.Value, s.From
				}
			}
		}
		products, pieces, worth := []string{}, new(big.Rat), new(big.Rat)
		for _, x := range o.Items {
			products = append(products, x.Product)
			pieces.Add(pieces, rat(x.Quantity))
			worth.Add(worth, new(big.Rat).Mul(rat(x.Quantity), rat(x.Price)))
		}
		t.add(o.ID, o.Profile, email, clock(o.Last), minutes(o.Last, asOf), products, money(pieces), money(worth), o.Currency)
	}
	return t
}

// minutes counts the minutes that began between two times.
func minutes(from, to time.Time) int64 { return to.Unix()/60 - from.Unix()/60 }

func (w *world) productPerformance(tenant uuid.UUID, p span) (t table) {
	type tally struct {
		views, additions       int
		viewers, adders, buyer map[uuid.UUID]bool
		orders                 map[string]bool
		pieces                 *big.Rat
		sales                  map[string]*big.Rat
	}
	all := map[string]*tally{}
	of := func(product string) *tally {
		if all[product] == nil {
			all[product] = &tally{0, 0, map[uuid.UUID]bool{}, map[uuid.UUID]bool{}, map[uuid.UUID]bool{}, map[string]bool{}, new(big.Rat), map[string]*big.Rat{}}
		}
		return all[product]
	}
	for _, h := range w.all(tenant, func(h *happening) bool { return !h.bot && h.in(p) }) {
		for _, product := range h.products {
			switch h.plain {
			case "product viewed":
				of(product).views++
				of(product).viewers[h.person] = true
			case "product added", "added to cart":
				of(product).additions++
				of(product).adders[h.person] = true
			}
		}
	}
	for _, o := range w.standing(tenant) {
		if o.CompletedAt.Before(p.since) || !o.CompletedAt.Before(p.until) {
			continue
		}
		for _, x := range o.Items {
			n := of(x.Product)
			n.orders[o.ID], n.buyer[o.Profile] = true, true
			n.pieces.Add(n.pieces, rat(x.Quantity))
			if n.sales[o.Currency] == nil {
				n.sales[o.Currency] = new(big.Rat)
			}
			n.sales[o.Currency].Add(n.sales[o.Currency], new(big.Rat).Mul(rat(x.Quantity), rat(x.Price)))
		}
	}
	for product, n := range all {
		known := w.model.Products[model.OrderKey{Tenant: tenant, ID: product}]
		var sales []string
		for _, currency := range slices.Sorted(maps.Keys(n.sales)) {
			sales = append(sales, currency+":"+money(n.sales[currency]))
		}
		t.add(product, known.Name, known.Category, n.views, len(n.viewers), n.additions, len(n.adders), len(n.orders), len(n.buyer),
			money(n.pieces), fmt.Sprintf("[%s]", strings.Join(sales, " ")))
	}
	return t
}
