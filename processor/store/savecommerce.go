package store

import (
	"github.com/keystone-cdp/keystone/processor/apply"
)

func (w *saver) orders(rows []apply.Order) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	tenant, key, profile := make(uuids, n), make(uuids, n), make(uuids, n)
	id, status, items, total, currency := make(texts, n), make(texts, n), make(texts, n), make(texts, n), make(texts, n)
	tax, shipping, discount, coupon := make(texts, n), make(texts, n), make(texts, n), make(texts, n)
	first, last, completed, version, revision := make(times, n), make(times, n), make(times, n), make(ints, n), make(ints, n)
	for i, o := range rows {
		tenant[i], key[i], profile[i] = uuidElement(o.Tenant), uuidElement(keyOf(o.OrderID)), uuidElement(o.ProfileID)
		id[i], status[i], total[i], currency[i] = w.text(o.OrderID), w.text(o.Status), w.text(o.Total), w.text(o.Currency)
		tax[i], shipping[i], discount[i], coupon[i] = w.text(o.Tax), w.text(o.Shipping), w.text(o.Discount), w.text(o.Coupon)
		first[i], last[i], completed[i] = timeElement(o.FirstEvent), timeElement(o.LastEvent), timeElement(o.CompletedAt)
		version[i], revision[i] = intElement(o.Version), intElement(w.rows.orderRevisions[apply.OrderKey{Tenant: o.Tenant, ID: o.OrderID}]+1)
		var err error
		if items[i], err = w.json(o.Items); err != nil {
			return err
		}
	}
	w.batch.Queue(orderSave, tenant, key, id, profile, status, items, total, currency, tax, shipping, discount, coupon,
		first, last, completed, version, revision).Exec(wrote(n))
	return nil
}

func (w *saver) products(rows []apply.Product) {
	n := len(rows)
	if n == 0 {
		return
	}
	tenant, key, id := make(uuids, n), make(uuids, n), make(texts, n)
	name, price, category, skeleton := make(texts, n), make(texts, n), make(texts, n), make(bools, n)
	first, version, revision := make(times, n), make(ints, n), make(ints, n)
	for i, p := range rows {
		tenant[i], key[i], id[i] = uuidElement(p.Tenant), uuidElement(keyOf(p.ProductID)), w.text(p.ProductID)
		name[i], price[i], category[i], skeleton[i] = w.text(p.Name), w.text(p.Price), w.text(p.Category), boolElement(p.Skeleton)
		first[i], version[i] = timeElement(p.FirstSeen), intElement(p.Version)
		revision[i] = intElement(w.rows.productRevisions[apply.ProductKey{Tenant: p.Tenant, ID: p.ProductID}] + 1)
	}
	w.batch.Queue(productSave, tenant, key, id, name, price, category, skeleton, first, version, revision).Exec(wrote(n))
}
