package sink

import (
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type orderRows struct {
	rowset
	tenant, profile                     *uuidColumn
	order, status, currency, coupon     *textColumn
	itemProduct, itemName, itemCategory *textListColumn
	itemQuantity, itemPrice             *amountListColumn
	total, tax, shipping, discount      *amountColumn
	firstEvent, lastEvent, completedAt  *milliColumn
	version                             *uint64Column
}

func newOrderRows() *orderRows {
	r := &orderRows{rowset: rowset{table: tableOrders}}
	s := &r.rowset
	r.tenant, r.order = uuidOf(s, "tenant_id"), textOf(s, "order_id")
	r.profile, r.status = uuidOf(s, "profile_id"), textOf(s, "status")
	r.itemProduct, r.itemQuantity = textListOf(s, "items.product_id"), amountListOf(s, "items.quantity", false)
	r.itemPrice = amountListOf(s, "items.price", true)
	r.itemName, r.itemCategory = textListOf(s, "items.name"), textListOf(s, "items.category")
	r.total, r.currency = amountOf(s, "total"), textOf(s, "currency")
	r.tax, r.shipping = amountOf(s, "tax"), amountOf(s, "shipping")
	r.discount, r.coupon = amountOf(s, "discount"), textOf(s, "coupon")
	r.firstEvent, r.lastEvent = milliOf(s, "first_event"), milliOf(s, "last_event")
	r.completedAt, r.version = milliOf(s, "completed_at"), uint64Of(s, "version", "UInt64")
	return r
}

func (r *orderRows) add(tenant uuid.UUID, o *event.OrderState) {
	r.begin()
	r.tenant.add(tenant)
	r.order.add(o.OrderID)
	r.profile.add(o.ProfileID)
	r.status.add(o.Status)
	for i := range o.Items {
		item := &o.Items[i]
		r.itemProduct.item(item.ProductID)
		r.itemQuantity.itemText(item.Quantity)
		r.itemPrice.itemText(item.Price)
		r.itemName.item(item.Name)
		r.itemCategory.item(item.Category)
	}
	r.itemProduct.endRow()
	r.itemQuantity.endRow()
	r.itemPrice.endRow()
	r.itemName.endRow()
	r.itemCategory.endRow()
	r.total.addText(o.Total)
	r.currency.add(o.Currency)
	r.tax.addText(o.Tax)
	r.shipping.addText(o.Shipping)
	r.discount.addText(o.Discount)
	r.coupon.add(o.Coupon)
	r.firstEvent.add(schema.ColumnTime(o.FirstEvent))
	r.lastEvent.add(schema.ColumnTime(o.LastEvent))
	r.completedAt.add(schema.ColumnTime(o.CompletedAt))
	r.version.add(uint64(o.Version))
}

type productRows struct {
	rowset
	tenant                  *uuidColumn
	product, name, category *textColumn
	price                   *amountColumn
	skeleton                *byteColumn
	firstSeen               *milliColumn
	version                 *uint64Column
}

func newProductRows() *productRows {
	r := &productRows{rowset: rowset{table: tableProducts}}
	s := &r.rowset
	r.tenant, r.product = uuidOf(s, "tenant_id"), textOf(s, "product_id")
	r.name, r.price = textOf(s, "name"), amountOf(s, "price")
	r.category, r.skeleton = textOf(s, "category"), byteOf(s, "skeleton", "Bool")
	r.firstSeen, r.version = milliOf(s, "first_seen"), uint64Of(s, "version", "UInt64")
	return r
}

func (r *productRows) add(tenant uuid.UUID, p *event.ProductState) {
	r.begin()
	r.tenant.add(tenant)
	r.product.add(p.ProductID)
	r.name.add(p.Name)
	r.price.addText(p.Price)
	r.category.add(p.Category)
	r.skeleton.add(p.Skeleton)
	r.firstSeen.add(schema.ColumnTime(p.FirstSeen))
	r.version.add(uint64(p.Version))
}
