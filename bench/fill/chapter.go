package fill

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/bench/feed"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/outbox"
)

// batch is how many events the processor takes at once.
const batch = 500

// writer is one chapter on its way to the log.
type writer struct {
	*filler
	edge     *feed.Edge
	decoder  consume.Decoder
	settings event.Settings
	state    *applytest.Store
	source   outbox.Source
	events   []apply.Event
	failed   kgo.FirstErrPromise
}

// chapter produces a stream's events and the changes the processor makes of them.
func (f *filler) chapter(number int, cfg shop.Config) (shop.Truth, error) {
	stream, err := shop.New(cfg)
	if err != nil {
		return shop.Truth{}, err
	}
	w := &writer{
		filler: f, edge: feed.PastEdge(f.tenant), decoder: consume.Decoder{Limits: event.DefaultLimits()},
		settings: event.DefaultSettings(), state: applytest.NewStore(nil),
		source: outbox.Source{Topic: event.TopicEvents, Partition: int32(number)},
	}
	for body, d := range stream.All() {
		if d.Invalid != "" {
			continue
		}
		if err := w.event(body); err != nil {
			return shop.Truth{}, err
		}
	}
	if err := w.process(); err != nil {
		return shop.Truth{}, err
	}
	return stream.Truth(), w.failed.Err()
}

func (w *writer) event(body []byte) error {
	record, err := w.edge.Record(body)
	if err != nil {
		return err
	}
	meta, err := event.ReadMeta(record.Headers)
	if err != nil {
		return err
	}
	var e apply.Event
	if _, _, err := w.decoder.Decode(record, &meta, &w.settings, &e); err != nil {
		return fmt.Errorf("decode an event: %w", err)
	}
	w.events = append(w.events, e)
	record.Topic = event.TopicEvents
	w.client.Produce(w.Context(), record, w.failed.Promise())
	w.source.NextOffset++
	if len(w.events) == batch {
		return w.process()
	}
	return nil
}

// process is what the processor does with a batch.
func (w *writer) process() error {
	if len(w.events) == 0 {
		return nil
	}
	result, err := w.state.Apply("0", w.events, w.events[len(w.events)-1].ReceivedAt)
	w.events = nil
	if err != nil || result == nil {
		return err
	}
	records, err := outbox.Changes(nil, w.source, result.Changes())
	if err != nil {
		return err
	}
	for _, r := range records {
		w.client.Produce(w.Context(), &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}, w.failed.Promise())
	}
	return nil
}
