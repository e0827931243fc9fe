// Package order keeps orders and products as events tell of them (spec 2.7).
package order

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Input is what one event brings to an order.
type Input struct {
	Name    string // event_name
	Payload []byte
	At      time.Time // event time
	Profile uuid.UUID
}

// being written: signatures are final

func Touches(payload []byte) bool                                           { panic("being written") }
func ID(payload []byte) (string, bool)                                      { panic("being written") }
func Apply(o *event.OrderState, in Input) (changed bool)                    { panic("being written") }
func Products(payload []byte, at time.Time) []event.ProductState            { panic("being written") }
func Provision(p *event.ProductState, from event.ProductState) (changed bool) { panic("being written") }
