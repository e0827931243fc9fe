package sink

import (
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type mergeRows struct {
	rowset
	placeColumns
	tenant, merge, winner, loser                        *uuidColumn
	kind, cause, winnerBefore, loserBefore, identifiers *textColumn
	mergedAt                                            *microColumn
	orders                                              *textListColumn
}

func newMergeRows() *mergeRows {
	r := &mergeRows{rowset: rowset{table: tableProfileMerges}}
	s := &r.rowset
	r.placeColumns = placesOf(s)
	r.tenant, r.merge = uuidOf(s, "tenant_id"), uuidOf(s, "merge_id")
	r.winner, r.loser = uuidOf(s, "winner_id"), uuidOf(s, "loser_id")
	r.kind, r.cause = textOf(s, "kind"), textOf(s, "cause")
	r.mergedAt = microOf(s, "merged_at")
	r.winnerBefore, r.loserBefore = textOf(s, "winner_before"), textOf(s, "loser_before")
	r.identifiers, r.orders = textOf(s, "moved_identifiers"), textListOf(s, "moved_orders")
	return r
}

func (r *mergeRows) add(tenant uuid.UUID, m *event.Merge, at tp, offset int64) {
	r.begin()
	r.placeColumns.add(at, offset)
	r.tenant.add(tenant)
	r.merge.add(m.MergeID)
	r.winner.add(m.WinnerID)
	r.loser.add(m.LoserID)
	r.kind.add(m.Kind)
	r.cause.add(m.Cause)
	r.mergedAt.add(schema.ColumnTime(m.MergedAt))
	r.winnerBefore.add(marshal(m.Winner))
	r.loserBefore.add(marshal(m.Loser))
	r.identifiers.add(marshal(m.MovedIdentifiers))
	for _, order := range m.MovedOrders {
		r.orders.item(order)
	}
	r.orders.endRow()
}

type lineageRows struct {
	rowset
	placeColumns
	tenant, profile                                *uuidColumn
	version                                        *uint64Column
	index                                          *uint32Column
	path, op, oldValue, newValue, cause, causeKind *textColumn
	eventTime                                      *milliColumn
	processedAt                                    *microColumn
}

func newLineageRows() *lineageRows {
	r := &lineageRows{rowset: rowset{table: tableAttributeChanges}}
	s := &r.rowset
	r.placeColumns = placesOf(s)
	r.tenant, r.profile = uuidOf(s, "tenant_id"), uuidOf(s, "profile_id")
	r.version, r.index = uint64Of(s, "version", "UInt64"), uint32Of(s, "change_index", "UInt32")
	r.path, r.op = textOf(s, "path"), textOf(s, "op")
	r.oldValue, r.newValue = textOf(s, "old_value"), textOf(s, "new_value")
	r.cause, r.causeKind = textOf(s, "cause"), textOf(s, "cause_kind")
	r.eventTime, r.processedAt = milliOf(s, "event_time"), microOf(s, "processed_at")
	return r
}

func (r *lineageRows) add(tenant, profile uuid.UUID, a *event.AttributeChange, at tp, offset int64) {
	r.begin()
	r.placeColumns.add(at, offset)
	r.tenant.add(tenant)
	r.profile.add(profile)
	r.version.add(uint64(a.Version))
	r.index.add(uint32(a.Index))
	r.path.add(a.Path)
	r.op.add(a.Op)
	r.oldValue.add(jsonText(a.Old))
	r.newValue.add(jsonText(a.New))
	r.cause.add(a.Cause)
	r.causeKind.add(a.CauseKind)
	r.eventTime.add(schema.ColumnTime(a.EventTime))
	r.processedAt.add(schema.ColumnTime(a.ProcessedAt))
}
