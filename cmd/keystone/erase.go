package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"golang.org/x/term"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
)

// The migrations from which on processors and sinks keep to erasures; those of older builds would bring the
// erased back.
const (
	erasingStore   = 12
	erasingColumns = 30
)

type eraseRootCmd struct {
	Person erasePersonCmd `cmd:"" default:"withargs" help:"Erase a person; what keystone erase does by itself."`
	Again  eraseAgainCmd  `cmd:"" help:"Erase once more who was erased: after a backup was restored, or before the log is replayed into new stores."`
	List   eraseListCmd   `cmd:"" help:"List a tenant's erasures."`
	Show   eraseShowCmd   `cmd:"" help:"Print the receipt of one."`
}

type eraseFlags struct {
	target
	Tenant string        `help:"Slug or id." placeholder:"TENANT"`
	Wait   time.Duration `help:"How long to wait for the sinks to know of it." default:"2m"`
}

type erasePersonCmd struct {
	eraseFlags
	personFlags
	Forever bool   `help:"Take nothing that names them ever again, also what they do from now on."`
	DryRun  bool   `help:"Tell what would be erased, and do nothing."`
	Yes     bool   `help:"Do not ask."`
	Receipt string `help:"Write the receipt here as well." type:"path" placeholder:"FILE"`
}

// Help is shown below the usage.
func (erasePersonCmd) Help() string {
	return `All that keystone export person hands out is removed from the state store and from ClickHouse, and
nothing of it comes back: neither from the log, when it is read again, nor by a backfill. What the
person does afterwards is a new person's. The receipt, a JSON object, says what was removed and
where the data stays until it goes by itself (the log, backups). It can be run again when it was
stopped, and goes on. All shards of ClickHouse have to be there, all replicas too. There is no way
back.

Examples:
  keystone erase --tenant demo --who email:ann@example.com --dry-run
  keystone erase --tenant demo --who email:ann@example.com --yes --receipt ann.json
  keystone erase list --tenant demo`
}

// Run erases one person, or goes on where it was stopped.
func (c *erasePersonCmd) Run(a *app) error {
	if c.Tenant == "" {
		return errors.New("name the tenant: --tenant")
	}
	if err := c.check(); err != nil {
		return err
	}
	return c.with(a, func(w *erasing) error {
		tenant, err := w.plane.Tenant(a.ctx, c.Tenant)
		if err != nil {
			return err
		}
		profile, asked, unknown := c.live(a, w.states, &tenant)
		if unknown != nil && !errors.Is(unknown, store.ErrUnknownProfile) {
			return unknown
		}
		// One that was stopped is ended first: whoever is there meanwhile is somebody new.
		if before, err := w.last(tenant.ID, asked); err != nil {
			return err
		} else if before != nil && (unknown != nil || before.State != store.ErasureDone) {
			return c.resume(w, &tenant, before)
		}
		if unknown != nil {
			return unknown
		}
		if c.DryRun {
			return w.plan(&tenant, profile, c.Forever)
		}
		if err := c.confirm(a, profile); err != nil {
			return err
		}
		e, err := w.states.Erase(a.ctx, tenant.ID, profile, c.Forever)
		if err != nil {
			return err
		}
		return c.finish(w, &tenant, e)
	})
}

// live is the profile that the person has now. One that went into the grave is nobody's.
func (c *erasePersonCmd) live(a *app, states *store.Store, tenant *control.Tenant) (profile, asked uuid.UUID, err error) {
	profile, asked, err = c.find(a, states, tenant)
	if err != nil {
		return uuid.Nil, asked, err
	}
	known, err := states.Explain(a.ctx, tenant.ID, profile)
	if err != nil {
		return uuid.Nil, asked, err
	}
	if known.Profile.ProfileID == event.GraveID(tenant.ID) {
		return uuid.Nil, asked, fmt.Errorf("%w: %s", store.ErrUnknownProfile, profile)
	}
	return known.Profile.ProfileID, asked, nil
}

// resume goes on with an erasure that was stopped, or tells of one that was not.
func (c *erasePersonCmd) resume(w *erasing, tenant *control.Tenant, e *store.Erasure) error {
	if e.State == store.ErasureDone {
		w.say("was erased before, by erasure %s", e.ErasureID)
		return c.print(w.a, e)
	}
	if c.DryRun {
		return fmt.Errorf("erasure %s is under way: run it without --dry-run, and it goes on", e.ErasureID)
	}
	w.say("goes on with erasure %s", e.ErasureID)
	return c.finish(w, tenant, e)
}

func (c *erasePersonCmd) finish(w *erasing, tenant *control.Tenant, e *store.Erasure) error {
	if err := w.finish(tenant, e, c.Wait); err != nil {
		return err
	}
	return c.print(w.a, e)
}

