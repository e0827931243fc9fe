package sink

import (
	"context"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// erased is who was erased (ADR 3), as the table erasures had it at one time. The sink leaves their records
// out, from whatever place of the log it reads. All of it is in memory: some 100 bytes for an identifier.
// It is not changed once it is made.
type erased struct {
	rows     uint64 // of the table
	tenants  map[uuid.UUID]struct{}
	nodes    map[tenantID]event.Erasures
	profiles map[tenantID]struct{}
}

type tenantID struct{ tenant, id uuid.UUID }

// concerns tells whether anybody of a tenant is erased. Where nobody is, this is all it costs.
func (e *erased) concerns(tenant uuid.UUID) bool {
	if e == nil || len(e.tenants) == 0 {
		return false
	}
	_, ok := e.tenants[tenant]
	return ok
}

// of tells which profiles of a tenant are erased.
func (e *erased) of(tenant uuid.UUID) func(uuid.UUID) bool {
	return func(profile uuid.UUID) bool {
		_, gone := e.profiles[tenantID{tenant, profile}]
		return gone
	}
}

// erased tells whether the event that was decoded last, into r, is one of somebody's who is erased. Beside
// the two nodes of a row it looks at all whom the event can name; the sink does not know the tenant's
// settings, and takes the widest: a trait that the tenant does not promote names somebody too.
func (d *decoder) erased(r *row, e *erased) bool {
	verified := r.identityNode != uuid.Nil
	gone := func(node uuid.UUID) bool {
		return e.nodes[tenantID{r.tenant, node}].Covers(r.timestamp, r.receivedAt, verified)
	}
	if gone(r.profileNode) || gone(r.identityNode) {
		return true
	}
	settings := d.settings
	settings.Kinds = kindsOf(d.event.Identity)
	d.event.Identifiers(r.tenant, &settings, &d.ids)
	for _, list := range [...][]event.Identifier{d.ids.Anonymous, d.ids.Verified} {
		for i := range list {
			if gone(list[i].Node) {
				return true
			}
		}
	}
	return false
}

// kindsOf are the kinds that an identity in object form states.
func kindsOf(identity []byte) (kinds []string) {
	if jsonscan.KindOf(identity) != jsonscan.Object {
		return nil
	}
	var m jsonscan.Members
	m.Reset(identity, len(identity))
	for m.Next() && len(kinds) < event.MaxTenantKinds {
		kinds = append(kinds, string(m.Key()))
	}
	return kinds
}

// loadErased reads the table. One query sees one state of it.
func loadErased(ctx context.Context, conn driver.Conn) (*erased, error) {
	rows, err := conn.Query(ctx, "SELECT tenant_id, what, id, valid_from, valid_until, erased_until FROM erasures")
	if err != nil {
		return nil, fmt.Errorf("read who was erased: %w", err)
	}
	defer rows.Close()
	e := &erased{tenants: map[uuid.UUID]struct{}{}, nodes: map[tenantID]event.Erasures{}, profiles: map[tenantID]struct{}{}}
	for rows.Next() {
		var key tenantID
		var what string
		var x event.Erasure
		if err := rows.Scan(&key.tenant, &what, &key.id, &x.From, &x.Until, &x.At); err != nil {
			return nil, fmt.Errorf("read who was erased: %w", err)
		}
		e.rows++
		e.tenants[key.tenant] = struct{}{}
		if what == "profile" {
			e.profiles[key] = struct{}{}
			continue
		}
		x.From, x.Until = schema.RowTime(x.From), schema.RowTime(x.Until)
		e.nodes[key] = e.nodes[key].With(x)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read who was erased: %w", err)
	}
	return e, nil
}

// learnErasures reads who was erased, if there is more than is known.
func (s *Sink) learnErasures(ctx context.Context) error {
	set, err := s.servers.Get(ctx)
	if err != nil {
		return err
	}
	var rows uint64
	if err := set.First().QueryRow(ctx, "SELECT count() FROM erasures").Scan(&rows); err != nil {
		return fmt.Errorf("count who was erased: %w", err)
	}
	if rows == s.erased.Load().rows {
		return nil
	}
	e, err := loadErased(ctx, set.First())
	if err != nil {
		return err
	}
	// The rebalance and the saver both come here: what one of them knows is not forgotten.
	for old := s.erased.Load(); e.rows > old.rows; old = s.erased.Load() {
		if s.erased.CompareAndSwap(old, e) {
			break
		}
	}
	return nil
}

// vouch is what a member of the group says of itself.
type vouch struct {
	member string
	rows   uint64
}

// followErasures learns who was erased, and says so once no lane can insert without knowing it.
func (s *Sink) followErasures(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.InsertTimeout)
	defer cancel()
	if err := s.learnErasures(ctx); err != nil {
		return err
	}
	now := vouch{rows: s.erased.Load().rows}
	now.member, _ = s.client.GroupMetadata()
	// A lane that is opened after this knows more, not less.
	for _, l := range s.lanesNow() {
		if known := l.knows.Load(); known < now.rows {
			now.rows = known
			l.nudge()
		}
	}
	if now.member == "" || now.rows == 0 || now == s.vouched {
		return nil
	}
	set, err := s.servers.Get(ctx)
	if err != nil {
		return err
	}
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	if err := set.First().Exec(ctx, "INSERT INTO sink_erasures (member, erasures, updated_at) VALUES ($1, $2, $3)", now.member, now.rows, s.now()); err != nil {
		return fmt.Errorf("say what is known of erasures: %w", err)
	}
	s.vouched = now
	return nil
}
