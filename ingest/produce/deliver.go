package produce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/keystone-cdp/keystone/internal/trace"
)

// deliver hands spooled records to the log, for the spool's drain.
func (l *Lane) deliver(ctx context.Context, records []*kgo.Record) (refused []*kgo.Record, err error) {
	for l.late.Load() { // the client holds the late group: more would only pile up behind it
		select {
		case <-l.punctual:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	logged := records
	begin := time.Now()
	results := l.client.ProduceSync(ctx, records...)
	for _, r := range results {
		switch {
		case r.Err == nil:
		case forGood(r.Err):
			refused = append(refused, r.Record)
		case err == nil:
			err = fmt.Errorf("produce: %w", r.Err)
		}
	}
	if err != nil {
		return nil, err
	}
	l.metrics.logged.Add(float64(len(results) - len(refused)))
	for _, x := range l.Tracer.Traced(records) {
		span := l.Tracer.Child(x.Parent, "send "+l.topic, append(trace.Sending(l.topic, false), oteltrace.WithTimestamp(begin),
			trace.Place(x.Record), oteltrace.WithAttributes(trace.SpooledKey.Bool(true)))...)
		span.End()
	}
	if l.Delivered != nil {
		if len(refused) > 0 {
			logged = nil
			for _, r := range results {
				if r.Err == nil {
					logged = append(logged, r.Record)
				}
			}
		}
		l.Delivered(logged)
	}
	return refused, nil
}

// forGood tells errors about the record itself, which no repetition heals.
func forGood(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}
