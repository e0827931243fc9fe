-- +goose NO TRANSACTION

-- +goose Up

-- Tables of a current state are read with FINAL: rows of one key are merged in the background, and
-- until then an older version may still be there.
CREATE TABLE IF NOT EXISTS identity_map
(
    tenant_id UUID COMMENT 'The tenant',
    node UUID COMMENT 'Node of the identifier: the name-based UUID of kind, 0x1F, value in the tenant''s name space',
    valid_from DateTime64(6, 'UTC') COMMENT 'Start of the span, as received_at; 1970-01-01 is since ever. The span ends where the node''s next one starts' CODEC(Delta(8), ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Kind of the identifier: anonymous, email, phone, crm_id or one of the tenant''s own',
    value String COMMENT 'The identifier in normal form' CODEC(ZSTD(1)),
    profile_id UUID COMMENT 'The live profile to which belongs what the identifier did in this span' CODEC(ZSTD(1)),
    version UInt64 COMMENT 'Highest counts' CODEC(ZSTD(1))
)
ENGINE = {{.ReplacingMergeTree "version"}}
ORDER BY (tenant_id, node, valid_from)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is one span of an identifier''s life and the profile it belongs to, as of now. Read with FINAL';

CREATE TABLE IF NOT EXISTS {{.Local "profiles"}}
(
    tenant_id UUID COMMENT 'The tenant',
    profile_id UUID COMMENT 'The profile: the node of the identifier that created it',
    kind LowCardinality(String) COMMENT 'shadow (known by devices only) or anchor (has a verified identifier)',
    attributes String COMMENT 'Attributes as a JSON object' CODEC(ZSTD(1)),
    attributes_json JSON ALIAS ifNull(accurateCastOrNull(attributes, 'JSON'), '{}'::JSON) COMMENT 'attributes by path: attributes_json.city.:String. Computed on reading; the exact text is in attributes',
    first_seen DateTime64(3, 'UTC') COMMENT 'Earliest event time' CODEC(Delta(8), ZSTD(1)),
    last_seen DateTime64(3, 'UTC') COMMENT 'Latest event time' CODEC(Delta(8), ZSTD(1)),
    event_count UInt64 COMMENT 'Events of any type' CODEC(ZSTD(1)),
    track_count UInt64 COMMENT 'Track events' CODEC(ZSTD(1)),
    page_count UInt64 COMMENT 'Page events' CODEC(ZSTD(1)),
    identify_count UInt64 COMMENT 'Identify events' CODEC(ZSTD(1)),
    attributes_at DateTime64(3, 'UTC') COMMENT 'Latest event time of an accepted identify; 1970-01-01 where there was none' CODEC(Delta(8), ZSTD(1)),
    version UInt64 COMMENT 'One more for every change; highest counts' CODEC(ZSTD(1)),
    created_at DateTime64(6, 'UTC') COMMENT 'received_at of the event that created the profile' CODEC(Delta(8), ZSTD(1)),
    updated_at DateTime64(6, 'UTC') COMMENT 'When it last changed' CODEC(Delta(8), ZSTD(1)),
    merged_into UUID COMMENT 'The profile this one collapsed into, or all zeros' CODEC(ZSTD(1)),
    is_deleted UInt8 COMMENT '1 once collapsed: FINAL leaves the row out'
)
ENGINE = {{.ReplacingMergeTree "version, is_deleted"}}
ORDER BY (tenant_id, profile_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is the current state of a live profile. Read with FINAL: collapsed profiles and older versions are left out';
{{.Distributed "profiles"}}

CREATE TABLE IF NOT EXISTS {{.Local "attribute_changes"}}
(
    tenant_id UUID COMMENT 'The tenant',
    profile_id UUID COMMENT 'The profile',
    version UInt64 COMMENT 'Version of the profile after the change' CODEC(ZSTD(1)),
    change_index UInt32 COMMENT 'Number of the change within the version, from 0' CODEC(ZSTD(1)),
    path String COMMENT 'The attribute, as an RFC 6901 pointer: /address/city' CODEC(ZSTD(1)),
    op LowCardinality(String) COMMENT 'add, update, replace, union, append or remove',
    old_value String COMMENT 'Value before, as JSON; empty where there was none' CODEC(ZSTD(1)),
    new_value String COMMENT 'Value after, as JSON; empty where it was removed' CODEC(ZSTD(1)),
    cause String COMMENT 'Message id of the event that changed it, or id of the merge' CODEC(ZSTD(1)),
    cause_kind LowCardinality(String) COMMENT 'event or merge',
    event_time DateTime64(3, 'UTC') COMMENT 'Event time of the cause' CODEC(Delta(8), ZSTD(1)),
    processed_at DateTime64(6, 'UTC') COMMENT 'When the change was made' CODEC(Delta(8), ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place of the change in the log: topic',
    partition Int32 COMMENT 'Place of the change in the log: partition' CODEC(ZSTD(1)),
    offset Int64 COMMENT 'Place of the change in the log: offset; one record holds many changes' CODEC(Delta(8), ZSTD(1)),
    loaded_at DateTime64(3, 'UTC') COMMENT 'When the sink wrote the row; one time for a whole insert' CODEC(Delta(8), ZSTD(1)),
    INDEX offset_minmax offset TYPE minmax GRANULARITY 1
)
ENGINE = {{.MergeTree}}
PARTITION BY toYYYYMM(loaded_at)
ORDER BY (tenant_id, profile_id, version, change_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is one attribute of a profile that changed: its lineage. Each change is here once';
{{.Distributed "attribute_changes"}}

CREATE TABLE IF NOT EXISTS {{.Local "profile_merges"}}
(
    tenant_id UUID COMMENT 'The tenant',
    merge_id UUID COMMENT 'The merge',
    winner_id UUID COMMENT 'The profile that lives on' CODEC(ZSTD(1)),
    loser_id UUID COMMENT 'The profile that collapsed into it' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'collapse (a shadow into an anchor) or merge (of two anchors)',
    cause String COMMENT 'Message id of the event that caused it' CODEC(ZSTD(1)),
    merged_at DateTime64(6, 'UTC') COMMENT 'When it was made' CODEC(Delta(8), ZSTD(1)),
    winner_before String COMMENT 'The winner before, as a JSON object: attributes and counters' CODEC(ZSTD(1)),
    loser_before String COMMENT 'The loser before, as a JSON object: attributes and counters' CODEC(ZSTD(1)),
    moved_identifiers String COMMENT 'Identifiers that moved to the winner, as a JSON array' CODEC(ZSTD(1)),
    moved_orders Array(String) COMMENT 'Orders that moved to the winner' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place of the merge in the log: topic',
    partition Int32 COMMENT 'Place of the merge in the log: partition' CODEC(ZSTD(1)),
    offset Int64 COMMENT 'Place of the merge in the log: offset' CODEC(Delta(8), ZSTD(1)),
    loaded_at DateTime64(3, 'UTC') COMMENT 'When the sink wrote the row; one time for a whole insert' CODEC(Delta(8), ZSTD(1)),
    INDEX offset_minmax offset TYPE minmax GRANULARITY 1
)
ENGINE = {{.MergeTree}}
PARTITION BY toYYYYMM(loaded_at)
ORDER BY (tenant_id, winner_id, merged_at)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is one collapse or merge of two profiles, with what it takes to undo it. Each is here once';
{{.Distributed "profile_merges"}}

-- +goose Down

{{.Drop "TABLE" "profile_merges"}}
{{.Drop "TABLE" "attribute_changes"}}
{{.Drop "TABLE" "profiles"}}
DROP TABLE IF EXISTS identity_map;
