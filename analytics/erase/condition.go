package erase

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// nodesAtOnce bounds one statement: ClickHouse takes some 256 kB of text.
const nodesAtOnce = 500

// Conditions are text: they go into ALTER … DELETE, which takes no bound values everywhere. There is
// nothing in them but UUIDs, numbers, and the names of our own columns.

func list(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = "'" + id.String() + "'"
	}
	return strings.Join(texts, ", ")
}

func micro(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(%d, 'UTC')", t.UnixMicro())
}

func milli(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Milli(%d, 'UTC')", t.UnixMilli())
}

// within is that a column of times is in the span of a node.
func (n Node) within(column string) string {
	c := column + " >= " + micro(schema.ColumnTime(n.From))
	if !n.Until.IsZero() {
		c += " AND " + column + " < " + micro(n.Until)
	}
	return "(" + c + ")"
}

// conditions are of a tenant's rows, each for some of the nodes. whole is the condition for nodes that were
// the person's all along, up to one event time; part is that for another one.
func (p *Person) conditions(whole func(ids string, at time.Time) string, part func(n Node) string) (all []string) {
	tenant := fmt.Sprintf("tenant_id = '%s' AND ", p.Tenant)
	for nodes := range slices.Chunk(p.Nodes, nodesAtOnce) {
		var parts []string
		ids, at := map[int64][]uuid.UUID{}, []time.Time{}
		for _, n := range nodes {
			if !n.From.IsZero() || !n.Until.IsZero() {
				parts = append(parts, "("+part(n)+")")
				continue
			}
			key := n.At.UnixMicro()
			if ids[key] == nil {
				at = append(at, n.At)
			}
			ids[key] = append(ids[key], n.Node)
		}
		for _, t := range at {
			parts = append(parts, "("+whole(list(ids[t.UnixMicro()]), t)+")")
		}
		all = append(all, "("+tenant+"("+strings.Join(parts, " OR ")+"))")
	}
	return all
}

const noNode = "toUUID('00000000-0000-0000-0000-000000000000')"

// late is that an event was received later than it happened.
const late = "timestamp < toDateTime64(received_at, 3, 'UTC')"

// events are conditions for the events that name the person, as event.Erasure's Covers says it.
func (p *Person) events() []string {
	return p.conditions(func(ids string, at time.Time) string {
		return fmt.Sprintf("(profile_node IN (%s) OR identity_node IN (%s)) AND timestamp <= %s", ids, ids, milli(at))
	}, func(n Node) string {
		return fmt.Sprintf("(profile_node = '%s' OR identity_node = '%s') AND timestamp <= %s AND (%s OR identity_node = %s AND %s AND %s)",
			n.Node, n.Node, milli(n.At), n.within("received_at"), noNode, late, n.within("timestamp"))
	})
}

// touches are conditions for the rollup of that name.
func (p *Person) touches() []string {
	return p.conditions(func(ids string, at time.Time) string {
		return fmt.Sprintf("node IN (%s) AND timestamp <= %s", ids, milli(at))
	}, func(n Node) string {
		return fmt.Sprintf("node = '%s' AND timestamp <= %s AND (%s OR %s AND %s)", n.Node, milli(n.At), n.within("received_at"), late, n.within("timestamp"))
	})
}

// activeNodes are conditions for the rollup of that name. A row that is also somebody else's, or of a later
// day's end, goes with them; it comes back from what events has left.
func (p *Person) activeNodes() []string {
	return p.conditions(func(ids string, at time.Time) string {
		return fmt.Sprintf("node IN (%s) AND first_at <= %s", ids, milli(at))
	}, func(n Node) string {
		c := fmt.Sprintf("node = '%s' AND first_at <= %s AND last_received >= %s", n.Node, milli(n.At), micro(schema.ColumnTime(n.From)))
		if !n.Until.IsZero() {
			c += " AND first_received < " + micro(n.Until)
		}
		return c
	})
}

// of is a condition for all events of the nodes, whenever.
func (p *Person) theirNodes() []string {
	whole := func(ids string, _ time.Time) string {
		return fmt.Sprintf("profile_node IN (%s) OR identity_node IN (%s)", ids, ids)
	}
	return p.conditions(whole, func(n Node) string { return whole("'"+n.Node.String()+"'", n.At) })
}

// identityMap are conditions for the table of that name.
func (p *Person) identityMap() []string {
	all := p.conditions(func(ids string, at time.Time) string {
		return fmt.Sprintf("node IN (%s) AND valid_from <= %s", ids, micro(at))
	}, func(n Node) string {
		return fmt.Sprintf("node = '%s' AND valid_from <= %s AND %s", n.Node, micro(n.At), n.within("valid_from"))
	})
	return append(all, p.profiles("profile_id")...)
}

// profiles are conditions for rows that name the person's profiles.
func (p *Person) profiles(columns ...string) (all []string) {
	for ids := range slices.Chunk(p.Profiles, nodesAtOnce) {
		parts := make([]string, len(columns))
		for i, c := range columns {
			parts[i] = fmt.Sprintf("%s IN (%s)", c, list(ids))
		}
		all = append(all, fmt.Sprintf("(tenant_id = '%s' AND (%s))", p.Tenant, strings.Join(parts, " OR ")))
	}
	return all
}

// hashes is a condition for rows told by the hash of an expression, such as names of orders and paths of
// pages: those themselves would stay in the server's logs.
func (p *Person) hashes(expression string, hashes []uint64) (all []string) {
	for some := range slices.Chunk(hashes, nodesAtOnce) {
		texts := make([]string, len(some))
		for i, h := range some {
			texts[i] = fmt.Sprint(h)
		}
		all = append(all, fmt.Sprintf("(tenant_id = '%s' AND %s IN (%s))", p.Tenant, expression, strings.Join(texts, ", ")))
	}
	return all
}
