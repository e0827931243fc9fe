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

// unchanged leaves in given only what no later change concerned. What other unmerges did since does
// not count as one: they took back what came after, or a part of what is given.
func (m *unmerger) unchanged(given map[string]attribute.Change, since []event.AttributeChange) {
	w := watcher{given: given, under: map[string][]string{}, changed: map[string]bool{}, before: map[string]bool{}}
	for path := range given {
		for above := range pointersAbove(path) {
			w.under[above] = append(w.under[above], path)
		}
	}
	for i := range since {
		if since[i].CauseKind == causeEvent {
			m.out.Report.Learned = append(m.out.Report.Learned, since[i].Path)
		}
		w.see(&since[i])
	}
	for _, path := range paths(given) {
		if w.changed[path] {
			m.keep("attribute", path, keptChanged)
			delete(given, path)
		}
	}
}

// watcher goes through what happened to the leaves that a merge gave.
type watcher struct {
	given   map[string]attribute.Change
	under   map[string][]string // paths of given, by each pointer above them
	changed map[string]bool
	before  map[string]bool // changed, as it was before the last merge that concerned the path
}

func (w *watcher) see(r *event.AttributeChange) {
	undone := r.CauseKind == causeUnmerge
	if c, ok := w.given[r.Path]; ok {
		was, merged := w.before[r.Path]
		switch {
		case r.CauseKind == causeMerge:
			w.before[r.Path] = w.changed[r.Path]
			w.changed[r.Path] = true
		case undone && bytes.Equal(r.New, c.New): // that merge was taken back, or the profile lives again
			if merged {
				w.changed[r.Path] = was
				delete(w.before, r.Path)
			}
		case undone && !w.changed[r.Path] && bytes.Equal(r.Old, c.New): // a part of it was somebody else's
			if c.New = r.New; r.New == nil || bytes.Equal(c.New, c.Old) {
				delete(w.given, r.Path)
			} else {
				w.given[r.Path] = c
			}
		default:
			w.changed[r.Path] = true
		}
	}
	for _, path := range w.under[r.Path] {
		if undone && r.New == nil && !w.changed[path] {
			delete(w.given, path)
		} else {
			w.changed[path] = true
		}
	}
	for above := range pointersAbove(r.Path) {
		if _, ok := w.given[above]; ok {
			w.changed[above] = true
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
