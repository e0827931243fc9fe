package control

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	keyCreate = sql.Statement("key_create")
	keyList   = sql.Statement("key_list")
	keySet    = sql.Statement("key_set")
	keyRevoke = sql.Statement("key_revoke")
	keyLookup = sql.Statement("key_lookup")
	keyDelete = sql.Statement("key_delete")
)

// Scope is what a key may do.
type Scope string

// The scopes (spec 1.4).
const (
	Tracker     Scope = "tracker"     // public by nature: ingest of single events only
	Integration Scope = "integration" // secret: ingest, batch, reads
)

// Limits of a key's attributes.
const (
	MaxOrigins  = 100
	maxOrigin   = 253 + len("https://:65535") // bytes
	maxLabel    = 200                         // bytes
	maxRate     = 1e6                         // events per second
	secretBytes = 20                          // 160 random bits
	idBytes     = 5
)

// Key is what a look-up of a secret's hash gives: all that the edge must know about a request.
type Key struct {
	KeyID    string // public; for logs and headers
	Tenant   uuid.UUID
	Scope    Scope
	Origins  []string // allowed origins; none: any
	Rate     float64  // events per second; 0: the edge's default
	Burst    int      // 0: the edge's default
	Settings event.Settings
}

// KeyInfo is a key as operators see it. The secret is not known any more.
type KeyInfo struct {
	KeyID     string     `json:"key_id"`
	Tenant    uuid.UUID  `json:"tenant_id"`
	Scope     Scope      `json:"scope"`
	Label     string     `json:"label"`
	Origins   []string   `json:"origins"`
	Rate      float64    `json:"rate_per_second,omitempty"`
	Burst     int        `json:"burst,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// KeySpec is what a new key is to be.
type KeySpec struct {
	Tenant  uuid.UUID
	Scope   Scope
	Label   string   // for people, at most 200 bytes
	Origins []string // "https://shop.example", "http://localhost:8080"; tracker keys only
	Rate    float64  // events per second; 0: the edge's default
	Burst   int      // 0: the edge's default
}

// Validate lists every broken rule at once.
func (s *KeySpec) Validate() error {
	var errs []error
	if s.Scope != Tracker && s.Scope != Integration {
		errs = append(errs, fmt.Errorf("scope must be %s or %s", Tracker, Integration))
	}
	if len(s.Label) > maxLabel {
		errs = append(errs, fmt.Errorf("label has %d bytes, the limit is %d", len(s.Label), maxLabel))
	}
	if len(s.Origins) > MaxOrigins {
		errs = append(errs, fmt.Errorf("there are %d origins, the limit is %d", len(s.Origins), MaxOrigins))
	}
	if len(s.Origins) > 0 && s.Scope != Tracker {
		errs = append(errs, errors.New("origins are for tracker keys: servers send none"))
	}
	for _, o := range s.Origins {
		if !isOrigin(o) {
			errs = append(errs, fmt.Errorf("origin %q must be a scheme and a host in lower case, like https://shop.example", o))
		}
	}
	if s.Rate < 0 || s.Rate > maxRate || math.IsNaN(s.Rate) {
		errs = append(errs, fmt.Errorf("rate must be from 0 to %v events per second", float64(maxRate)))
	}
	if s.Burst < 0 || s.Burst > maxRate {
		errs = append(errs, fmt.Errorf("burst must be from 0 to %v events", float64(maxRate)))
	}
	return errors.Join(errs...)
}

// isOrigin tells what browsers put into the Origin header.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxOrigin && s == strings.ToLower(s) && u.Scheme != "" && u.Host != "" &&
		s == u.Scheme+"://"+u.Host
}

var secretText = base32.StdEncoding.WithPadding(base32.NoPadding)

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return strings.ToLower(secretText.EncodeToString(b))
}

// Hash is what the store knows of a secret.
func Hash(secret []byte) [sha256.Size]byte { return sha256.Sum256(secret) }

// CreateKey makes a key and returns its secret, ks_trk_… or ks_int_…, which nobody can find out
// again: the store has a SHA-256 of it only.
func (p *Plane) CreateKey(ctx context.Context, spec KeySpec) (secret string, info KeyInfo, err error) {
	if err := spec.Validate(); err != nil {
		return "", KeyInfo{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := p.Tenant(ctx, spec.Tenant.String()); err != nil {
		return "", KeyInfo{}, fmt.Errorf("create key: %w", err)
	}
	prefix := "ks_int_"
	if spec.Scope == Tracker {
		prefix = "ks_trk_"
	}
	secret = prefix + random(secretBytes)
	info = KeyInfo{KeyID: "key_" + random(idBytes), Tenant: spec.Tenant, Scope: spec.Scope, Label: sql.Text(spec.Label),
		Origins: append([]string{}, spec.Origins...), Rate: spec.Rate, Burst: spec.Burst,
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	hash := Hash([]byte(secret))
	_, err = p.exec(ctx, keyCreate, hash[:], info.KeyID, info.Tenant, string(info.Scope), info.Label, info.Origins,
		info.Rate, int32(info.Burst), info.CreatedAt)
	if err != nil {
		return "", KeyInfo{}, fmt.Errorf("create key: %w", err)
	}
	return secret, info, nil
}

// ListKeys are a tenant's keys, revoked ones too, oldest first.
func (p *Plane) ListKeys(ctx context.Context, tenant uuid.UUID) ([]KeyInfo, error) {
	keys, err := query(ctx, p, func(r pgx.CollectableRow) (k KeyInfo, err error) {
		err = r.Scan(&k.KeyID, &k.Tenant, &k.Scope, &k.Label, &k.Origins, &k.Rate, &k.Burst, &k.CreatedAt, &k.RevokedAt)
		return k, err
	}, keyList, tenant)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

// KeyChange is what of a key is to be otherwise; nil leaves it.
type KeyChange struct {
	Label   *string
	Origins *[]string // empty: any
	Rate    *float64
	Burst   *int
}

// What was given may have been a secret, so it is not repeated.
var errNoSuchID = fmt.Errorf("%w: it takes the key_… that keystone keys list prints, of a key that is not revoked", ErrUnknownKey)

// SetKey changes a key that is not revoked; its secret, scope and tenant stay. Edges follow within their
// caches' time. A key of another tenant is ErrUnknownKey.
func (p *Plane) SetKey(ctx context.Context, tenant uuid.UUID, keyID string, change KeyChange) error {
	keys, err := p.ListKeys(ctx, tenant)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(k KeyInfo) bool { return k.KeyID == keyID && k.RevokedAt == nil })
	if i < 0 {
		return errNoSuchID
	}
	spec := KeySpec{Tenant: tenant, Scope: keys[i].Scope} // of what stays it was valid
	if change.Label != nil {
		spec.Label = sql.Text(*change.Label)
		change.Label = &spec.Label
	}
	if change.Origins != nil {
		spec.Origins = append([]string{}, *change.Origins...)
		change.Origins = &spec.Origins
	}
	if change.Rate != nil {
		spec.Rate = *change.Rate
	}
	if change.Burst != nil {
		spec.Burst = *change.Burst
	}
	if err := spec.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	n, err := p.exec(ctx, keySet, tenant, keyID, change.Label, change.Origins, change.Rate, change.Burst)
	if err != nil {
		return fmt.Errorf("set key: %w", err)
	}
	if n == 0 {
		return errNoSuchID // revoked just now
	}
	return nil
}

// RevokeKey ends a key for ever; edges follow within their caches' time. A key of another tenant is
// ErrUnknownKey; revoking twice is no error.
func (p *Plane) RevokeKey(ctx context.Context, tenant uuid.UUID, keyID string) error {
	n, err := p.exec(ctx, keyRevoke, tenant, sql.Text(keyID), time.Now().UTC())
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	if n == 0 {
		return errNoSuchID
	}
	return nil
}

// DeleteKey removes a key that was made for a moment, and all of the tenant's older than before: what
// commands that died have left. For keys that somebody was given there is RevokeKey.
func (p *Plane) DeleteKey(ctx context.Context, tenant uuid.UUID, keyID string, before time.Time) error {
	if _, err := p.exec(ctx, keyDelete, tenant, sql.Text(keyID), before); err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	return nil
}

// LookupKey finds a key by the Hash of its secret; else, and once it is revoked, ErrUnknownKey.
// Every other error means that the store could not be asked.
func (p *Plane) LookupKey(ctx context.Context, hash [sha256.Size]byte) (Key, error) {
	found, err := query(ctx, p, func(r pgx.CollectableRow) (k Key, err error) {
		var settings string
		if err := r.Scan(&k.KeyID, &k.Tenant, &k.Scope, &k.Origins, &k.Rate, &k.Burst, &settings); err != nil {
			return k, err
		}
		k.Settings, err = event.ParseSettings([]byte(settings))
		return k, err
	}, keyLookup, hash[:])
	if err != nil {
		return Key{}, fmt.Errorf("look up key: %w", err)
	}
	if len(found) == 0 {
		return Key{}, ErrUnknownKey
	}
	return found[0], nil
}