func (c *erasePersonCmd) print(a *app, e *store.Erasure) error {
	if c.Receipt != "" {
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Receipt, append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	return printJSON(a, e)
}

// confirm asks, where there is somebody to ask.
func (c *erasePersonCmd) confirm(a *app, profile uuid.UUID) error {
	if c.Yes {
		return nil
	}
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nothing is erased without --yes where nobody can be asked; --dry-run shows what would go")
	}
	fmt.Fprintf(a.stderr, "Erase profile %s for good? There is no way back. Type yes: ", profile)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was erased")
	}
	return nil
}

type eraseAgainCmd struct {
	eraseFlags
	Receipts []string `arg:"" optional:"" help:"Files of receipts, one or more in each, that neither store knows of any more." type:"existingfile"`
}

// Help is shown below the usage.
func (eraseAgainCmd) Help() string {
	return `A backup has whom it had when it was made. Restore it, keep processor and sink stopped, run this,
and start them. Erasures are taken from the state store, from ClickHouse, and from the receipts named.
Of a tenant, or of all.

Examples:
  keystone erase again
  keystone erase again --tenant demo receipts/*.json`
}

// Run does it for one tenant, or for all.
func (c *eraseAgainCmd) Run(a *app) error {
	receipts, err := c.read()
	if err != nil {
		return err
	}
	return c.with(a, func(w *erasing) error {
		tenants, err := w.tenants(c.Tenant)
		if err != nil {
			return err
		}
		for i := range tenants {
			known, err := w.known(&tenants[i], receipts)
			if err != nil {
				return err
			}
			for _, e := range known {
				if err := w.states.EraseAgain(a.ctx, e); err != nil {
					return err
				}
				if err := w.finish(&tenants[i], e, c.Wait); err != nil {
					return err
				}
				if err := printJSON(a, e); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (c *eraseAgainCmd) read() (all []*store.Erasure, err error) {
	for _, name := range c.Receipts {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for lines := json.NewDecoder(bytes.NewReader(text)); lines.More(); {
			e := new(store.Erasure)
			if err := lines.Decode(e); err != nil || e.ErasureID == uuid.Nil || len(e.Profiles) == 0 {
				return nil, fmt.Errorf("%s is no receipt of an erasure", name)
			}
			all = append(all, e)
		}
	}
	return all, nil
}

type eraseListCmd struct {
	target
	Tenant string `required:"" help:"Slug or id." placeholder:"TENANT"`
	JSON   bool   `name:"json" help:"Print the receipts, one a line."`
}

// Run prints a line for each.
func (c *eraseListCmd) Run(a *app) error {
	return c.withStore(a, func(plane *control.Plane, states *store.Store) error {
		all, err := erasures(a, plane, states, c.Tenant)
		if err != nil {
			return err
		}
		if c.JSON {
			return printLines(a, all)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "erasure\tstarted\tstate\tprofiles\tidentifiers\tevents")
		for _, e := range all {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\n", e.ErasureID, e.StartedAt.Format(time.RFC3339), e.State, len(e.Profiles), len(e.Nodes), e.ClickHouse["events"])
		}
		return w.Flush()
	})
}

type eraseShowCmd struct {
	target
	Tenant  string    `required:"" help:"Slug or id." placeholder:"TENANT"`
	Erasure uuid.UUID `arg:"" help:"Its id; keystone erase list shows it."`
}

// Run prints the receipt.
func (c *eraseShowCmd) Run(a *app) error {
	return c.withStore(a, func(plane *control.Plane, states *store.Store) error {
		all, err := erasures(a, plane, states, c.Tenant)
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.ErasureID == c.Erasure {
				return printJSON(a, e)
			}
		}
		return fmt.Errorf("there is no erasure %s", c.Erasure)
	})
}

func erasures(a *app, plane *control.Plane, states *store.Store, ref string) ([]*store.Erasure, error) {
	tenant, err := tenantID(a, plane, ref)
	if err != nil {
		return nil, err
	}
	return states.Erasures(a.ctx, tenant)
}

// with opens what an erasure needs: both stores and the log.
func (c *eraseFlags) with(a *app, work func(*erasing) error) error {
	if err := c.resolve(needStore | needClickHouse | needBrokers); err != nil {
		return err
	}
	if err := buildsFrom(a.ctx, &c.target, erasingStore, erasingColumns); err != nil {
		return err
	}
	return c.withStore(a, func(plane *control.Plane, states *store.Store) error {
		w := &erasing{a: a, plane: plane, states: states}
		if err := w.open(&c.target); err != nil {
			return err
		}
		defer w.close()
		return work(w)
	})
}
