package control

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	tenantCreate      = sql.Statement("tenant_create")
	tenantList        = sql.Statement("tenant_list")
	tenantBySlug      = sql.Statement("tenant_by_slug")
	tenantByID        = sql.Statement("tenant_by_id")
	tenantLock        = sql.Statement("tenant_lock")
	tenantSetSettings = sql.Statement("tenant_set_settings")
	tenantSettings    = sql.Statement("tenant_settings")
)

// maxTenantName is in bytes.
const maxTenantName = 200

var slugs = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// Tenant is one customer of the platform: a name space of identifiers of its own.
type Tenant struct {
	ID        uuid.UUID      `json:"tenant_id"`
	Slug      string         `json:"slug"` // what people type
	Name      string         `json:"name"`
	Settings  event.Settings `json:"settings"`
	CreatedAt time.Time      `json:"created_at"`
}

// CreateTenant makes a tenant with default settings. The slug is 1 to 63 of a-z, 0-9 and "-", not
// starting with "-"; a second tenant of that slug is ErrExists.
func (p *Plane) CreateTenant(ctx context.Context, slug, name string) (Tenant, error) {
	if !slugs.MatchString(slug) {
		return Tenant{}, fmt.Errorf("%w: slug must be 1 to 63 of a-z, 0-9 and -, not starting with -", ErrInvalid)
	}
	if len(name) > maxTenantName {
		return Tenant{}, fmt.Errorf("%w: name has %d bytes, the limit is %d", ErrInvalid, len(name), maxTenantName)
	}
	t := Tenant{ID: uuid.New(), Slug: slug, Name: sql.Text(name), Settings: event.DefaultSettings(),
		CreatedAt: time.Now().UTC().Truncate(time.Microsecond)}
	// No settings are stored: a tenant that never set any follows the defaults.
	_, err := p.exec(ctx, tenantCreate, t.ID, t.Slug, t.Name, "", t.CreatedAt)
	switch {
	case isDuplicate(err):
		return Tenant{}, fmt.Errorf("create tenant %s: %w", slug, ErrExists)
	case err != nil:
		return Tenant{}, fmt.Errorf("create tenant %s: %w", slug, err)
	}
	return t, nil
}

// Tenants are all tenants, by slug.
func (p *Plane) Tenants(ctx context.Context) ([]Tenant, error) {
	all, err := query(ctx, p, scanTenant, tenantList)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return all, nil
}

// Tenant finds a tenant by its id or its slug; else ErrUnknownTenant.
func (p *Plane) Tenant(ctx context.Context, ref string) (Tenant, error) {
	text, arg := tenantBySlug, any(ref)
	if id, err := uuid.Parse(ref); err == nil {
		text, arg = tenantByID, id
	} else if !slugs.MatchString(ref) {
		return Tenant{}, unknownTenant(ref)
	}
	found, err := query(ctx, p, scanTenant, text, arg)
	if err != nil {
		return Tenant{}, fmt.Errorf("find tenant: %w", err)
	}
	if len(found) == 0 {
		return Tenant{}, unknownTenant(ref)
	}
	return found[0], nil
}

func unknownTenant(ref string) error {
	return fmt.Errorf("%w %q: keystone tenants list prints those there are", ErrUnknownTenant, ref)
}

// ChangeSettings sets a tenant's settings to what change makes of those it has, and answers both. No other change
// comes between: of two at once the later one changes what the earlier one has made. So change may run again, and has
// no effect of its own; an error of it changes nothing. What event.Settings.Validate says against the result is
// ErrInvalid. Edges and processors follow within their caches' time.
func (p *Plane) ChangeSettings(ctx context.Context, tenant uuid.UUID, change func(event.Settings) (event.Settings, error)) (before, after event.Settings, err error) {
	err = p.inTx(ctx, func(ctx context.Context, tx pgx.Tx) (err error) {
		if before, err = lockSettings(ctx, tx, tenant); err != nil {
			return err
		}
		if after, err = change(before); err != nil {
			return err
		}
		if err := after.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		text, err := json.Marshal(after)
		if err != nil {
			return fmt.Errorf("write tenant settings: %w", err)
		}
		_, err = tx.Exec(ctx, tenantSetSettings, tenant, string(text))
		return err
	})
	if err != nil {
		return before, after, fmt.Errorf("set tenant settings: %w", err)
	}
	return before, after, nil
}

func lockSettings(ctx context.Context, tx pgx.Tx, tenant uuid.UUID) (event.Settings, error) {
	var text string
	switch err := tx.QueryRow(ctx, tenantLock, tenant).Scan(&text); {
	case errors.Is(err, pgx.ErrNoRows):
		return event.Settings{}, ErrUnknownTenant
	case err != nil:
		return event.Settings{}, err
	}
	return event.ParseSettings([]byte(text))
}

// Settings are those of the tenants among ids that exist.
func (p *Plane) Settings(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]*event.Settings, error) {
	type row struct {
		id uuid.UUID
		s  event.Settings
	}
	rows, err := query(ctx, p, func(r pgx.CollectableRow) (x row, err error) {
		var text string
		if err := r.Scan(&x.id, &text); err != nil {
			return x, err
		}
		x.s, err = event.ParseSettings([]byte(text))
		return x, err
	}, tenantSettings, ids)
	if err != nil {
		return nil, fmt.Errorf("load tenant settings: %w", err)
	}
	all := make(map[uuid.UUID]*event.Settings, len(rows))
	for i := range rows {
		all[rows[i].id] = &rows[i].s
	}
	return all, nil
}

func scanTenant(r pgx.CollectableRow) (t Tenant, err error) {
	var settings string
	if err := r.Scan(&t.ID, &t.Slug, &t.Name, &settings, &t.CreatedAt); err != nil {
		return t, err
	}
	t.Settings, err = event.ParseSettings([]byte(settings))
	return t, err
}
