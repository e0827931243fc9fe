-- +goose NO TRANSACTION

-- +goose Up

-- The months of a table are those in which rows were loaded, not those in which events happened. A
-- batch of the sink has one load time, so it always lands in one partition, whole or not at all; a
-- backfill over ten years is still one part for each insert. Event time is in the sort key instead.
-- fsync: the sink takes its place in the log from this table and from sink_positions; a position
-- that outlives its rows in a power cut would be a gap. Inserts stay below min_bytes_for_wide_part:
-- one data file to write and to sync, not two for each column.
-- payload is text, not the JSON type: that takes four times as long to insert, makes floats of
-- numbers, and refuses a whole insert for one key given twice. payload_json reads it by path.
-- ZSTD(1): 87 bytes a row of a shop's traffic, where LZ4 has 149, for 2 us more of the server's CPU.
CREATE TABLE IF NOT EXISTS {{.Local "events"}}
(
    tenant_id UUID COMMENT 'The tenant, taken from the API key',
    message_id String COMMENT 'Identifier of the message; unique within the sink''s window of some days' CODEC(ZSTD(1)),
    event_type LowCardinality(String) COMMENT 'identify, track, page, group or alias',
    event_name LowCardinality(String) COMMENT 'What happened, as given: Order Completed; empty where the event has no name',
    profile_node UUID COMMENT 'Node of the routing identity: the anonymous id if there is one, else the first verified identifier. For the person, use the view events_resolved' CODEC(ZSTD(1)),
    identity_node UUID COMMENT 'Node of the first verified identifier the event names, or all zeros' CODEC(ZSTD(1)),
    anonymous_id String COMMENT 'Device or cookie identifier in normal form; empty where it is missing or stands for nobody' CODEC(ZSTD(1)),
    identity String COMMENT 'Verified identity as given: text, or a JSON object of kinds' CODEC(ZSTD(1)),
    timestamp DateTime64(3, 'UTC') COMMENT 'Event time: when it happened, with the client''s clock error removed, never later than received_at' CODEC(Delta(8), ZSTD(1)),
    received_at DateTime64(6, 'UTC') COMMENT 'When the edge received it' CODEC(Delta(8), ZSTD(1)),
    payload String COMMENT 'Payload as JSON text, exactly as accepted (a lone surrogate is replaced by U+FFFD); {} where there is none' CODEC(ZSTD(1)),
    context String COMMENT 'Context as JSON text, exactly as accepted; {} where there is none' CODEC(ZSTD(1)),
    extra String COMMENT 'JSON object of the top-level members that have no column: unknown ones, original (a dialect''s own message), previous_id, group_id, and timestamp and sent_at where they could not be used; {} where there is none' CODEC(ZSTD(1)),
    payload_json JSON ALIAS ifNull(accurateCastOrNull(payload, 'JSON'), '{}'::JSON) COMMENT 'payload by path: payload_json.plan.:String. Computed on reading; numbers are floats here, and an object ClickHouse cannot read (a key given twice, 1e999) is empty: the exact text is in payload',
    context_json JSON ALIAS ifNull(accurateCastOrNull(context, 'JSON'), '{}'::JSON) COMMENT 'context by path: context_json.screen.width.:Int64. Computed on reading, like payload_json',
    url String COMMENT 'Address of the page' CODEC(ZSTD(1)),
    host LowCardinality(String) COMMENT 'Host of url, lower case, without port',
    path String COMMENT 'Path of url, without query and fragment' CODEC(ZSTD(1)),
    page_title String COMMENT 'Title of the page' CODEC(ZSTD(1)),
    referrer String COMMENT 'Address of the page before' CODEC(ZSTD(1)),
    referring_domain LowCardinality(String) COMMENT 'Host of referrer, lower case, without port',
    utm_source LowCardinality(String) COMMENT 'Campaign source: utm_source of url, else context.campaign.source',
    utm_medium LowCardinality(String) COMMENT 'Campaign medium: utm_medium of url, else context.campaign.medium',
    utm_campaign LowCardinality(String) COMMENT 'Campaign name: utm_campaign of url, else context.campaign.name',
    utm_term String COMMENT 'Campaign term: utm_term of url, else context.campaign.term' CODEC(ZSTD(1)),
    utm_content String COMMENT 'Campaign content: utm_content of url, else context.campaign.content' CODEC(ZSTD(1)),
    gclid String COMMENT 'Click id of Google Ads, from url' CODEC(ZSTD(1)),
    gbraid String COMMENT 'Click id of Google Ads for iOS apps, from url' CODEC(ZSTD(1)),
    wbraid String COMMENT 'Click id of Google Ads for iOS web, from url' CODEC(ZSTD(1)),
    fbclid String COMMENT 'Click id of Meta, from url' CODEC(ZSTD(1)),
    msclkid String COMMENT 'Click id of Microsoft Advertising, from url' CODEC(ZSTD(1)),
    ttclid String COMMENT 'Click id of TikTok, from url' CODEC(ZSTD(1)),
    user_agent String COMMENT 'User agent: context.user_agent, else the browser''s header' CODEC(ZSTD(1)),
    browser LowCardinality(String) COMMENT 'Browser or bot named by user_agent: Chrome, Safari, Googlebot',
    browser_version LowCardinality(String) COMMENT 'Version of browser, as the user agent gives it',
    os LowCardinality(String) COMMENT 'Operating system named by user_agent: Windows, macOS, iOS, Android, Linux',
    os_version LowCardinality(String) COMMENT 'Version of os, as the user agent gives it',
    device_class LowCardinality(String) COMMENT 'desktop, mobile, tablet, bot, or empty where user_agent does not tell',
    locale LowCardinality(String) COMMENT 'Language and region, as given: en-US',
    ip String COMMENT 'Address of the browser; empty on server-side traffic that names none' CODEC(ZSTD(1)),
    order_id String COMMENT 'Order the event is about: payload.order_id as text' CODEC(ZSTD(1)),
    product_ids Array(String) COMMENT 'Products the event names, each once: payload.product_id and the line items' CODEC(ZSTD(1)),
    revenue Nullable(Decimal(38, 9)) COMMENT 'payload.revenue; on a completed order that has none, its total, else its value. NULL where there is none. Exact to nine places' CODEC(ZSTD(1)),
    currency LowCardinality(String) COMMENT 'payload.currency, upper case: EUR',
    library_name LowCardinality(String) COMMENT 'Client library that sent the event',
    library_version LowCardinality(String) COMMENT 'Version of the client library',
    key_id LowCardinality(String) COMMENT 'Identifier of the API key; never the key',
    request_id String COMMENT 'Identifier of the HTTP request that brought the event' CODEC(ZSTD(1)),
    job_id String COMMENT 'Identifier of the batch that brought the event, on the backfill lane' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Place in the log: topic',
    partition Int32 COMMENT 'Place in the log: partition' CODEC(ZSTD(1)),
    offset Int64 COMMENT 'Place in the log: offset; with topic and partition it is unique' CODEC(Delta(8), ZSTD(1)),
    loaded_at DateTime64(3, 'UTC') COMMENT 'When the sink wrote the row; one time for a whole insert' CODEC(Delta(8), ZSTD(1)),
    INDEX message_id_bloom message_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX offset_minmax offset TYPE minmax GRANULARITY 1
)
ENGINE = {{.MergeTree}}
PARTITION BY toYYYYMM(loaded_at)
PRIMARY KEY (tenant_id, toDate(timestamp), event_name, profile_node)
ORDER BY (tenant_id, toDate(timestamp), event_name, profile_node, timestamp)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1,
    min_bytes_for_wide_part = 134217728
COMMENT 'One row is one accepted event, once. Behaviour by device or identity; for behaviour by person, use events_resolved';
{{.Distributed "events"}}

-- +goose Down

{{.Drop "TABLE" "events"}}
