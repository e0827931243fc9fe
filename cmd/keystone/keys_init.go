package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded"
)

type keysInitCmd struct {
	target
	Tenant string `required:"" help:"Slug." placeholder:"TENANT"`
	File   string `required:"" help:"Where the keys are kept, in the clear (0600)." type:"path" placeholder:"FILE"`
	Label  string `help:"For people." default:"keystone keys init"`
}

// Help is shown below the usage.
func (keysInitCmd) Help() string {
	return `Safe to run again: keys of the file that still work are kept. Of the two, the tracker's is printed, which
is public by nature.

Example:
  keystone keys init --tenant shop --file /var/lib/keystone/keys.json`
}

// Run makes what is missing.
func (c *keysInitCmd) Run(a *app) error {
	return c.withControl(a, func(plane *control.Plane) error {
		tenant, keys, err := ensureKeys(a.ctx, plane, keysWanted{slug: c.Tenant, name: c.Tenant, label: c.Label, file: c.File})
		if err != nil {
			return err
		}
		return printJSON(a, map[string]string{"tenant": tenant.ID.String(), "tracker_key": keys.TrackerKey, "keys_file": c.File})
	})
}

// fileKeys are a tenant's keys in the clear: nobody could find them again in the store.
type fileKeys struct {
	TrackerKey     string `json:"tracker_key"`
	IntegrationKey string `json:"integration_key"`
}

func readKeys(path string) (keys fileKeys, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return keys, err
	}
	if json.Unmarshal(text, &keys) != nil {
		return keys, fmt.Errorf("read %s: it is not what keys init writes", path) // the cause may quote a key
	}
	return keys, nil
}

type keysWanted struct{ slug, name, label, file string }

// ensureKeys makes a tenant with two keys, or finds those that the file has.
func ensureKeys(ctx context.Context, plane *control.Plane, w keysWanted) (tenant control.Tenant, keys fileKeys, err error) {
	tenant, err = plane.Tenant(ctx, w.slug)
	if errors.Is(err, control.ErrUnknownTenant) {
		tenant, err = plane.CreateTenant(ctx, w.slug, w.name)
	}
	if err != nil {
		return tenant, keys, err
	}
	if keys, err = readKeys(w.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tenant, keys, err
	}
	for _, k := range []struct {
		secret *string
		scope  control.Scope
	}{{&keys.TrackerKey, control.Tracker}, {&keys.IntegrationKey, control.Integration}} {
		// A revoked key is replaced: nobody wants a file of dead ones.
		if _, err := plane.LookupKey(ctx, control.Hash([]byte(*k.secret))); err == nil {
			continue
		} else if !errors.Is(err, control.ErrUnknownKey) {
			return tenant, keys, err
		}
		if *k.secret, _, err = plane.CreateKey(ctx, control.KeySpec{Tenant: tenant.ID, Scope: k.scope, Label: w.label}); err != nil {
			return tenant, keys, err
		}
	}
	text, err := json.Marshal(keys)
	if err != nil {
		return tenant, keys, err
	}
	return tenant, keys, embedded.WriteFile(w.file, text)
}
