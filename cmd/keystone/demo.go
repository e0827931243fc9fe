package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/bench/demo"
	"github.com/keystone-cdp/keystone/bench/shop"
)

type demoRootCmd struct {
	Replay demoCmd     `cmd:"" default:"withargs" help:"Replay a shop's traffic and show what came out; what demo alone does."`
	Page   demoPageCmd `cmd:"" help:"Serve a shop with the tracker in it, and show what becomes of each event."`
}

type demoCmd struct {
	DataDir string `help:"Folder of a running keystone dev." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	Events  int    `help:"How many events to send." default:"20000"`
	Seed    uint64 `help:"The same seed gives the same shop." default:"1"`
}

// Help is shown below the usage.
func (demoCmd) Help() string {
	return `Sends a shop's traffic to a running keystone dev, a third of it live and the rest as history in batches:
people with several devices who browse without a name, log in late, fill carts, order, cancel and share a
computer, among crawlers, repeated and late deliveries. Then it waits until all of it can be queried, and
shows what came out beside what the shop itself counted.

Example:
  keystone demo --events 5000 --seed 7`
}

// demoWait bounds the wait for processor and sink, per event sent and at the least.
const (
	demoWaitPerEvent = 2 * time.Millisecond
	demoWaitLeast    = time.Minute
)

// Run replays and reports.
func (c *demoCmd) Run(a *app) error {
	info, err := readDevInfo(c.DataDir)
	if err != nil {
		return err
	}
	session, err := newSQLSession(info.ClickHouseURL, "")
	if err != nil {
		return err
	}
	books := &demoBooks{session: session, tenant: info.Tenant}
	before, err := books.number(a.ctx, "SELECT count() FROM events WHERE tenant_id = '%s'")
	if err != nil {
		return err
	}
	config := demo.DefaultConfig()
	config.EdgeURL, config.TrackerKey, config.IntegrationKey = info.EdgeURL, info.TrackerKey, info.IntegrationKey
	config.Shop.Events, config.Shop.Seed = c.Events, c.Seed
	summary, err := demo.Replay(a.ctx, config, terminal(a.stderr))
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "sent %d events in %s: %d live, %d as history in %d batches; %d acknowledged, %d refused on purpose\n",
		summary.Sent, summary.Elapsed.Round(time.Millisecond), summary.Live, summary.History, summary.Batches, summary.Acknowledged, summary.Rejected)
	if err := c.settle(a, info); err != nil {
		return err
	}
	if err := books.report(a, summary.Truth, before == 0); err != nil {
		return err
	}
	return books.questions(a)
}

func (c *demoCmd) settle(a *app, info *devInfo) error {
	lag, err := newLagProbe(a.ctx, &target{StoreDSN: info.SQLDSN, ClickhouseDSN: info.ClickHouseDSN, Brokers: info.Brokers}, info.edgeAdmin())
	if err != nil {
		return err
	}
	defer lag.close()
	begin := time.Now()
	rows, err := lag.wait(a.ctx, demoWaitLeast+time.Duration(c.Events)*demoWaitPerEvent)
	if err != nil {
		return err
	}
	if left := totalLag(rows); left > 0 {
		return fmt.Errorf("%d records are still to be done; `keystone lag` shows where", left)
	}
	fmt.Fprintf(a.stdout, "processed and queryable %s later\n\n", time.Since(begin).Round(time.Millisecond))
	return nil
}

// demoBooks reads back what came of the events. The tenant is a UUID of dev.json.
type demoBooks struct {
	session *sqlSession
	tenant  string
}

func (b *demoBooks) number(ctx context.Context, query string) (int, error) {
	var out strings.Builder
	plain := *b.session
	plain.format = "TabSeparated"
	if err := plain.run(ctx, fmt.Sprintf(query, b.tenant), &out); err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out.String()))
}

// report prints what is there beside the shop's own count. Where the tenant held events before, the
// two cannot be compared.
func (b *demoBooks) report(a *app, truth shop.Truth, comparable bool) error {
	rows := []struct {
		name  string
		query string
		truth int
	}{
		{"events, each once", "SELECT count() FROM events WHERE tenant_id = '%s'", truth.Messages},
		{"profiles: anchors", "SELECT count() FROM profiles FINAL WHERE tenant_id = '%s' AND kind = 'anchor'", truth.People},
		{"profiles: shadows", "SELECT count() FROM profiles FINAL WHERE tenant_id = '%s' AND kind = 'shadow'", truth.Shadows},
		{"collapses", "SELECT count() FROM profile_merges WHERE tenant_id = '%s' AND kind = 'collapse'", truth.Collapses},
		{"orders: incomplete", "SELECT count() FROM orders FINAL WHERE tenant_id = '%s' AND status = 'incomplete'", truth.Orders[shop.StatusIncomplete]},
		{"orders: completed", "SELECT count() FROM orders FINAL WHERE tenant_id = '%s' AND status = 'completed'", truth.Orders[shop.StatusCompleted]},
		{"orders: cancelled", "SELECT count() FROM orders FINAL WHERE tenant_id = '%s' AND status = 'cancelled'", truth.Orders[shop.StatusCancelled]},
		{"orders: refunded", "SELECT count() FROM orders FINAL WHERE tenant_id = '%s' AND status = 'refunded'", truth.Orders[shop.StatusRefunded]},
		{"skeleton products", "SELECT count() FROM products FINAL WHERE tenant_id = '%s' AND skeleton", truth.Products},
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "what came out\tKeystone\tthe shop's books\t")
	for _, row := range rows {
		n, err := b.number(a.ctx, row.query)
		if err != nil {
			return err
		}
		mark := ""
		switch {
		case !comparable:
		case n == row.truth:
			mark = "  equal"
		default:
			mark = "  DIFFERENT"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", row.name, n, row.truth, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if !comparable {
		fmt.Fprintln(a.stdout, "(this tenant held events before the replay, so the two columns count different things)")
	}
	return nil
}

// demoQuestions are the entries of the cookbook that the demo shows. They are of all time: the shop's
// history lies where its seed puts it.
var demoQuestions = []string{
	"How many people get from looking at a page to an order?",
	"Which campaigns bring paying customers?",
	"What sells best?",
}

func (b *demoBooks) questions(a *app) error {
	session := *b.session
	session.parameters = map[string]string{"tenant": b.tenant, "since": "2000-01-01 00:00:00", "until": "2100-01-01 00:00:00"}
	for _, title := range demoQuestions {
		q, err := analytics.Recipe(title)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "\n%s\n\n", q.Title)
		if err := session.run(a.ctx, q.SQL, a.stdout); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.stdout, "\nMore questions, with their SQL: analytics/COOKBOOK.md")
	return nil
}
