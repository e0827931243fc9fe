package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

var (
	explainProfile   = sql.Statement("explain_profile")
	explainCreator   = sql.Statement("explain_creator")
	explainMerges    = sql.Statement("explain_merges")
	explainConflicts = sql.Statement("explain_conflicts")
	explainLineage   = sql.Statement("explain_lineage")
)

// ErrUnknownProfile says that a tenant has no profile of that id.
var ErrUnknownProfile = errors.New("no such profile")

// MergeRow is a merge with the time when it was taken back, if it was.
type MergeRow struct {
	event.Merge
	UndoneAt *time.Time `json:"undone_at,omitempty"`
}

// Explained is what the store knows of one live profile. Its parts are read one after the other: they
// fit each other as long as nothing is processed.
type Explained struct {
	Profile *ProfileRow
	// Asked is the tombstone that was asked for, if it was one: Profile is what it went into.
	Asked *ProfileRow
	// CreatedBy is the identifier that made the profile, whoever owns it now.
	CreatedBy *IdentifierRow
	// Spans are the identifiers it owns and those it owned, by kind and value, oldest first.
	Spans []IdentifierRow
	// Merges that made the profile what it is, whether directly or of those who went into it, and
	// those taken back, in their order.
	Merges []MergeRow
}

// Explain reads one profile, or what it went into.
func (s *Store) Explain(ctx context.Context, tenant, profile uuid.UUID) (x Explained, err error) {
	if x.Profile, err = s.profile(ctx, tenant, profile); err != nil {
		return x, err
	}
	if into := x.Profile.MergedInto; into != nil {
		x.Asked = x.Profile
		if x.Profile, err = s.profile(ctx, tenant, *into); err != nil {
			return x, err
		}
	}
	id := x.Profile.ProfileID
	creator, err := read(ctx, s, "the creating identifier", scanIdentifier, explainCreator, tenant, id)
	if err != nil {
		return x, err
	}
	for i := range creator {
		creator[i].Current = true
		x.CreatedBy = &creator[i]
	}
	if x.Spans, err = s.spans(ctx, tenant, id); err != nil {
		return x, err
	}
	x.Merges, err = s.mergesOf(ctx, tenant, id)
	return x, err
}

// Owner is the profile that an identifier belongs to now. ErrUnknownProfile: there is no such identifier.
func (s *Store) Owner(ctx context.Context, tenant, node uuid.UUID) (uuid.UUID, error) {
	rows, err := read(ctx, s, "the identifier", scanIdentifier, explainCreator, tenant, node)
	if err != nil {
		return uuid.Nil, err
	}
	if len(rows) == 0 {
		return uuid.Nil, fmt.Errorf("%w: nobody is called that", ErrUnknownProfile)
	}
	return rows[0].ProfileID, nil
}

func (s *Store) profile(ctx context.Context, tenant, id uuid.UUID) (*ProfileRow, error) {
	rows, err := read(ctx, s, "the profile", scanProfile, explainProfile, tenant, id)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnknownProfile, id)
	}
	return rows[0], s.name(ctx, tenant, rows)
}

// spans are what a profile owns now and what it owned.
func (s *Store) spans(ctx context.Context, tenant, id uuid.UUID) ([]IdentifierRow, error) {
	of := uuids{uuidElement(id)}
	scan := func(current bool) func(pgx.CollectableRow, *IdentifierRow) error {
		return func(r pgx.CollectableRow, i *IdentifierRow) error {
			var from time.Time
			columns := []any{nil, &i.Node, &i.Kind, &i.Value, &i.ProfileID, &from, &i.Version}
			if current {
				columns = append(columns, nil) // what is erased of its history
			}
			err := r.Scan(columns...)
			i.ValidFrom, i.Current = known(from), current
			return err
		}
	}
	tenants := uuids{uuidElement(tenant)}
	all, err := read(ctx, s, "identifiers", scan(true), identifierOfProfile, tenants, of)
	if err != nil {
		return nil, err
	}
	former, err := read(ctx, s, "spans", scan(false), spanOfProfile, tenants, of)
	if err != nil {
		return nil, err
	}
	all = append(all, former...)
	slices.SortFunc(all, compareSpans)
	return all, nil
}

func compareSpans(a, b IdentifierRow) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Value, b.Value), start(a).Compare(start(b)))
}

// start is the zero time where a span goes back for ever.
func start(i IdentifierRow) (at time.Time) {
	if i.ValidFrom != nil {
		at = *i.ValidFrom
	}
	return at
}

func (s *Store) mergesOf(ctx context.Context, tenant, id uuid.UUID) ([]MergeRow, error) {
	all, err := read(ctx, s, "merges", func(r pgx.CollectableRow, m *MergeRow) error {
		var body []byte
		if err := r.Scan(&body, &m.UndoneAt); err != nil {
			return err
		}
		return json.Unmarshal(body, &m.Merge)
	}, explainMerges, tenant, id)
	// Of one batch they have one time; then the winner's version tells.
	slices.SortFunc(all, func(a, b MergeRow) int {
		return cmp.Or(a.MergedAt.Compare(b.MergedAt), cmp.Compare(a.Winner.Version, b.Winner.Version))
	})
	return all, err
}

// ConflictsOf are what events stated of profiles or of identifiers and was refused, oldest first: of more than limit,
// the newest.
func (s *Store) ConflictsOf(ctx context.Context, tenant uuid.UUID, profiles, nodes []uuid.UUID, limit int) ([]ConflictRow, error) {
	all, err := read(ctx, s, "conflicts", scanConflict, explainConflicts, tenant, uuidColumn(profiles), uuidColumn(nodes), int64(limit))
	slices.Reverse(all)
	return all, err
}

// LineageOf is every change of one profile's attributes, oldest first. An error ends the sequence.
func (s *Store) LineageOf(ctx context.Context, tenant, profile uuid.UUID) iter.Seq2[event.AttributeChange, error] {
	var version int64
	versions := pages(s.cfg.ReadPage, func() ([][]event.AttributeChange, error) {
		return read(ctx, s, "lineage", func(r pgx.CollectableRow, changes *[]event.AttributeChange) error {
			var text []byte
			if err := r.Scan(&version, &text); err != nil {
				return err
			}
			return json.Unmarshal(text, changes)
		}, explainLineage, tenant, profile, version, int64(s.cfg.ReadPage))
	})
	return func(yield func(event.AttributeChange, error) bool) {
		for changes, err := range versions {
			if err != nil {
				yield(event.AttributeChange{}, err)
				return
			}
			for _, c := range changes {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}
