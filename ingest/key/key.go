// Package key answers the edge's first question: whose request is this? It takes the API key out of
// a request, looks it up by its SHA-256 in a cache over the control plane's store, and holds what
// the key allows: its tenant, scope, origins and rate.
//
// It is not the store of keys (that is internal/control, seen through Source) and decides no HTTP
// status. The cache's workers run between Start and Stop.
package key

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Scope is what a key may do.
type Scope uint8

// The scopes (spec 1.4). A tracker key is public by nature: it may only ingest single events and SDK
// batches. An integration key is secret: it may also send batches and read their progress.
const (
	Tracker Scope = iota
	Integration
)

func (s Scope) String() string {
	if s == Integration {
		return "integration"
	}
	return "tracker"
}

// Prefixes of the keys' text.
const (
	PrefixTracker     = "ks_trk_"
	PrefixIntegration = "ks_int_"
)

// MaxBytes bounds a key's text; what is longer is an unknown key.
const MaxBytes = 256

// Key is what the store knows about one API key. The key itself is in no store.
type Key struct {
	KeyID         string
	Tenant        uuid.UUID
	Scope         Scope
	Origins       []string // of a tracker key; empty: any
	RatePerSecond float64  // events; 0: unlimited
	Burst         int      // events that may come at once; 0: one second's worth
	Settings      event.Settings
}

// Source is the store of keys.
type Source interface {
	// LookupKey finds the key whose text has this SHA-256. ErrUnknownKey (also wrapped): there is
	// none, or it is revoked. Any other error: the store could not say.
	LookupKey(ctx context.Context, hash [32]byte) (Key, error)
}

// ErrUnknownKey says that no valid key has this text.
var ErrUnknownKey = errors.New("unknown key")

// ErrUnavailable says that the store could not be asked, and the cache does not know the key either.
var ErrUnavailable = errors.New("look up key: the store does not answer")
