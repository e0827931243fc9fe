package shop

import (
	"errors"
	"fmt"
	"time"
)

// Config says what the stream is made of.
type Config struct {
	Seed uint64
	// Events ends the stream after so many deliveries, repeated and invalid ones included; Users
	// after so many households have lived through all their visits. Zero is no limit; at least one
	// of them is needed.
	Events int
	Users  int
	// Start is the time of the first event. The households arrive over Span; with Events alone, the
	// last event falls within it.
	Start time.Time
	Span  time.Duration
	Mix   Mix
	// Invalid is the share of deliveries that the edge must refuse. Each of them is a JSON object, so
	// that it spoils no batch.
	Invalid float64
	// Undated leaves timestamps out, so that the time of arrival is taken: for load, where history
	// would be a lie.
	Undated bool
}

// Bounds of one stream: people's phone numbers have eight digits of their own.
const (
	MaxUsers  = 40_000_000
	MaxEvents = 400_000_000
)

// DefaultConfig is ten thousand events of the default mix over thirty days.
func DefaultConfig() Config {
	return Config{Seed: 1, Events: 10_000, Start: DefaultStart, Span: 30 * 24 * time.Hour, Mix: DefaultMix()}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.Events < 0 || c.Users < 0 || c.Events+c.Users == 0 {
		errs = append(errs, errors.New("events or users must be given, and neither may be negative"))
	}
	if c.Users > MaxUsers {
		errs = append(errs, fmt.Errorf("users must be at most %d", MaxUsers))
	}
	if c.Events > MaxEvents {
		errs = append(errs, fmt.Errorf("events must be at most %d", MaxEvents))
	}
	if c.Start.UnixMilli() < 0 {
		errs = append(errs, errors.New("start must not be before 1970"))
	}
	if c.Span < time.Minute {
		errs = append(errs, errors.New("span must be at least a minute"))
	}
	return errors.Join(append(errs, c.Mix.validate(c.Invalid)...)...)
}

// Mix is how visitors behave: shares and probabilities, 0 to 1.
type Mix struct {
	Name       string
	Bot        float64 // of households: a crawler
	Customer   float64 // of people: has an account, or opens one
	Login      float64 // of a customer's visits on a device where nobody is logged in
	Newsletter float64 // of customers: gives the email address for a newsletter before anything else
	Shared     float64 // of households: two people use one device, each with an account
	Product    float64 // of steps while browsing: looks at a product
	Cart       float64 // of products looked at: goes into the cart
	Checkout   float64 // of carts looked at: goes to the checkout
	Complete   float64 // of checkouts: ends as an order
	Cancel     float64 // of orders: cancelled later
	Refund     float64 // of orders: refunded later
	Update     float64 // of a logged-in customer's steps: an identify with changed traits
	Late       float64 // of visits: the device was offline, its events come hours to weeks late
	Duplicate  float64 // of deliveries: comes again later
	// EventsPerUser is about how many events a household makes in its life. It sets the pace of
	// arrivals where only Config.Events is given.
	EventsPerUser float64
}

// DefaultMix is a shop's ordinary day.
func DefaultMix() Mix {
	return Mix{Name: "default", Bot: 0.05, Customer: 0.45, Login: 0.5, Newsletter: 0.1, Shared: 0.04,
		Product: 0.4, Cart: 0.3, Checkout: 0.5, Complete: 0.75, Cancel: 0.07, Refund: 0.06,
		Update: 0.01, Late: 0.02, Duplicate: 0.01, EventsPerUser: 20}
}

// AnonymousMix is what most traffic is: 95 of 100 events are page views without a name.
func AnonymousMix() Mix {
	return Mix{Name: "anonymous", Bot: 0.15, Customer: 0.04, Login: 0.5, Shared: 0.01,
		Product: 0.02, Cart: 0.3, Checkout: 0.5, Complete: 0.75,
		Late: 0.01, Duplicate: 0.005, EventsPerUser: 12}
}

// IdentifyStormMix is a site that identifies on every page: mostly the same traits, some changed.
func IdentifyStormMix() Mix {
	return Mix{Name: "identify_storm", Customer: 1, Login: 1, Shared: 0.1,
		Product: 0.1, Cart: 0.1, Checkout: 0.3, Complete: 0.5,
		Update: 0.7, Late: 0.02, Duplicate: 0.02, EventsPerUser: 32}
}

// MixByName is one of the mixes above: default, anonymous, identify_storm.
func MixByName(name string) (Mix, error) {
	for _, m := range [...]Mix{DefaultMix(), AnonymousMix(), IdentifyStormMix()} {
		if m.Name == name {
			return m, nil
		}
	}
	return Mix{}, fmt.Errorf("find mix %q: there are default, anonymous and identify_storm", name)
}

func (m Mix) validate(invalid float64) []error {
	var errs []error
	for _, p := range [...]struct {
		name  string
		value float64
	}{
		{"bot", m.Bot}, {"customer", m.Customer}, {"login", m.Login}, {"newsletter", m.Newsletter},
		{"shared", m.Shared}, {"product", m.Product}, {"cart", m.Cart}, {"checkout", m.Checkout},
		{"complete", m.Complete}, {"cancel", m.Cancel}, {"refund", m.Refund}, {"cancel+refund", m.Cancel + m.Refund},
		{"update", m.Update}, {"late", m.Late}, {"duplicate", m.Duplicate}, {"invalid", invalid},
	} {
		if !(p.value >= 0 && p.value <= 1) { // also refuses NaN
			errs = append(errs, fmt.Errorf("%s must be from 0 to 1, not %g", p.name, p.value))
		}
	}
	if !(m.EventsPerUser >= 1) {
		errs = append(errs, fmt.Errorf("events_per_user must be at least 1, not %g", m.EventsPerUser))
	}
	return errs
}
