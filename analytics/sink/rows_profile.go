package sink

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type identityRows struct {
	rowset
	tenant, node, profile *values[uuid.UUID]
	validFrom             *values[time.Time]
	kind, value           *values[string]
	version               *values[uint64]
}

func newIdentityRows() *identityRows {
	r := &identityRows{rowset: rowset{table: tableIdentityMap}}
	s := &r.rowset
	r.tenant, r.node = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[uuid.UUID](s, "node")
	r.validFrom = valuesOf[time.Time](s, "valid_from")
	r.kind, r.value = valuesOf[string](s, "kind"), valuesOf[string](s, "value")
	r.profile, r.version = valuesOf[uuid.UUID](s, "profile_id"), valuesOf[uint64](s, "version")
	return r
}

func (r *identityRows) add(tenant uuid.UUID, i *event.IdentifierState) {
	r.rows++
	r.tenant.add(tenant)
	r.node.add(i.Node)
	r.validFrom.add(schema.ColumnTime(i.ValidFrom))
	r.kind.add(i.Kind)
	r.value.add(i.Value)
	r.profile.add(i.ProfileID)
	r.version.add(uint64(i.Version))
}

type profileRows struct {
	rowset
	tenant, profile, mergedInto                        *values[uuid.UUID]
	kind, attributes                                   *values[string]
	firstSeen, lastSeen, attributesAt, created, update *values[time.Time]
	events, tracks, pages, identifies, version         *values[uint64]
	deleted                                            *values[uint8]
}

func newProfileRows() *profileRows {
	r := &profileRows{rowset: rowset{table: tableProfiles}}
	s := &r.rowset
	r.tenant, r.profile = valuesOf[uuid.UUID](s, "tenant_id"), valuesOf[uuid.UUID](s, "profile_id")
	r.kind, r.attributes = valuesOf[string](s, "kind"), valuesOf[string](s, "attributes")
	r.firstSeen, r.lastSeen = valuesOf[time.Time](s, "first_seen"), valuesOf[time.Time](s, "last_seen")
	r.events, r.tracks = valuesOf[uint64](s, "event_count"), valuesOf[uint64](s, "track_count")
	r.pages, r.identifies = valuesOf[uint64](s, "page_count"), valuesOf[uint64](s, "identify_count")
	r.attributesAt, r.version = valuesOf[time.Time](s, "attributes_at"), valuesOf[uint64](s, "version")
	r.created, r.update = valuesOf[time.Time](s, "created_at"), valuesOf[time.Time](s, "updated_at")
	r.mergedInto, r.deleted = valuesOf[uuid.UUID](s, "merged_into"), valuesOf[uint8](s, "is_deleted")
	return r
}

func (r *profileRows) add(tenant, profile uuid.UUID, p *event.ProfileState) {
	r.rows++
	r.tenant.add(tenant)
	r.profile.add(profile)
	r.kind.add(p.Kind)
	r.attributes.add(jsonText(p.Attributes))
	r.firstSeen.add(schema.ColumnTime(p.FirstSeen))
	r.lastSeen.add(schema.ColumnTime(p.LastSeen))
	r.events.add(uint64(p.EventCount))
	r.tracks.add(uint64(p.TrackCount))
	r.pages.add(uint64(p.PageCount))
	r.identifies.add(uint64(p.IdentifyCount))
	r.attributesAt.add(schema.ColumnTime(p.AttributesAt))
	r.version.add(uint64(p.Version))
	r.created.add(schema.ColumnTime(p.CreatedAt))
	r.update.add(schema.ColumnTime(p.UpdatedAt))
	r.mergedInto.add(p.MergedInto)
	var deleted uint8
	if p.MergedInto != uuid.Nil {
		deleted = 1
	}
	r.deleted.add(deleted)
}
