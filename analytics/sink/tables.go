package sink

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// changeTables are the rows of a batch of changes, table by table, and by shard: of profiles and orders the
// key says which; the map and the products are whole on every shard; merges and lineage are with their
// partition, like events.
type changeTables struct {
	identity *identityRows
	profiles []*profileRows // by shard
	orders   []*orderRows   // by shard
	products *productRows
	merges   *mergeRows
	lineage  *lineageRows

	// all are the tables in the order of their inserts. Any order is right, as the position is saved
	// after all of them; with the map first, a profile never shows before its history does.
	all []placed
}

// placed is rows and the shard they go to.
type placed struct {
	*rowset
	shard int
}

func (p placed) conn(set *shard.Set) driver.Conn { return set.All()[p.shard] }

func newChangeTables(at tp, shards int) *changeTables {
	t := &changeTables{identity: newIdentityRows(), products: newProductRows(), merges: newMergeRows(), lineage: newLineageRows()}
	for i := range shards {
		t.profiles, t.orders = append(t.profiles, newProfileRows()), append(t.orders, newOrderRows())
		t.all = append(t.all, placed{&t.identity.rowset, i})
	}
	for i := range shards {
		t.all = append(t.all, placed{&t.profiles[i].rowset, i}, placed{&t.orders[i].rowset, i}, placed{&t.products.rowset, i})
	}
	own := shard.OfPartition(at.partition, shards)
	t.all = append(t.all, placed{&t.merges.rowset, own}, placed{&t.lineage.rowset, own})
	return t
}

func (t *changeTables) rows() (n int) {
	for _, table := range t.all {
		n += table.rows
	}
	return n
}

func (t *changeTables) reset() {
	for _, table := range t.all {
		table.reset()
	}
}

// memory is how many bytes the tables hold on to, after reset. What goes to every shard counts for each.
func (t *changeTables) memory() (n int) {
	for _, table := range t.all {
		n += table.memory()
	}
	return n
}

func (t *changeTables) load(at time.Time) {
	t.merges.load(at)
	t.lineage.load(at)
}

// insert writes them, table after table.
func (t *changeTables) insert(ctx context.Context, w *inserter, at span) error {
	for _, p := range t.all {
		if err := w.insert(ctx, p.rowset, at, p.conn); err != nil {
			return err
		}
	}
	return nil
}

// add adds one record's rows; those of merges and lineage where they are wanted.
func (t *changeTables) add(c *event.Change, at tp, offset int64, merges, lineage bool) {
	for i := range c.Identifiers {
		t.identity.add(c.TenantID, &c.Identifiers[i])
	}
	if c.Profile != nil {
		t.profiles[shard.OfProfile(c.ProfileID, len(t.profiles))].add(c.TenantID, c.ProfileID, c.Profile)
	}
	for i := range c.Orders {
		t.orders[shard.OfOrder(c.TenantID, c.Orders[i].OrderID, len(t.orders))].add(c.TenantID, &c.Orders[i])
	}
	for i := range c.Products {
		t.products.add(c.TenantID, &c.Products[i])
	}
	if merges {
		for i := range c.Merges {
			t.merges.add(c.TenantID, &c.Merges[i], at, offset)
		}
	}
	if lineage {
		for i := range c.Lineage {
			t.lineage.add(c.TenantID, c.ProfileID, &c.Lineage[i], at, offset)
		}
	}
}

// jsonText is raw JSON fit for ClickHouse; empty where there is none.
func jsonText(raw []byte) string {
	if maybeSurrogate(raw) {
		mend(raw) // the record was decoded for us alone
	}
	return string(raw)
}

// marshal is a part of a change as JSON again: what was read can be written.
func marshal(v any) string {
	text, err := json.MarshalWithOption(v, json.DisableHTMLEscape())
	if err != nil {
		return ""
	}
	return jsonText(text)
}
