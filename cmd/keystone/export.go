package main

import (
	"bufio"
	"errors"
	"iter"

	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/store"
)

type exportCmd struct {
	target
	What   string `arg:"" enum:"profiles,identifiers,merges,lineage,orders,products,conflicts,dead-letters,person" help:"profiles, identifiers, merges, lineage, orders, products, conflicts, dead-letters, or person: all that is known of one."`
	Tenant string `required:"" help:"Slug or id." placeholder:"TENANT"`
	Live   bool   `help:"Profiles only: leave out those that were merged into another."`
	personFlags
}

// Help is shown below the usage.
func (exportCmd) Help() string {
	return `One JSON object a line, in no telling order; every field is described in docs/export.md.

Examples:
  keystone export profiles --tenant demo | jq 'select(.kind == "anchor") | .identifiers'
  keystone export orders --tenant demo | jq -s 'map(select(.status == "completed").total) | add'
  keystone export lineage --tenant demo | jq 'select(.path == "/city")'
  keystone export person --tenant demo --who email:ann@example.com > ann.ndjson`
}

// Run streams the rows: memory does not grow with their number.
func (c *exportCmd) Run(a *app) error {
	if c.What == "person" {
		return c.runPerson(a)
	}
	if c.Who != "" || c.Profile != uuid.Nil {
		return errors.New("--who and --profile are for `keystone export person`")
	}
	return c.withStore(a, func(plane *control.Plane, reader *store.Store) error {
		tenant, err := tenantID(a, plane, c.Tenant)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.stdout, 64<<10)
		if err := c.write(a, out, reader, tenant); err != nil {
			return err
		}
		return out.Flush()
	})
}

func (c *exportCmd) write(a *app, out *bufio.Writer, reader *store.Store, tenant uuid.UUID) error {
	switch c.What {
	case "profiles":
		return writeLines(out, reader.Profiles(a.ctx, tenant, !c.Live))
	case "identifiers":
		return writeLines(out, reader.Identifiers(a.ctx, tenant))
	case "merges":
		return writeLines(out, reader.Merges(a.ctx, tenant))
	case "lineage":
		return writeLines(out, reader.Lineage(a.ctx, tenant))
	case "orders":
		return writeLines(out, reader.Orders(a.ctx, tenant))
	case "products":
		return writeLines(out, reader.Products(a.ctx, tenant))
	case "conflicts":
		return writeLines(out, reader.Conflicts(a.ctx, tenant))
	}
	return writeLines(out, reader.DeadLetters(a.ctx, tenant))
}

func writeLines[T any](out *bufio.Writer, rows iter.Seq2[T, error]) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	return nil
}
