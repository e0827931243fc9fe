-- +goose NO TRANSACTION

-- +goose Up

CREATE TABLE IF NOT EXISTS {{.Local "sink_positions"}}
(
    topic LowCardinality(String) COMMENT 'Topic of the log',
    partition Int32 COMMENT 'Partition of the topic',
    next_offset Int64 COMMENT 'The offset to continue at: everything before it is in the tables. It may lag behind the tables by a second',
    marks String COMMENT 'On keystone.changes: the highest source position taken of each source, as a JSON object of "topic/partition": [offset, sequence]',
    log_since DateTime64(3, 'UTC') COMMENT 'Rows loaded before are of another log of that name, one that was emptied or made anew since; 1970-01-01 where there was none',
    updated_at DateTime64(6, 'UTC') COMMENT 'When the sink was there; latest counts'
)
ENGINE = {{.ReplacingMergeTree "updated_at"}}
ORDER BY (topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'One row is how far the sink got in one partition of the log. Kept by the sink for itself; keystone lag shows it';
{{.Distributed "sink_positions"}}

-- +goose Down

{{.Drop "TABLE" "sink_positions"}}
