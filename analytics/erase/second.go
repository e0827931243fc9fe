package erase

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/goccy/go-json"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/shard"
	"github.com/keystone-cdp/keystone/internal/event"
)

// An event has two nodes in its row, and may name more: in an identity of several kinds, in traits, as the
// former device of an alias. Such a one is somebody else's, who was not merged with the person (a limit
// forbade it), or it would be found by its nodes.
const mayNameMore = `
SELECT topic, partition, offset, profile_node, identity_node, event_type, anonymous_id, identity, payload, context, extra, timestamp, received_at
FROM %s
WHERE tenant_id = $1 AND timestamp <= fromUnixTimestamp64Milli($2, 'UTC')
	AND (event_type = 'alias' OR startsWith(identity, '{')
		OR event_type = 'identify' AND match(concat(payload, context), 'email|phone|crm_id|\\\\'))`

type place struct {
	topic     string
	partition int32
	offset    int64
}

// second finds the events that name the person beside somebody else, on all shards.
func (p *Person) second(ctx context.Context, set *shard.Set) ([]place, error) {
	return gather(set, func(conn driver.Conn) ([]place, error) { return p.secondOn(ctx, conn, set.Local("events")) })
}

func (p *Person) secondOn(ctx context.Context, conn driver.Conn, events string) (found []place, err error) {
	nodes := make(map[uuid.UUID]event.Erasures, len(p.Nodes))
	var last time.Time
	for _, n := range p.Nodes {
		nodes[n.Node] = nodes[n.Node].With(n.Erasure)
		if n.At.After(last) {
			last = n.At
		}
	}
	rows, err := conn.Query(ctx, fmt.Sprintf(mayNameMore, events), p.Tenant, last.UnixMilli())
	if err != nil {
		return nil, fmt.Errorf("look for events that name the person beside another: %w", err)
	}
	defer rows.Close()
	var ids event.Identifiers
	for rows.Next() {
		var at place
		var r stated
		var device, identity uuid.UUID
		if err := rows.Scan(&at.topic, &at.partition, &at.offset, &device, &identity, &r.eventType, &r.anonymous, &r.identity, &r.payload, &r.context, &r.extra,
			&r.timestamp, &r.receivedAt); err != nil {
			return nil, fmt.Errorf("look for events that name the person beside another: %w", err)
		}
		covers := func(node uuid.UUID, verified bool) bool {
			return nodes[node].Covers(r.timestamp, r.receivedAt, verified)
		}
		if verified := identity != uuid.Nil; covers(device, verified) || covers(identity, verified) {
			continue // found by its nodes
		}
		e, err := r.event()
		if err != nil {
			return nil, fmt.Errorf("read event %s/%d/%d: %w", at.topic, at.partition, at.offset, err)
		}
		e.Identifiers(p.Tenant, p.Settings, &ids)
		names := func(id event.Identifier) bool { return covers(id.Node, len(ids.Verified) > 0) }
		if slices.ContainsFunc(ids.Anonymous, names) || slices.ContainsFunc(ids.Verified, names) {
			found = append(found, at)
		}
	}
	return found, rows.Err()
}

// stated is what a row says about whom its event names.
type stated struct {
	eventType, anonymous, identity, payload, context, extra string
	timestamp, receivedAt                                   time.Time
}

// event is the event again, as far as that goes.
func (r *stated) event() (*event.Event, error) {
	members := map[string]json.RawMessage{"payload": json.RawMessage(r.payload), "context": json.RawMessage(r.context)}
	text := func(name, value string) error {
		raw, err := json.Marshal(value)
		members[name] = raw
		return err
	}
	if err := text("event_type", r.eventType); err != nil {
		return nil, err
	}
	if r.anonymous != "" {
		if err := text("anonymous_id", r.anonymous); err != nil {
			return nil, err
		}
	}
	switch {
	case strings.HasPrefix(r.identity, "{"):
		members["identity"] = json.RawMessage(r.identity)
	case r.identity != "":
		if err := text("identity", r.identity); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"previous_id", "group_id"} {
		if raw := event.Member([]byte(r.extra), name); raw != nil {
			members[name] = raw
		}
	}
	if r.eventType == event.Track.String() {
		members["event_name"] = json.RawMessage(`"-"`)
	}
	raw, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	e := new(event.Event)
	limits := event.DefaultLimits()
	limits.EventBytes *= 2 // escapes may have made it longer
	limits.Depth *= 2
	return e, e.Decode(raw, limits)
}

func (p *Person) places(found []place) (all []string) {
	for some := range slices.Chunk(found, nodesAtOnce) {
		texts := make([]string, len(some))
		for i, at := range some {
			texts[i] = fmt.Sprintf("('%s', %d, %d)", strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(at.topic), at.partition, at.offset)
		}
		all = append(all, fmt.Sprintf("(tenant_id = '%s' AND (topic, partition, offset) IN (%s))", p.Tenant, strings.Join(texts, ", ")))
	}
	return all
}
