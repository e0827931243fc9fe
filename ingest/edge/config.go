package edge

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Config of the edge's HTTP side. Every queue, body and wait has its limit here.
type Config struct {
	Listen      string // address; port 0 takes a free one
	ReusePort   bool   // SO_REUSEPORT: a new process may listen before the old one has stopped
	PublicURL   string // where browsers reach the edge, if not by the Host they name: "https://cdp.example"
	RenewCookie bool   // set the tracker's cookie again, for pages of the edge's own site
	// TrustedProxies may say in X-Forwarded-For whom they speak for.
	TrustedProxies []netip.Prefix
	// ProxyProtocol are the networks whose connections begin with a PROXY header, version 1 or 2.
	ProxyProtocol []netip.Prefix

	TLSCert, TLSKey string        // files; empty: no TLS
	TLSPoll         time.Duration // how often they are looked at for a change

	Limits      event.Limits
	BatchBytes  int   // a batch's body, after decompression
	BatchEvents int   // events in a batch
	BodyMemory  int64 // bytes of all bodies beyond 64 KiB together

	HeaderBytes   int // request line and headers
	MaxConns      int
	MaxConnsPerIP int // 0: no limit of its own

	ReadTimeout  time.Duration // from the first byte of a request to the last; then 408
	BatchTimeout time.Duration // the same for bodies beyond 256 KiB
	WriteTimeout time.Duration
	IdleTimeout  time.Duration // between requests; longer than a load balancer's
	BodyWait     time.Duration // for memory, when large bodies have taken all of it; then 503
	// BulkWithin is how long a batch may go on handing events over; what is left then is rejected as
	// unavailable, so that the answer comes in time.
	BulkWithin time.Duration
	RetryAfter time.Duration // told to clients with a 503
	// DrainDelay is how long the edge still accepts connections after it has stopped being ready, for
	// load balancers to notice.
	DrainDelay time.Duration
}

// DefaultConfig is for a machine of its own; the numbers of the specification (1.2).
func DefaultConfig() Config {
	return Config{
		Listen:         "127.0.0.1:8080",
		Limits:         event.DefaultLimits(),
		BatchBytes:     32 << 20,
		BatchEvents:    100_000,
		BodyMemory:     256 << 20,
		HeaderBytes:    16 << 10,
		MaxConns:       16_384,
		ReadTimeout:    10 * time.Second,
		BatchTimeout:   time.Minute,
		WriteTimeout:   10 * time.Second,
		IdleTimeout:    75 * time.Second,
		BodyWait:       time.Second,
		BulkWithin:     2 * time.Second,
		RetryAfter:     5 * time.Second,
		TrustedProxies: []netip.Prefix{},
		ProxyProtocol:  []netip.Prefix{},
		TLSPoll:        10 * time.Second,
	}
}

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	rule := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("edge: "+format, args...))
		}
	}
	rule(c.Listen != "", "listen is missing")
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		rule(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "",
			"public_url must be like https://cdp.example")
	}
	rule((c.TLSCert == "") == (c.TLSKey == ""), "tls_cert and tls_key go together")
	rule(c.TLSPoll > 0, "tls_poll must be positive")
	rule(len(c.ProxyProtocol) == 0 || c.MaxConnsPerIP == 0,
		"max_conns_per_ip and proxy_protocol exclude each other: who connects is known only once the header is read")
	l := c.Limits
	rule(l.EventBytes >= 1<<10 && l.EventBytes <= 960<<10, "limits.event_bytes must be between 1 KiB and 960 KiB, or a record does not fit the broker's message")
	rule(l.Depth >= 4 && l.Depth <= 1000, "limits.depth must be between 4 and 1000")
	rule(l.MessageIDBytes >= 36 && l.IdentityBytes >= 36 && l.NameBytes >= 1, "limits of message_id and identity must be at least 36 bytes, of names at least 1")
	rule(c.BatchBytes >= l.EventBytes, "batch_bytes must be at least limits.event_bytes")
	rule(c.BatchEvents >= 1, "batch_events must be at least 1")
	rule(c.BodyMemory >= 3*int64(c.BatchBytes), "body_memory must be at least 3 * batch_bytes, or one compressed batch may not fit")
	rule(c.HeaderBytes >= 4<<10, "header_bytes must be at least 4 KiB")
	rule(c.MaxConns >= 1 && c.MaxConnsPerIP >= 0, "max_conns must be at least 1 and max_conns_per_ip not negative")
	rule(c.ReadTimeout > 0 && c.BatchTimeout >= c.ReadTimeout && c.WriteTimeout > 0 && c.IdleTimeout > 0,
		"timeouts must be positive, and batch_timeout at least read_timeout")
	rule(c.BodyWait > 0 && c.BulkWithin > 0 && c.RetryAfter >= time.Second && c.DrainDelay >= 0,
		"body_wait and bulk_within must be positive, retry_after at least 1 s, drain_delay not negative")
	return errors.Join(errs...)
}
