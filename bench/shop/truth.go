package shop

import "maps"

// Statuses of orders, as the specification names them (2.7).
const (
	StatusIncomplete = "incomplete"
	StatusCompleted  = "completed"
	StatusCancelled  = "cancelled"
	StatusRefunded   = "refunded"
)

// Truth is what must come of the events handed out so far, by the shop's own books: no code of
// Keystone has a part in it. It holds when every lane's events arrive in their order; the counts
// of messages, people, orders and products hold in any order.
type Truth struct {
	Deliveries int // all events, repeated and invalid ones included
	Invalid    int // to be refused
	Duplicates int // deliveries of a message id that came before
	Messages   int // distinct message ids of good events
	Identifies int // of Messages
	Tracks     int // of Messages
	Pages      int // of Messages

	Households    int
	People        int // named themselves: anchors
	Devices       int // sent something
	Shadows       int // devices on which nobody ever named themselves
	Collapses     int // devices that sent something before somebody named themselves there
	SharedDevices int // devices on which two people named themselves
	Emails        int // distinct, of People
	Phones        int // distinct, of People
	CRMIDs        int // distinct, of People

	Orders   map[string]int   // by status
	Revenue  map[string]int64 // of orders that stand completed, by currency, in hundredths
	Products int              // distinct products named
}

func (t Truth) clone() Truth {
	t.Orders, t.Revenue = maps.Clone(t.Orders), maps.Clone(t.Revenue)
	return t
}

// Figures are the outcomes that the end of the pipeline can be asked for, by name: messages, people
// (live anchors), shadows (live), collapses, products, orders.<status> and revenue.<currency> (of
// completed orders, in hundredths). Zeros are left out.
func (t Truth) Figures() map[string]int64 {
	f := map[string]int64{"messages": int64(t.Messages), "people": int64(t.People), "shadows": int64(t.Shadows),
		"collapses": int64(t.Collapses), "products": int64(t.Products)}
	for status, n := range t.Orders {
		f["orders."+status] = int64(n)
	}
	for currency, n := range t.Revenue {
		f["revenue."+currency] = n
	}
	maps.DeleteFunc(f, func(_ string, n int64) bool { return n == 0 })
	return f
}

// Delivered counts what was taken: distinct good messages and their repetitions.
func (t Truth) Delivered() int { return t.Messages + t.Duplicates }

func (s *Stream) move(o *order, status uint8) {
	names := [...]string{"", StatusIncomplete, StatusCompleted, StatusCancelled, StatusRefunded}
	if o.status != 0 {
		s.truth.Orders[names[o.status]]--
	}
	currency := countries[s.visitor.country].currency
	if o.status == orderCompleted {
		s.truth.Revenue[currency] -= o.total
	}
	if status == orderCompleted {
		s.truth.Revenue[currency] += o.total
	}
	s.truth.Orders[names[status]]++
	o.status = status
}

// seen books a device's event: named tells that it names a person.
func (s *Stream) seen(d *device, named bool) {
	if !d.used {
		d.used = true
		s.truth.Devices++
		if !named {
			d.shadow = true
			s.truth.Shadows++
		}
	}
	if named && d.shadow {
		d.shadow = false
		s.truth.Shadows--
		s.truth.Collapses++
	}
}

// names books that person p named themselves on device d.
func (s *Stream) names(p int, d *device) {
	h := s.visitor
	if !h.people[p].known {
		h.people[p].known = true
		s.truth.People++
	}
	if both := uint8(3); d.owners|1<<p == both && d.owners != both {
		s.truth.SharedDevices++
	}
	d.owners |= 1 << p
}

func (s *Stream) product(i uint16) {
	if !s.products[i] {
		s.products[i] = true
		s.truth.Products++
	}
}
