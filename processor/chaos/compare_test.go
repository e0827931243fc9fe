package chaos_test

import (
	"maps"
	"slices"

	"github.com/keystone-cdp/keystone/internal/event"
)

// compare holds the whole state against what must have come of the log.
func (c *campaign) compare() {
	c.t.Helper()
	c.want = expect(c.t, c.log)
	c.got = dump(c.t, c.pool)
	if diff := diffFold(c.want.fold, c.got); diff != "" {
		c.t.Errorf("the fold in memory (-) and the state store (+) differ:\n%s", head(diff))
	}
	if diff := diffModel(c.want.model, c.got.Model()); diff != "" {
		c.t.Errorf("the model (-) and the state store (+) differ:\n%s", head(diff))
	}
	seen := dumpSeen(c.t, c.pool)
	slices.Sort(seen)
	if !slices.Equal(seen, c.want.seen) {
		c.t.Errorf("%d messages are remembered, there were %d", len(seen), len(c.want.seen))
	}
	positions := dumpPositions(c.t, c.pool)
	for l, want := range c.want.position {
		if got := positions[l].position; got.next != want.next || !got.created.Equal(want.created) {
			c.t.Errorf("%s: the offset row is at %d, created %s; not at %d, %s", l, got.next, got.created, want.next, want.created)
		}
	}
	for _, table := range []string{"outbox", "dead_letters"} {
		if n := count(c.t, c.pool, table); n > 0 {
			c.t.Errorf("%d rows in %s", n, table)
		}
	}
	if n := len(positions); n != len(lanes) {
		c.t.Errorf("%d partitions have offset rows", n)
	}
	c.t.Logf("compared %d profiles, %d identifiers and %d former spans, %d orders, %d products, %d merges, %d conflicts, %d lineage rows, %d messages",
		len(c.got.Profiles), len(c.got.Identifiers), len(c.got.Spans), len(c.got.Orders), len(c.got.Products),
		len(c.got.Merges), len(c.got.Conflicts), len(c.got.Lineage), len(seen))
}

// compareChanges holds what the column store hears against the state.
func (c *campaign) compareChanges() {
	c.t.Helper()
	if dead := c.broker.readAll(c.t, event.TopicDLQ); len(slices.Collect(maps.Values(dead))) > 0 {
		c.t.Errorf("%d dead letters", len(dead[0]))
	}
	records := c.broker.readAll(c.t, event.TopicChanges)
	heard := foldChanges(c.t, records)
	if diff := diffFold(visible(c.got), visible(heard.store)); diff != "" {
		c.t.Errorf("the state store (-) and what the changes tell (+) differ:\n%s", head(diff))
	}
	c.t.Logf("compared what the changes tell; %d of them were repetitions", heard.repeated)
}
