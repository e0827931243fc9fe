package main

import (
	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/store"
	"github.com/keystone-cdp/keystone/sql"
)

// commandConns is enough for a command that does one thing at a time.
const commandConns = 2

// withStore runs a command's work on the target's state store.
func (t *target) withStore(a *app, work func(*control.Plane, *store.Store) error) error {
	if err := t.resolve(needStore); err != nil {
		return err
	}
	pool, err := sql.Open(a.ctx, t.StoreDSN, commandConns)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := sql.CheckSchema(a.ctx, pool); err != nil {
		return err
	}
	states, err := store.New(store.DefaultConfig(), pool)
	if err != nil {
		return err
	}
	return work(control.New(pool), states)
}

// withControl runs a command's work on the control plane of the target's state store.
func (t *target) withControl(a *app, work func(*control.Plane) error) error {
	return t.withStore(a, func(plane *control.Plane, _ *store.Store) error { return work(plane) })
}

// tenantID finds a tenant by slug or id.
func tenantID(a *app, plane *control.Plane, ref string) (uuid.UUID, error) {
	tenant, err := plane.Tenant(a.ctx, ref)
	return tenant.ID, err
}

// printJSON writes one value as a line of NDJSON.
func printJSON(a *app, value any) error { return json.NewEncoder(a.stdout).Encode(value) }

func printLines[T any](a *app, rows []T) error {
	for _, row := range rows {
		if err := printJSON(a, row); err != nil {
			return err
		}
	}
	return nil
}
