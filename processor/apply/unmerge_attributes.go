package apply

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/attribute"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// attributes gives the loser its attributes back and takes from Live, and from the tombstones in
// between, the leaves which came from the loser and have not changed since. Whatever is taken is taken
// by lineage, so that folding it goes on giving the attributes.
func (m *unmerger) attributes() error {
	if err := m.restore(); err != nil {
		return err
	}
	given := map[string]attribute.Change{} // by the merge, on the profile at hand
	had := []*attribute.Document{}         // what those who got it had before: objects that are their own
	winner, before := m.Merge.WinnerID, &m.Merge.Winner
	for n := 0; ; n++ {
		document, err := attribute.Parse(before.Attributes)
		if err != nil {
			return fmt.Errorf("undo merge %s: %w", m.Merge.MergeID, err)
		}
		had = append(had, &document)
		merged, since := split(m.Lineage[winner], before.Version+1)
		if n == 0 {
			given = merged
		} else {
			given = m.passedOn(given, merged)
		}
		m.unchanged(given, since)
		if n == len(m.out.Later) {
			return m.take(m.Live, &m.Live.Attributes, given, had)
		}
		later := &m.out.Later[n]
		if err := m.takePassed(later, given, had); err != nil {
			return err
		}
		winner, before = later.WinnerID, &later.Winner
	}
}

// restore needs no lineage to make the fold right: the tombstone's ends where it died. The rows tell
// that it has its attributes again, as long as their paths are not too long to be told at once.
func (m *unmerger) restore() error {
	document, err := attribute.Parse(m.Merge.Loser.Attributes)
	if err != nil {
		return fmt.Errorf("undo merge %s: %w", m.Merge.MergeID, err)
	}
	var fresh attribute.Document
	changes, err := fresh.Apply(attribute.Patch{Traits: document.Text()}, m.noLimits())
	if refused(err) {
		changes = nil
	}
	m.Loser.Attributes = document
	m.lineage(m.Loser, changes)
	return nil
}

func (m *unmerger) noLimits() attribute.Limits {
	l := attribute.DefaultLimits()
	l.Bytes, l.Leaves, l.Depth = max(l.Bytes, len(m.Merge.Loser.Attributes)), 1<<30, 1<<30
	return l
}

// takePassed amends the record of a later merge: should it be taken back too, its loser must not get
// what has left now.
func (m *unmerger) takePassed(later *event.Merge, given map[string]attribute.Change, had []*attribute.Document) error {
	tombstone := m.Passed[later.LoserID]
	if tombstone == nil {
		return fmt.Errorf("undo merge %s: tombstone %s is not loaded", m.Merge.MergeID, later.LoserID)
	}
	document, err := attribute.Parse(later.Loser.Attributes)
	if err != nil {
		return fmt.Errorf("undo merge %s: %w", m.Merge.MergeID, err)
	}
	tombstone.Version++
	tombstone.UpdatedAt = m.now
	m.out.Profiles = append(m.out.Profiles, tombstone)
	if err := m.take(tombstone, &document, given, had); err != nil {
		return err
	}
	later.Loser.Attributes = document.Text()
	return nil
}

func (m *unmerger) take(p *identity.Profile, from *attribute.Document, given map[string]attribute.Change, had []*attribute.Document) error {
	var changes []attribute.Change
	for _, path := range paths(given) {
		changes = append(changes, given[path])
	}
	taken, err := from.Revert(changes, had...)
	if err != nil {
		return fmt.Errorf("undo merge %s: %w", m.Merge.MergeID, err)
	}
	m.lineage(p, taken)
	if p == m.Live {
		for _, c := range taken {
			m.out.Report.Attributes = append(m.out.Report.Attributes, c.Path)
		}
	}
	return nil
}

// split tells a merge's own changes, by path, from those since.
func split(rows []event.AttributeChange, version int64) (merged map[string]attribute.Change, since []event.AttributeChange) {
	merged = map[string]attribute.Change{}
	for _, r := range rows {
		switch {
		case r.Version == version && r.CauseKind == causeMerge:
			merged[r.Path] = attribute.Change{Path: r.Path, Op: attribute.Op(r.Op), Old: r.Old, New: r.New}
		case r.Version > version:
			since = append(since, r)
		}
	}
	return merged, since
}

// passedOn is what of the loser's went on with the winner to the next: leaves it lacked.
func (m *unmerger) passedOn(given, merged map[string]attribute.Change) map[string]attribute.Change {
	next := map[string]attribute.Change{}
	for _, path := range paths(given) {
		c, ok := merged[path]
		switch {
		case !ok: // the next had a value of its own, which won
		case c.Op == attribute.Add && bytes.Equal(c.New, given[path].New):
			next[path] = given[path]
		default:
			m.keep("attribute", path, keptMixed)
		}
	}
	return next
}

// unchanged leaves in given only what no later change concerned. A change by a merge that was taken
// back since does not count, nor does the restoring of a profile that was gone in between.
func (m *unmerger) unchanged(given map[string]attribute.Change, since []event.AttributeChange) {
	under := map[string][]string{} // paths of given, by each pointer above them
	for path := range given {
		for above := range pointersAbove(path) {
			under[above] = append(under[above], path)
		}
	}
	changed, before := map[string]bool{}, map[string]bool{}
	for i := range since {
		r := &since[i]
		if r.CauseKind == causeEvent {
			m.out.Report.Learned = append(m.out.Report.Learned, r.Path)
		}
		if c, ok := given[r.Path]; ok {
			switch {
			case r.CauseKind == causeMerge:
				before[r.Path] = changed[r.Path]
				changed[r.Path] = true
			case r.CauseKind == causeUnmerge && bytes.Equal(r.New, c.New):
				if was, ok := before[r.Path]; ok {
					changed[r.Path] = was
					delete(before, r.Path)
				}
			default:
				changed[r.Path] = true
			}
		}
		for _, path := range under[r.Path] {
			changed[path] = true
		}
		for above := range pointersAbove(r.Path) {
			if _, ok := given[above]; ok {
				changed[above] = true
			}
		}
	}
	for _, path := range paths(given) {
		if changed[path] {
			m.keep("attribute", path, keptChanged)
			delete(given, path)
		}
	}
}

// pointersAbove are the pointers to the objects around a path.
func pointersAbove(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for at := strings.LastIndexByte(path, '/'); at > 0; at = strings.LastIndexByte(path[:at], '/') {
			if !yield(path[:at]) {
				return
			}
		}
	}
}
