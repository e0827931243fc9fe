package chaos_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/model"
)

// expected is what must have come of a log. Two writings of the rules say so: the in-memory fold, to
// the byte, and the model, which shares no code with the processor and takes one event at a time.
type expected struct {
	fold     *applytest.Store
	model    *model.Model
	seen     []string
	position map[lane]position
}

// position is a row of processor_offsets.
type position struct {
	next    int64
	created time.Time // last created_at given
}

// expectedBatch cuts the log otherwise than the processor does.
const expectedBatch = 333

func expect(t *testing.T, log map[lane][]entry) *expected {
	t.Helper()
	settings := applytest.Settings()
	x := &expected{fold: applytest.NewStore(settings), model: model.New(nil), position: map[lane]position{}}
	values := map[uuid.UUID]event.Settings{}
	for tenant, s := range settings {
		values[tenant] = *s
	}
	seen := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() {
			fold, m := applytest.NewStore(settings), model.New(values)
			var events []apply.Event
			for i := range log[l] {
				e, err := log[l][i].event(settings)
				if err != nil {
					t.Error(err)
					return
				}
				events = append(events, e)
				m.Apply(applytest.ModelEvent(l.String(), &e))
			}
			for batch := range slices.Chunk(events, expectedBatch) {
				if _, err := fold.Apply(l.String(), batch, applytest.ProcessedAt); err != nil {
					t.Error(err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			x.add(l, fold, m, events)
			for i := range events {
				seen[seenRow(events[i].Tenant, events[i].MessageID)] = true
			}
		})
	}
	wg.Wait()
	x.seen = slices.Sorted(maps.Keys(seen))
	return x
}

// add takes in what became of one partition: worlds of its own.
func (x *expected) add(l lane, fold *applytest.Store, m *model.Model, events []apply.Event) {
	p := position{next: int64(len(events))}
	for _, profile := range fold.Profiles {
		if profile.CreatedAt.After(p.created) {
			p.created = profile.CreatedAt
		}
	}
	x.position[l] = p
	maps.Copy(x.fold.Profiles, fold.Profiles)
	maps.Copy(x.fold.Identifiers, fold.Identifiers)
	maps.Copy(x.fold.Spans, fold.Spans)
	maps.Copy(x.fold.Orders, fold.Orders)
	maps.Copy(x.fold.Products, fold.Products)
	x.fold.Merges = append(x.fold.Merges, fold.Merges...)
	x.fold.Conflicts = append(x.fold.Conflicts, fold.Conflicts...)
	x.fold.Lineage = append(x.fold.Lineage, fold.Lineage...)
	maps.Copy(x.model.Profiles, m.Profiles)
	maps.Copy(x.model.Identifiers, m.Identifiers)
	maps.Copy(x.model.Orders, m.Orders)
	maps.Copy(x.model.Products, m.Products)
	x.model.Merges = append(x.model.Merges, m.Merges...)
	x.model.Conflicts = append(x.model.Conflicts, m.Conflicts...)
	x.model.Lineage = append(x.model.Lineage, m.Lineage...)
}

// seenRow is a message's row in message_ids.
func seenRow(tenant uuid.UUID, messageID string) string {
	sum := sha256.Sum256(append(tenant[:], messageID...))
	return uuid.UUID(sum[:16]).String()
}

// diffFold compares to the byte. Both sides lose what the processor's clock said, and the order of
// occurrences, which the tables do not keep.
func diffFold(want, got *applytest.Store) string {
	for _, s := range []*applytest.Store{want, got} {
		withoutClock(s)
		inOrder(s.Merges, func(m apply.Merge) string { return m.Tenant.String() + m.MergeID.String() })
		inOrder(s.Lineage, func(l apply.Lineage) string { return fmt.Sprintf("%s %s %20d", l.Tenant, l.ProfileID, l.Version) })
		slices.SortFunc(s.Conflicts, func(a, b conflict) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	}
	return unnumbered(want.Diff(got))
}

// numbered is a row that is known by its place in a list: one that is missing would make all that
// follow differ.
var numbered = regexp.MustCompile(`^([-+] \["\w+",)\d+,`)

// unnumbered keeps of a difference the rows that differ in more than their place.
func unnumbered(diff string) string {
	n := map[string]int{}
	for line := range strings.Lines(diff) {
		line = numbered.ReplaceAllString(line, "$1")
		if line[0] == '-' {
			n[line[2:]]--
		} else {
			n[line[2:]]++
		}
	}
	var b strings.Builder
	for _, row := range slices.Sorted(maps.Keys(n)) {
		switch {
		case n[row] < 0:
			b.WriteString("- " + row)
		case n[row] > 0:
			b.WriteString("+ " + row)
		}
	}
	return b.String()
}

func inOrder[T any](s []T, key func(T) string) {
	slices.SortFunc(s, func(a, b T) int { return strings.Compare(key(a), key(b)) })
}

func withoutClock(s *applytest.Store) {
	for id, p := range s.Profiles {
		p.UpdatedAt = fixed(p.UpdatedAt)
		s.Profiles[id] = p
	}
	for i := range s.Merges {
		m := &s.Merges[i]
		m.MergedAt, m.Winner.UpdatedAt, m.Loser.UpdatedAt = fixed(m.MergedAt), fixed(m.Winner.UpdatedAt), fixed(m.Loser.UpdatedAt)
	}
	for i := range s.Lineage {
		for j := range s.Lineage[i].Changes {
			c := &s.Lineage[i].Changes[j]
			c.ProcessedAt = fixed(c.ProcessedAt)
		}
	}
}

// fixed keeps whether there is a time.
func fixed(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return applytest.ProcessedAt
}

// diffModel compares in the terms of the model.
func diffModel(want, got *model.Model) string {
	for _, m := range []*model.Model{want, got} {
		inOrder(m.Merges, func(x model.Merge) string { return fmt.Sprint(x.Tenant, x.Cause, x.Loser) })
		inOrder(m.Conflicts, func(x model.Conflict) string { return fmt.Sprint(x) })
	}
	return model.Diff(want, got)
}

// head is the first lines of a difference, which may be long.
func head(diff string) string {
	const most = 20
	lines := strings.Split(diff, "\n")
	if len(lines) <= most {
		return diff
	}
	return strings.Join(lines[:most], "\n") + fmt.Sprintf("\n… and %d lines more", len(lines)-most)
}
