package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
)

type tenantsCmd struct {
	Create tenantsCreateCmd `cmd:"" help:"Create a tenant and print it."`
	List   tenantsListCmd   `cmd:"" help:"Print all tenants, one JSON object a line."`
	Set    tenantsSetCmd    `cmd:"" help:"Change a tenant's settings."`
}

type tenantsCreateCmd struct {
	target
	Slug string `arg:"" help:"Short name: a-z, 0-9 and -."`
	Name string `arg:"" optional:"" help:"Name for people; the slug where absent."`
}

// Run creates the tenant.
func (c *tenantsCreateCmd) Run(a *app) error {
	if c.Name == "" {
		c.Name = c.Slug
	}
	return c.withControl(a, func(plane *control.Plane) error {
		tenant, err := plane.CreateTenant(a.ctx, c.Slug, c.Name)
		if err != nil {
			return err
		}
		return printJSON(a, tenant)
	})
}

type tenantsListCmd struct{ target }

// Run lists the tenants.
func (c *tenantsListCmd) Run(a *app) error {
	return c.withControl(a, func(plane *control.Plane) error {
		tenants, err := plane.Tenants(a.ctx)
		if err != nil {
			return err
		}
		return printLines(a, tenants)
	})
}

type tenantsSetCmd struct {
	target
	Tenant   string `arg:"" help:"Slug or id."`
	Settings string `arg:"" help:"JSON file, or - for standard input. What it leaves out stays as it is." placeholder:"FILE"`
}

// Help is shown below the usage.
func (tenantsSetCmd) Help() string {
	return `What the file leaves out stays as it is, limits kind by kind and blocked list by list; null brings a
default back: {"limits":{"email":null}}. The settings that are in force then are printed. What a change of the rules
of identity would have done, keystone identity simulate tells from the same file.

Settings:
  default_region  two capital letters: reads phone numbers without "+" (default US)
  promote_traits  take email, phone and crm_id of an identify's payload as identifiers (default true)
  kinds           the tenant's own kinds of identifiers, highest priority first
  limits          how many identifiers of a kind one profile may own
                  (default: crm_id 1, anonymous 500, others 5)
  ip              full, truncate (to /24 of IPv4, /48 of IPv6) or drop: what is kept of
                  visitors' addresses (default full)
  blocked         lists of what is not taken: ips (addresses, networks), user_agents (parts
                  of them), event_names, anonymous_ids. Their events are answered with 200
                  and dropped; keystone_edge_blocked_events_total counts them
  retention_days  how long ClickHouse keeps events, by their event time (default: for ever).
                  Rollups forget with them; profiles, orders and lineage stay

Of two changes at the same moment both are made, one after the other: each changes only what its
file names, and where both name the same, the later one counts.

Edges follow a change within 10 seconds. A change of retention_days alters the table of events,
and so needs the DSN of ClickHouse as well; rows go as it merges parts, within some hours.

Example:
  echo '{"default_region":"DE","kinds":["loyalty"],"limits":{"email":3},"ip":"truncate",
    "blocked":{"ips":["203.0.113.0/24"],"user_agents":["HeadlessChrome"]}}' | keystone tenants set demo -`
}

// maxSettings bounds the settings file.
const maxSettings = 1 << 20

// Run checks and changes the settings.
func (c *tenantsSetCmd) Run(a *app) error {
	text, err := readSettings(a, c.Settings)
	if err != nil {
		return err
	}
	return c.withControl(a, func(plane *control.Plane) error {
		tenant, err := plane.Tenant(a.ctx, c.Tenant)
		if err != nil {
			return err
		}
		before, after, err := plane.ChangeSettings(a.ctx, tenant.ID, func(s event.Settings) (event.Settings, error) {
			changed, err := s.Overlay(text)
			if err != nil {
				return s, fmt.Errorf("new settings: %w", err)
			}
			if changed.RetentionDays != s.RetentionDays { // before anything is set: it may not be there
				if err := c.resolve(needStore | needClickHouse); err != nil {
					return s, fmt.Errorf("retention_days changes, and lives in ClickHouse: %w", err)
				}
			}
			return changed, nil
		})
		if err != nil {
			return err
		}
		if after.RetentionDays != before.RetentionDays {
			if err := retain(a.ctx, plane, c.ClickhouseDSN); err != nil {
				return fmt.Errorf("the settings are set, but retention_days is not in force yet (`keystone migrate` tries again): %w", err)
			}
		}
		return printJSON(a, after)
	})
}

// retain puts into force what the tenants say about how long events are kept, on every shard.
func retain(ctx context.Context, plane *control.Plane, clickhouseDSN string) error {
	return enforce(func() (map[uuid.UUID]int, error) {
		days := map[uuid.UUID]int{}
		tenants, err := plane.Tenants(ctx)
		for _, t := range tenants {
			days[t.ID] = t.Settings.RetentionDays
		}
		return days, err
	}, func(days map[uuid.UUID]int) error {
		dsns, err := shard.DSNs(ctx, clickhouseDSN, "")
		if err != nil {
			return err
		}
		for _, dsn := range dsns {
			if err := retainOn(ctx, dsn, days); err != nil {
				return err
			}
		}
		return nil
	})
}

// enforce has what the tenants say put into force, again where they say something else by then: of two who do so at
// once the one who comes last may have asked first.
func enforce(say func() (map[uuid.UUID]int, error), put func(map[uuid.UUID]int) error) error {
	said, err := say()
	for err == nil {
		before := said
		if err = put(before); err != nil {
			break
		}
		if said, err = say(); err == nil && maps.Equal(said, before) {
			return nil
		}
	}
	return err
}

func retainOn(ctx context.Context, dsn string, days map[uuid.UUID]int) (err error) {
	m, err := schema.New(dsn, schema.Engines{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	_, err = m.Retain(ctx, days)
	return err
}

// readSettings reads a settings file, or standard input for "-".
func readSettings(a *app, name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, maxSettings))
}
