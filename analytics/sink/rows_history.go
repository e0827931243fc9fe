package sink

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type mergeRows struct {
	rowset
	placeColumns
	tenant, merge, winner, loser                        *values[uuid.UUID]
	kind, cause, winnerBefore, loserBefore, identifiers *values[string]
	mergedAt                                            *values[time.Time]
	orders                                              *stringList
}

func newMergeRows() *mergeRows {
	r := &mergeRows{rowset: rowset{table: tableProfileMerges}}
	s := &r.rowset
	r.placeColumns = placesOf(s)
	r.tenant, r.merge = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[uuid.UUID](s, "merge_id")
	r.winner, r.loser = valuesOf[uuid.UUID](s, "winner_id"), valuesOf[uuid.UUID](s, "loser_id")
	r.kind, r.cause = valuesOf[string](s, "kind"), valuesOf[string](s, "cause")
	r.mergedAt = valuesOf[time.Time](s, "merged_at")
	r.winnerBefore, r.loserBefore = valuesOf[string](s, "winner_before"), valuesOf[string](s, "loser_before")
	r.identifiers, r.orders = valuesOf[string](s, "moved_identifiers"), stringListOf(s, "moved_orders")
	return r
}

func (r *mergeRows) add(tenant uuid.UUID, m *event.Merge, at tp, offset int64) {
	r.rows++
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
	tenant, profile                                *values[uuid.UUID]
	version                                        *values[uint64]
	index                                          *values[uint32]
	path, op, oldValue, newValue, cause, causeKind *values[string]
	eventTime, processedAt                         *values[time.Time]
}

func newLineageRows() *lineageRows {
	r := &lineageRows{rowset: rowset{table: tableAttributeChanges}}
	s := &r.rowset
	r.placeColumns = placesOf(s)
	r.tenant, r.profile = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[uuid.UUID](s, "profile_id")
	r.version, r.index = valuesOf[uint64](s, "version"), valuesOf[uint32](s, "change_index")
	r.path, r.op = valuesOf[string](s, "path"), valuesOf[string](s, "op")
	r.oldValue, r.newValue = valuesOf[string](s, "old_value"), valuesOf[string](s, "new_value")
	r.cause, r.causeKind = valuesOf[string](s, "cause"), valuesOf[string](s, "cause_kind")
	r.eventTime, r.processedAt = valuesOf[time.Time](s, "event_time"), valuesOf[time.Time](s, "processed_at")
	return r
}

func (r *lineageRows) add(tenant, profile uuid.UUID, a *event.AttributeChange, at tp, offset int64) {
	r.rows++
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
