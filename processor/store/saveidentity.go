package store

import (
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/identity"
)

func (w *saver) profiles(rows []*identity.Profile) {
	n := len(rows)
	if n == 0 {
		return
	}
	tenant, id, merged := make(uuids, n), make(uuids, n), make(uuidsOr, n)
	kind, attributes, owned := make(texts, n), make(texts, n), make(texts, n)
	firstSeen, lastSeen, attributesAt := make(times, n), make(times, n), make(times, n)
	createdAt, updatedAt := make(times, n), make(times, n)
	events, tracks, pages, identifies := make(ints, n), make(ints, n), make(ints, n), make(ints, n)
	version, spans, orders, revision := make(ints, n), make(ints, n), make(ints, n), make(ints, n)
	for i, p := range rows {
		tenant[i], id[i], merged[i] = uuidElement(p.Tenant), uuidElement(p.ID), uuidOrNull(p.MergedInto)
		kind[i], attributes[i], owned[i] = textElement(p.Kind), w.text(string(p.Attributes.Text())), textElement(p.Owned.String())
		firstSeen[i], lastSeen[i], attributesAt[i] = timeElement(p.FirstSeen), timeElement(p.LastSeen), timeElement(p.AttributesAt)
		createdAt[i], updatedAt[i] = timeElement(p.CreatedAt), timeElement(p.UpdatedAt)
		events[i], tracks[i], pages[i], identifies[i] = intElement(p.EventCount), intElement(p.TrackCount), intElement(p.PageCount), intElement(p.IdentifyCount)
		version[i], spans[i], orders[i], revision[i] = intElement(p.Version), intElement(p.Spans), intElement(p.Orders), intElement(p.Revision+1)
	}
	w.batch.Queue(profileSave, tenant, id, kind, attributes, firstSeen, lastSeen, events, tracks, pages, identifies,
		attributesAt, version, createdAt, updatedAt, merged, owned, spans, orders, revision).Exec(wrote(n))
}

// redirects leaves out who cannot have won a merge before: a profile with no more than the identifier
// that made it, and no past of another. Most who lose are such, and the others cost a search.
func (w *saver) redirects(rows []apply.Redirect) {
	if len(rows) == 0 {
		return
	}
	won := make(map[uuid.UUID]bool, len(rows))
	for i := range w.rows.profiles {
		p := &w.rows.profiles[i]
		won[p.ID] = p.Owned.Total() > 1 || p.Spans > 0
	}
	rows = slices.DeleteFunc(slices.Clone(rows), func(r apply.Redirect) bool { return !won[r.Loser] })
	n := len(rows)
	if n == 0 {
		return
	}
	tenant, loser, winner := make(uuids, n), make(uuids, n), make(uuids, n)
	for i, r := range rows {
		tenant[i], loser[i], winner[i] = uuidElement(r.Tenant), uuidElement(r.Loser), uuidElement(r.Winner)
	}
	w.batch.Queue(tombstoneRedirect, tenant, loser, winner)
}

// identifiers saves those that are new apart: one that somebody else has made meanwhile must be found
// out, whatever its version.
func (w *saver) identifiers(all []*identity.Identifier) {
	read := make(map[uuid.UUID]struct{}, len(w.rows.identifiers))
	for i := range w.rows.identifiers {
		read[w.rows.identifiers[i].Node] = struct{}{}
	}
	var added, changed []*identity.Identifier
	for node := range w.rows.vacant {
		read[node] = struct{}{}
	}
	for _, i := range all {
		if _, ok := read[i.Node]; ok {
			changed = append(changed, i)
		} else {
			added = append(added, i)
		}
	}
	insert := identifierInsert
	if w.rows.unlocked {
		insert = identifierAdd
	}
	for _, x := range []struct {
		statement string
		rows      []*identity.Identifier
	}{{insert, added}, {identifierSave, changed}} {
		w.owners(x.statement, len(x.rows), func(n int) (uuid.UUID, event.IdentifierState) {
			return x.rows[n].Tenant, x.rows[n].State()
		})
	}
}

// owners saves identifiers or closed spans: both say who owns a node from when on.
func (w *saver) owners(statement string, n int, row func(i int) (uuid.UUID, event.IdentifierState)) {
	if n == 0 {
		return
	}
	tenant, node, profile := make(uuids, n), make(uuids, n), make(uuids, n)
	kind, value, from, version := make(texts, n), make(texts, n), make(times, n), make(ints, n)
	for i := range n {
		t, s := row(i)
		tenant[i], node[i], profile[i] = uuidElement(t), uuidElement(s.Node), uuidElement(s.ProfileID)
		kind[i], value[i] = textElement(s.Kind), w.text(s.Value)
		from[i], version[i] = timeElement(s.ValidFrom), intElement(s.Version)
	}
	w.batch.Queue(statement, tenant, node, kind, value, profile, from, version).Exec(wrote(n))
}

func (w *saver) merges(rows []apply.Merge) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	tenant, id, winner, loser := make(uuids, n), make(uuids, n), make(uuids, n), make(uuids, n)
	at, body := make(times, n), make(texts, n)
	for i, m := range rows {
		tenant[i], id[i], winner[i], loser[i] = uuidElement(m.Tenant), uuidElement(m.MergeID), uuidElement(m.WinnerID), uuidElement(m.LoserID)
		at[i] = timeElement(m.MergedAt)
		var err error
		if body[i], err = w.json(&m.Merge); err != nil {
			return err
		}
	}
	w.batch.Queue(mergeSave, tenant, id, winner, loser, at, body)
	return nil
}

func (w *saver) conflicts(rows []identity.Conflict) {
	n := len(rows)
	if n == 0 {
		return
	}
	tenant, id, profile, node, other := make(uuids, n), make(uuids, n), make(uuids, n), make(uuids, n), make(uuids, n)
	message, reason, kind, value, limit := make(texts, n), make(texts, n), make(texts, n), make(texts, n), make(texts, n)
	at, received := make(times, n), make(times, n)
	for i, c := range rows {
		tenant[i], id[i], profile[i] = uuidElement(c.Tenant), uuidElement(c.ID), uuidElement(c.ProfileID)
		node[i], other[i] = uuidElement(c.Node), uuidElement(c.Other)
		message[i], reason[i], kind[i], value[i], limit[i] = w.text(c.MessageID), textElement(c.Reason), textElement(c.Kind), w.text(c.Value), textElement(c.LimitKind)
		at[i], received[i] = timeElement(c.EventTime), timeElement(c.ReceivedAt)
	}
	w.batch.Queue(conflictSave, tenant, id, message, profile, reason, node, kind, value, limit, other, at, received)
}

func (w *saver) lineage(rows []apply.Lineage) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	tenant, profile, version, changes := make(uuids, n), make(uuids, n), make(ints, n), make(texts, n)
	for i := range rows {
		l := &rows[i]
		tenant[i], profile[i], version[i] = uuidElement(l.Tenant), uuidElement(l.ProfileID), intElement(l.Version)
		var err error
		if changes[i], err = w.json(l.Changes); err != nil {
			return err
		}
	}
	w.batch.Queue(lineageSave, tenant, profile, version, changes)
	return nil
}
