// Package erase removes one person from ClickHouse: it tells the sinks whom they must not write any more,
// waits until none of them can, and removes the rows, from the disk too (ADR 3). Whom a row is about it
// tells by hashes alone, so that nothing of the person is in the server's logs of queries either.
//
// Each step can be run again, and finds less to do. The connections are the caller's.
package erase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Node is an identifier, and the part of its history that is erased.
type Node struct {
	Node uuid.UUID
	event.Erasure
}

// Person is who is erased.
type Person struct {
	Tenant   uuid.UUID
	Erasure  uuid.UUID
	Profiles []uuid.UUID
	Nodes    []Node
	Settings *event.Settings // of the tenant: whom an event names
	At       time.Time       // when it was announced first; of Announced only
}

// Announce writes down what the sinks must leave out, and answers how many rows of erasures a sink has
// to know that knows it.
func Announce(ctx context.Context, conn driver.Conn, p *Person, now time.Time) (rows uint64, err error) {
	var there uint64
	if err := conn.QueryRow(ctx, "SELECT count() FROM erasures WHERE erasure_id = $1", p.Erasure).Scan(&there); err != nil {
		return 0, fmt.Errorf("look for erasure %s: %w", p.Erasure, err)
	}
	if there < uint64(len(p.Profiles)+len(p.Nodes)) {
		if err := announce(ctx, conn, p, now); err != nil {
			return 0, fmt.Errorf("announce erasure %s: %w", p.Erasure, err)
		}
	}
	if err := conn.QueryRow(ctx, "SELECT count() FROM erasures").Scan(&rows); err != nil {
		return 0, fmt.Errorf("count who was erased: %w", err)
	}
	return rows, nil
}

func announce(ctx context.Context, conn driver.Conn, p *Person, now time.Time) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"async_insert": 0}))
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO erasures (tenant_id, erasure_id, what, id, valid_from, valid_until, erased_until, added_at)")
	if err != nil {
		return err
	}
	defer func() {
		if !batch.IsSent() {
			_ = batch.Abort() // the error that stopped us is the one to tell
		}
	}()
	never := time.Unix(0, 0).UTC()
	for _, id := range p.Profiles {
		if err := batch.Append(p.Tenant, p.Erasure, "profile", id, never, never, never, now); err != nil {
			return err
		}
	}
	for _, n := range p.Nodes {
		if err := batch.Append(p.Tenant, p.Erasure, "node", n.Node, schema.ColumnTime(n.From), schema.ColumnTime(n.Until), n.At, now); err != nil {
			return err
		}
	}
	return batch.Send()
}

// awaitPoll is how often Await asks. The sinks speak every second or so.
const awaitPoll = 200 * time.Millisecond

// Await waits until no member of the sinks' group can write anybody who is in the first rows of erasures.
// One that joins later reads them before it writes.
func Await(ctx context.Context, conn driver.Conn, admin *kadm.Client, group string, rows uint64) error {
	var silent []string // when they were asked last
	for {
		now, err := ignorant(ctx, conn, admin, group, rows)
		if err == nil {
			if silent = now; len(silent) == 0 {
				return nil
			}
		}
		select {
		case <-time.After(awaitPoll):
		case <-ctx.Done():
			if len(silent) > 0 {
				return fmt.Errorf("sinks of group %s did not say that they know of the erasure: %s", group, strings.Join(silent, ", "))
			}
			return fmt.Errorf("ask the sinks of group %s: %w", group, errors.Join(ctx.Err(), err))
		}
	}
}

// ignorant are the members that have not said yet that they know so many rows.
func ignorant(ctx context.Context, conn driver.Conn, admin *kadm.Client, group string, rows uint64) ([]string, error) {
	groups, err := admin.DescribeGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	g := groups[group]
	switch {
	case errors.Is(g.Err, kerr.GroupIDNotFound): // there never was one
		return nil, nil
	case g.Err != nil:
		return nil, g.Err
	case g.State == "Empty", g.State == "Dead":
		return nil, nil
	case g.State != "Stable":
		return []string{"the group is " + g.State}, nil // who is in it will be known in a moment
	}
	var members []string
	for _, m := range g.Members {
		members = append(members, m.MemberID)
	}
	if len(members) == 0 {
		return nil, nil
	}
	said, err := conn.Query(ctx, "SELECT member FROM sink_erasures WHERE member IN $1 AND erasures >= $2", members, rows)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	for said.Next() {
		var member string
		if err := said.Scan(&member); err != nil {
			return nil, err
		}
		members = slices.DeleteFunc(members, func(m string) bool { return m == member })
	}
	return members, said.Err()
}

// Announced are a tenant's erasures as ClickHouse knows them.
func Announced(ctx context.Context, conn driver.Conn, tenant uuid.UUID) ([]*Person, error) {
	rows, err := conn.Query(ctx, `
SELECT DISTINCT erasure_id, what, id, valid_from, valid_until, erased_until, min(added_at) OVER (PARTITION BY erasure_id) AS first
FROM erasures WHERE tenant_id = $1 ORDER BY first, erasure_id, what, id`, tenant)
	if err != nil {
		return nil, fmt.Errorf("read who was erased: %w", err)
	}
	defer rows.Close()
	var all []*Person
	for rows.Next() {
		p, n := &Person{Tenant: tenant}, Node{}
		var what string
		if err := rows.Scan(&p.Erasure, &what, &n.Node, &n.From, &n.Until, &n.At, &p.At); err != nil {
			return nil, fmt.Errorf("read who was erased: %w", err)
		}
		if k := len(all); k > 0 && all[k-1].Erasure == p.Erasure {
			p = all[k-1]
		} else {
			all = append(all, p)
		}
		if what == "profile" {
			p.Profiles = append(p.Profiles, n.Node)
			continue
		}
		n.From, n.Until = schema.RowTime(n.From), schema.RowTime(n.Until)
		p.Nodes = append(p.Nodes, n)
	}
	return all, rows.Err()
}
