-- +goose NO TRANSACTION

-- +goose Up

-- What the sink must not bring back, from whatever place of the log (ADR 3). Rows are only ever added: their number says
-- which of them somebody knows.
CREATE TABLE IF NOT EXISTS erasures
(
    tenant_id UUID COMMENT 'The tenant',
    erasure_id UUID COMMENT 'The erasure: keystone erase show tells of it',
    what LowCardinality(String) COMMENT 'node (an identifier) or profile',
    id UUID COMMENT 'The node or the profile: a hash, not the identifier' CODEC(ZSTD(1)),
    valid_from DateTime64(6, 'UTC') COMMENT 'Of a node: start of the span that is erased, as received_at; 1970-01-01 is since ever' CODEC(ZSTD(1)),
    valid_until DateTime64(6, 'UTC') COMMENT 'Of a node: end of that span, as received_at; 1970-01-01 where it has none' CODEC(ZSTD(1)),
    erased_until DateTime64(3, 'UTC') COMMENT 'Of a node: the last event time that is erased' CODEC(ZSTD(1)),
    added_at DateTime64(6, 'UTC') COMMENT 'When the row was written' CODEC(ZSTD(1))
)
ENGINE = {{.MergeTree}}
ORDER BY (tenant_id, erasure_id, what, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is an identifier or a profile of a person who was erased, by hash. Kept by keystone erase, read by the sink';

-- Whoever removes a person's rows waits until no sink can write more of them: until each member of the group says so.
CREATE TABLE IF NOT EXISTS sink_erasures
(
    member String COMMENT 'The process, by its id in the consumer group' CODEC(ZSTD(1)),
    erasures UInt64 COMMENT 'Whatever it writes from now on knows so many rows of erasures',
    updated_at DateTime64(6, 'UTC') COMMENT 'When it said so; latest counts'
)
ENGINE = {{.ReplacingMergeTree "updated_at"}}
ORDER BY member
TTL toDateTime(updated_at) + INTERVAL 30 DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is what one process of the sink knows of erasures. Kept by the sink, read by keystone erase';

-- +goose Down

DROP TABLE IF EXISTS sink_erasures;
DROP TABLE IF EXISTS erasures;
