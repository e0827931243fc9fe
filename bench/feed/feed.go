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
		kgo.ProducerBatchCompression(kgo.SnappyCompression()), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		return Log{}, fmt.Errorf("open the log: %w", err)
	}
	defer client.Close()
	edge := NewEdge(tenant, time.Now())
	var log Log
	var failed kgo.FirstErrPromise
	for body, d := range stream.All() {
		if d.Invalid != "" {
			continue
		}
		record, err := edge.Record(body)
		if err != nil {
			return Log{}, err
		}
		client.Produce(ctx, record, failed.Promise())
		log.Records++
		log.Bytes += len(record.Value)
	}
	if err := client.Flush(ctx); err != nil {
		return Log{}, fmt.Errorf("flush the log: %w", err)
	}
	log.Truth = stream.Truth()
	return log, failed.Err()
}
