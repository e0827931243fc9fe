// Package feed fills a log with the shop's stream, as the edge would have written it, so that the
// stages behind the log can be measured without the edge.
package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Log is what was written.
type Log struct {
	Records int        // repeated deliveries included
	Bytes   int        // of the values
	Truth   shop.Truth // what must come of it
}

// Fill produces the good events of a stream to topic, which must be there, as a tenant's: the edge's
// key, headers and routing, received_at strictly increasing.
func Fill(ctx context.Context, seeds []string, topic string, tenant uuid.UUID, cfg shop.Config) (Log, error) {
	stream, err := shop.New(cfg)
	if err != nil {
		return Log{}, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		return Log{}, fmt.Errorf("open the log: %w", err)
	}
	defer client.Close()
	f := filler{tenant: tenant, settings: event.DefaultSettings(), received: time.Now().UTC().Truncate(time.Microsecond)}
	var failed kgo.FirstErrPromise
	for body, d := range stream.All() {
		if d.Invalid != "" {
			continue
		}
		record, err := f.record(body)
		if err != nil {
			return Log{}, err
		}
		client.Produce(ctx, record, failed.Promise())
		f.log.Records++
		f.log.Bytes += len(record.Value)
	}
	if err := client.Flush(ctx); err != nil {
		return Log{}, fmt.Errorf("flush the log: %w", err)
	}
	f.log.Truth = stream.Truth()
	return f.log, failed.Err()
}

type filler struct {
	tenant   uuid.UUID
	settings event.Settings
	received time.Time
	event    event.Event
	ids      event.Identifiers
	log      Log
}

func (f *filler) record(body []byte) (*kgo.Record, error) {
	if err := f.event.Decode(body, event.DefaultLimits()); err != nil {
		return nil, fmt.Errorf("decode an event of the stream: %w", err)
	}
	f.event.Identifiers(f.tenant, &f.settings, &f.ids)
	f.received = f.received.Add(time.Microsecond)
	meta := event.Meta{Tenant: f.tenant, ReceivedAt: f.received, KeyID: "bench", RequestID: "bench", IP: "203.0.113.7"}
	if len(f.ids.Verified) > 0 {
		meta.IdentityNode = f.ids.Verified[0].Node
	}
	return &kgo.Record{
		Key:     event.RoutingKey(nil, f.tenant, f.ids.Routing()),
		Value:   append([]byte(nil), body...),
		Headers: meta.Headers(),
	}, nil
}
