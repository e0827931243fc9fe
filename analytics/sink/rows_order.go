package sink

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type orderRows struct {
	rowset
	tenant, profile                     *values[uuid.UUID]
	order, status, currency, coupon     *values[string]
	itemProduct, itemName, itemCategory *stringList
	itemQuantity, itemPrice             *amountList
	total, tax, shipping, discount      *amounts
	firstEvent, lastEvent, completedAt  *values[time.Time]
	version                             *values[uint64]
}

func newOrderRows() *orderRows {
	r := &orderRows{rowset: rowset{table: tableOrders}}
	s := &r.rowset
	r.tenant, r.order = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[string](s, "order_id")
	r.profile, r.status = valuesOf[uuid.UUID](s, "profile_id"), valuesOf[string](s, "status")
	r.itemProduct, r.itemQuantity = stringListOf(s, "items.product_id"), amountListOf(s, "items.quantity", false)
	r.itemPrice = amountListOf(s, "items.price", true)
	r.itemName, r.itemCategory = stringListOf(s, "items.name"), stringListOf(s, "items.category")
	r.total, r.currency = nullableAmountsOf(s, "total"), valuesOf[string](s, "currency")
	r.tax, r.shipping = nullableAmountsOf(s, "tax"), nullableAmountsOf(s, "shipping")
	r.discount, r.coupon = nullableAmountsOf(s, "discount"), valuesOf[string](s, "coupon")
	r.firstEvent, r.lastEvent = valuesOf[time.Time](s, "first_event"), valuesOf[time.Time](s, "last_event")
	r.completedAt, r.version = valuesOf[time.Time](s, "completed_at"), valuesOf[uint64](s, "version")
	return r
}

func (r *orderRows) add(tenant uuid.UUID, o *event.OrderState) {
	r.rows++
	r.tenant.add(tenant)
	r.order.add(o.OrderID)
	r.profile.add(o.ProfileID)
	r.status.add(o.Status)
	for i := range o.Items {
		item := &o.Items[i]
		r.itemProduct.item(item.ProductID)
		r.itemQuantity.addText(item.Quantity)
		r.itemPrice.addText(item.Price)
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
	tenant                  *values[uuid.UUID]
	product, name, category *values[string]
	price                   *amounts
	skeleton                *values[bool]
	firstSeen               *values[time.Time]
	version                 *values[uint64]
}

func newProductRows() *productRows {
	r := &productRows{rowset: rowset{table: tableProducts}}
	s := &r.rowset
	r.tenant, r.product = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[string](s, "product_id")
	r.name, r.price = valuesOf[string](s, "name"), nullableAmountsOf(s, "price")
	r.category, r.skeleton = valuesOf[string](s, "category"), valuesOf[bool](s, "skeleton")
	r.firstSeen, r.version = valuesOf[time.Time](s, "first_seen"), valuesOf[uint64](s, "version")
	return r
}

func (r *productRows) add(tenant uuid.UUID, p *event.ProductState) {
	r.rows++
	r.tenant.add(tenant)
	r.product.add(p.ProductID)
	r.name.add(p.Name)
	r.price.addText(p.Price)
	r.category.add(p.Category)
	r.skeleton.add(p.Skeleton)
	r.firstSeen.add(schema.ColumnTime(p.FirstSeen))
	r.version.add(uint64(p.Version))
}
