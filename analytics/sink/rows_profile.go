package sink

import (
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/event"
)

type identityRows struct {
	rowset
	tenant, node, profile *uuidColumn
	validFrom             *microColumn
	kind, value           *textColumn
	version               *uint64Column
}

func newIdentityRows() *identityRows {
	r := &identityRows{rowset: rowset{table: tableIdentityMap}}
	s := &r.rowset
	r.tenant, r.node = uuidOf(s, "tenant_id"), uuidOf(s, "node")
	r.validFrom = microOf(s, "valid_from")
	r.kind, r.value = textOf(s, "kind"), textOf(s, "value")
	r.profile, r.version = uuidOf(s, "profile_id"), uint64Of(s, "version", "UInt64")
	return r
}

func (r *identityRows) add(tenant uuid.UUID, i *event.IdentifierState) {
	r.begin()
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
	tenant, profile, mergedInto                *uuidColumn
	kind, attributes                           *textColumn
	firstSeen, lastSeen, attributesAt          *milliColumn
	created, update                            *microColumn
	events, tracks, pages, identifies, version *uint64Column
	deleted                                    *byteColumn
}

func newProfileRows() *profileRows {
	r := &profileRows{rowset: rowset{table: tableProfiles}}
	s := &r.rowset
	r.tenant, r.profile = uuidOf(s, "tenant_id"), uuidOf(s, "profile_id")
	r.kind, r.attributes = textOf(s, "kind"), textOf(s, "attributes")
	r.firstSeen, r.lastSeen = milliOf(s, "first_seen"), milliOf(s, "last_seen")
	r.events, r.tracks = uint64Of(s, "event_count", "UInt64"), uint64Of(s, "track_count", "UInt64")
	r.pages, r.identifies = uint64Of(s, "page_count", "UInt64"), uint64Of(s, "identify_count", "UInt64")
	r.attributesAt, r.version = milliOf(s, "attributes_at"), uint64Of(s, "version", "UInt64")
	r.created, r.update = microOf(s, "created_at"), microOf(s, "updated_at")
	r.mergedInto, r.deleted = uuidOf(s, "merged_into"), byteOf(s, "is_deleted", "UInt8")
	return r
}

func (r *profileRows) add(tenant, profile uuid.UUID, p *event.ProfileState) {
	r.begin()
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
	r.deleted.add(p.MergedInto != uuid.Nil)
}
