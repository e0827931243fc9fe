package main

import (
	"github.com/keystone-cdp/keystone/internal/control"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Create a key and print it, once."`
	Init   keysInitCmd   `cmd:"" help:"Make a tenant and a key of each scope, unless a file has keys that work: for the first start of an installation."`
	List   keysListCmd   `cmd:"" help:"Print a tenant's keys, one JSON object a line. Secrets are not known any more."`
	Set    keysSetCmd    `cmd:"" help:"Change a key's origins, rate or label: the edges follow within 10 seconds."`
	Revoke keysRevokeCmd `cmd:"" help:"Revoke a key: the edges follow within 10 seconds."`
}

type keysCreateCmd struct {
	target
	Tenant  string   `required:"" help:"Slug or id." placeholder:"TENANT"`
	Scope   string   `required:"" enum:"tracker,integration" help:"tracker (public, single events) or integration (secret, everything)." placeholder:"SCOPE"`
	Label   string   `help:"For people."`
	Origins []string `name:"origin" help:"Origins a tracker key may be used from; any where absent." placeholder:"https://shop.example"`
	Rate    float64  `help:"Events per second; 0 is the edge's default."`
	Burst   int      `help:"Events at once; 0 is the edge's default."`
}

// Help is shown below the usage.
func (keysCreateCmd) Help() string {
	return `Examples:
  keystone keys create --tenant demo --scope tracker --origin https://shop.example
  keystone keys create --tenant demo --scope integration --label backfill --rate 5000`
}

// Run creates the key. The output is the only place where its secret ever appears.
func (c *keysCreateCmd) Run(a *app) error {
	return c.withControl(a, func(plane *control.Plane) error {
		id, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		secret, info, err := plane.CreateKey(a.ctx, control.KeySpec{
			Tenant: id, Scope: control.Scope(c.Scope), Label: c.Label, Origins: c.Origins, Rate: c.Rate, Burst: c.Burst,
		})
		if err != nil {
			return err
		}
		return printJSON(a, struct {
			Key string `json:"key"`
			control.KeyInfo
		}{secret, info})
	})
}

type keysListCmd struct {
	target
	Tenant string `required:"" help:"Slug or id." placeholder:"TENANT"`
}

// Run lists the keys.
func (c *keysListCmd) Run(a *app) error {
	return c.withControl(a, func(plane *control.Plane) error {
		id, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		keys, err := plane.ListKeys(a.ctx, id)
		if err != nil {
			return err
		}
		return printLines(a, keys)
	})
}

type keysSetCmd struct {
	target
	Tenant    string   `required:"" help:"Slug or id." placeholder:"TENANT"`
	KeyID     string   `arg:"" help:"The key's id, as keys list prints it."`
	Label     *string  `help:"For people."`
	Origins   []string `name:"origin" help:"The origins a tracker key may be used from, instead of those it has." placeholder:"https://shop.example" xor:"origins"`
	AnyOrigin bool     `help:"It may be used from any origin." xor:"origins"`
	Rate      *float64 `help:"Events per second; 0 is the edge's default."`
	Burst     *int     `help:"Events at once; 0 is the edge's default."`
}

// Help is shown below the usage.
func (keysSetCmd) Help() string {
	return `What is not given stays as it is; the secret does too, so that pages and servers go on with it.`
}

// Run changes the key.
func (c *keysSetCmd) Run(a *app) error {
	change := control.KeyChange{Label: c.Label, Rate: c.Rate, Burst: c.Burst}
	if len(c.Origins) > 0 || c.AnyOrigin {
		change.Origins = &c.Origins
	}
	return c.withControl(a, func(plane *control.Plane) error {
		id, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		return plane.SetKey(a.ctx, id, c.KeyID, change)
	})
}

type keysRevokeCmd struct {
	target
	Tenant string `required:"" help:"Slug or id." placeholder:"TENANT"`
	KeyID  string `arg:"" help:"The key's id, as keys list prints it."`
}

// Run revokes the key.
func (c *keysRevokeCmd) Run(a *app) error {
	return c.withControl(a, func(plane *control.Plane) error {
		id, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		return plane.RevokeKey(a.ctx, id, c.KeyID)
	})
}
