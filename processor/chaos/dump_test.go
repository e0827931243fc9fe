package chaos_test

import (
	"context"
	"testing"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

type conflict = identity.Conflict

// each reads all rows of a statement of the tests' own: nothing of processor/store is trusted here. It
// looks on, and is not to conflict with anybody.
func each(t *testing.T, pool *pgxpool.Pool, statement string, scan func(pgx.Rows) error) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	rows, err := tx.Query(ctx, statement)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}
}

// dump reads the whole state.
func dump(t *testing.T, pool *pgxpool.Pool) *applytest.Store {
	t.Helper()
	s := applytest.NewStore(applytest.Settings())
	dumpPeople(t, pool, s)
	dumpCommerce(t, pool, s)
	dumpHistory(t, pool, s)
	return s
}

func dumpPeople(t *testing.T, pool *pgxpool.Pool, s *applytest.Store) {
	t.Helper()
	each(t, pool, `SELECT tenant_id, profile_id, kind, attributes, first_seen, last_seen, event_count, track_count, page_count, identify_count,
		attributes_at, version, created_at, updated_at, merged_into, owned, spans, orders FROM profiles`, func(r pgx.Rows) error {
		var p identity.Profile
		var attributes, owned string
		var into *uuid.UUID
		err := r.Scan(&p.Tenant, &p.ID, (*string)(&p.Kind), &attributes, &p.FirstSeen, &p.LastSeen, &p.EventCount, &p.TrackCount, &p.PageCount,
			&p.IdentifyCount, &p.AttributesAt, &p.Version, &p.CreatedAt, &p.UpdatedAt, &into, &owned, &p.Spans, &p.Orders)
		if err != nil {
			return err
		}
		if into != nil {
			p.MergedInto = *into
		}
		if p.Attributes, err = attribute.Parse([]byte(attributes)); err != nil {
			return err
		}
		p.Owned, err = identity.ParseCounts(owned)
		s.Profiles[p.ID] = p
		return err
	})
	each(t, pool, `SELECT tenant_id, node_id, kind, value, profile_id, valid_from, version FROM identifiers`, func(r pgx.Rows) error {
		var i identity.Identifier
		err := r.Scan(&i.Tenant, &i.Node, &i.Kind, &i.Value, &i.ProfileID, &i.ValidFrom, &i.Version)
		s.Identifiers[i.Node] = i
		return err
	})
	each(t, pool, `SELECT tenant_id, node_id, kind, value, profile_id, valid_from, version FROM identifier_spans`, func(r pgx.Rows) error {
		var x identity.Span
		err := r.Scan(&x.Tenant, &x.Node, &x.Kind, &x.Value, &x.ProfileID, &x.ValidFrom, &x.Version)
		s.Spans[applytest.SpanKey{Node: x.Node, From: x.ValidFrom}] = x
		return err
	})
}

func dumpCommerce(t *testing.T, pool *pgxpool.Pool, s *applytest.Store) {
	t.Helper()
	each(t, pool, `SELECT tenant_id, order_id, profile_id, status, items, total, currency, tax, shipping, discount, coupon,
		first_event, last_event, completed_at, version FROM orders`, func(r pgx.Rows) error {
		var tenant uuid.UUID
		var o event.OrderState
		var items []byte
		err := r.Scan(&tenant, &o.OrderID, &o.ProfileID, &o.Status, &items, &o.Total, &o.Currency, &o.Tax, &o.Shipping, &o.Discount, &o.Coupon,
			&o.FirstEvent, &o.LastEvent, &o.CompletedAt, &o.Version)
		if err != nil {
			return err
		}
		err = json.Unmarshal(items, &o.Items)
		s.Orders[apply.OrderKey{Tenant: tenant, ID: o.OrderID}] = o
		return err
	})
	each(t, pool, `SELECT tenant_id, product_id, name, price, category, skeleton, first_seen, version FROM products`, func(r pgx.Rows) error {
		var tenant uuid.UUID
		var p event.ProductState
		err := r.Scan(&tenant, &p.ProductID, &p.Name, &p.Price, &p.Category, &p.Skeleton, &p.FirstSeen, &p.Version)
		s.Products[apply.ProductKey{Tenant: tenant, ID: p.ProductID}] = p
		return err
	})
}

func dumpHistory(t *testing.T, pool *pgxpool.Pool, s *applytest.Store) {
	t.Helper()
	each(t, pool, `SELECT tenant_id, body FROM profile_merges WHERE undone_at IS NULL`, func(r pgx.Rows) error {
		var m apply.Merge
		var body []byte
		if err := r.Scan(&m.Tenant, &body); err != nil {
			return err
		}
		s.Merges = append(s.Merges, m)
		return json.Unmarshal(body, &s.Merges[len(s.Merges)-1].Merge)
	})
	each(t, pool, `SELECT tenant_id, profile_id, version, changes FROM attribute_changes`, func(r pgx.Rows) error {
		var l apply.Lineage
		var changes []byte
		if err := r.Scan(&l.Tenant, &l.ProfileID, &l.Version, &changes); err != nil {
			return err
		}
		err := json.Unmarshal(changes, &l.Changes)
		s.Lineage = append(s.Lineage, l)
		return err
	})
	each(t, pool, `SELECT tenant_id, conflict_id, message_id, profile_id, reason, node_id, kind, value, limit_kind, other_id, event_time, received_at
		FROM identity_conflicts`, func(r pgx.Rows) error {
		var c conflict
		err := r.Scan(&c.Tenant, &c.ID, &c.MessageID, &c.ProfileID, (*string)(&c.Reason), &c.Node, &c.Kind, &c.Value, &c.LimitKind, &c.Other,
			&c.EventTime, &c.ReceivedAt)
		s.Conflicts = append(s.Conflicts, c)
		return err
	})
}

func dumpSeen(t *testing.T, pool *pgxpool.Pool) (rows []string) {
	t.Helper()
	each(t, pool, `SELECT message_hash FROM message_ids`, func(r pgx.Rows) error {
		var hash uuid.UUID
		err := r.Scan(&hash)
		rows = append(rows, hash.String())
		return err
	})
	return rows
}

// owned is a row of processor_offsets, and whose it is.
type owned struct {
	position
	epoch int64
	owner string
}

func dumpPositions(t *testing.T, pool *pgxpool.Pool) map[lane]owned {
	t.Helper()
	all := map[lane]owned{}
	each(t, pool, `SELECT topic, part, next_offset, last_created_at, epoch, owner FROM processor_offsets`, func(r pgx.Rows) error {
		var l lane
		var o owned
		err := r.Scan(&l.topic, &l.partition, &o.next, &o.created, &o.epoch, &o.owner)
		all[l] = o
		return err
	})
	return all
}

func count(t *testing.T, pool *pgxpool.Pool, table string) (n int) {
	t.Helper()
	each(t, pool, `SELECT count(*) FROM `+table, func(r pgx.Rows) error { return r.Scan(&n) })
	return n
}
