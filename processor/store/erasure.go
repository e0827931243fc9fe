package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	erasureSave = sql.Statement("erasure_save")
	erasureList = sql.Statement("erasure_list")
)

// How far an erasure has come. What is stored is in force: no event of the person is applied any more.
const (
	ErasureStored    = "stored"    // the state store has nothing of the person
	ErasureAnnounced = "announced" // and every sink knows
	ErasureRemoved   = "removed"   // and ClickHouse has nothing of the person
	ErasureDone      = "done"      // and nothing is on its way
)

// Erasure is one person erased, and the receipt of it. Everybody in it is told by hashes.
type Erasure struct {
	ErasureID  uuid.UUID        `json:"erasure_id"`
	TenantID   uuid.UUID        `json:"tenant_id"`
	State      string           `json:"state"`
	StartedAt  time.Time        `json:"started_at"`
	FinishedAt *time.Time       `json:"finished_at,omitempty"`
	Until      time.Time        `json:"until"`   // the last event time that is erased
	Forever    bool             `json:"forever"` // nothing that names them is taken again, whenever it happens
	Profiles   []uuid.UUID      `json:"profiles"`
	Nodes      []ErasedNode     `json:"nodes"`
	StateStore map[string]int64 `json:"state_store"` // rows removed or emptied, by table
	ClickHouse map[string]int64 `json:"clickhouse"`  // rows removed, by table
	Remains    []Remainder      `json:"remains"`     // what nobody can edit, and until when it is there
}

// ErasedNode is an identifier, and the part of its history that is erased.
type ErasedNode struct {
	Node uuid.UUID `json:"node"`
	event.Erasure
}

// Remainder is a place where the person's data stays until it goes by itself.
type Remainder struct {
	Where string     `json:"where"`
	Until *time.Time `json:"until,omitempty"` // absent: not known, see why
	Why   string     `json:"why"`
}

// Names tells whether an erasure is about an identifier or a profile.
func (e *Erasure) Names(id uuid.UUID) bool {
	return slices.Contains(e.Profiles, id) || slices.ContainsFunc(e.Nodes, func(n ErasedNode) bool { return n.Node == id })
}

// byNode is what is erased of each identifier.
func (e *Erasure) byNode() map[uuid.UUID][]event.Erasure {
	by := make(map[uuid.UUID][]event.Erasure, len(e.Nodes))
	for _, n := range e.Nodes {
		by[n.Node] = append(by[n.Node], n.Erasure)
	}
	return by
}

func (e *Erasure) queue(batch *pgx.Batch) error {
	text, err := json.MarshalWithOption(e, json.DisableHTMLEscape())
	if err != nil {
		return fmt.Errorf("write the receipt: %w", err)
	}
	batch.Queue(erasureSave, e.TenantID, e.ErasureID, e.State, string(text), e.StartedAt)
	return nil
}

// SaveErasure keeps how far an erasure has come.
func (s *Store) SaveErasure(ctx context.Context, e *Erasure) error {
	_, err := s.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		batch := tx.Batch()
		if err := e.queue(batch); err != nil {
			return err
		}
		return tx.Send(ctx, batch)
	})
	if err != nil {
		return fmt.Errorf("save erasure %s: %w", e.ErasureID, err)
	}
	return nil
}

// Erasures are a tenant's, oldest first.
func (s *Store) Erasures(ctx context.Context, tenant uuid.UUID) ([]*Erasure, error) {
	return read(ctx, s, "erasures", func(r pgx.CollectableRow, e **Erasure) error {
		var text []byte
		if err := r.Scan(&text); err != nil {
			return err
		}
		*e = new(Erasure)
		return json.Unmarshal(text, *e)
	}, erasureList, tenant)
}
