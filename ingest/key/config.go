package key

import (
	"errors"
	"time"
)

// Config of the cache. A revoked key is refused at the latest ExpireAfter + LookupTimeout after its
// revocation: Validate keeps that within the ten seconds the specification promises (1.4).
type Config struct {
	RefreshAfter  time.Duration // a known key in use is asked about again after this, in the background
	ExpireAfter   time.Duration // and is not served without asking after this
	UnknownFor    time.Duration // an unknown key is refused without asking for this long
	LookupTimeout time.Duration // of one question to the store
	RetryAfter    time.Duration // known keys are served unasked for this long after the store failed
	MaxKnown      int           // keys remembered
	MaxUnknown    int           // unknown keys remembered
	MaxLookups    int           // questions a request waits for at the same time; more are refused
	Workers       int           // background questions at the same time
}

// DefaultConfig fits any number of tenants up to a hundred thousand keys.
func DefaultConfig() Config {
	return Config{
		RefreshAfter:  4 * time.Second,
		ExpireAfter:   8 * time.Second,
		UnknownFor:    5 * time.Second,
		LookupTimeout: time.Second,
		RetryAfter:    2 * time.Second,
		MaxKnown:      100_000,
		MaxUnknown:    100_000,
		MaxLookups:    64,
		Workers:       4,
	}
}

// revocationBound is the promise of spec 1.4.
const revocationBound = 10 * time.Second

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.RefreshAfter <= 0 || c.ExpireAfter < c.RefreshAfter {
		errs = append(errs, errors.New("key: refresh_after must be positive and at most expire_after"))
	}
	if c.LookupTimeout <= 0 || c.RetryAfter <= 0 || c.UnknownFor <= 0 {
		errs = append(errs, errors.New("key: lookup_timeout, retry_after and unknown_for must be positive"))
	}
	if c.ExpireAfter+c.LookupTimeout > revocationBound {
		errs = append(errs, errors.New("key: expire_after + lookup_timeout must be at most 10 s, or revocation takes longer"))
	}
	if c.MaxKnown < 1 || c.MaxUnknown < 1 || c.MaxLookups < 1 || c.Workers < 1 {
		errs = append(errs, errors.New("key: max_known, max_unknown, max_lookups and workers must be at least 1"))
	}
	return errors.Join(errs...)
}
