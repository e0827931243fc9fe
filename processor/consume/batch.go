package consume

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/processor/store"
)

// process applies records and returns when all of them are committed. It keeps trying while the store
// is down; the errors are store.ErrFenced, errStopped, and those that only a person can do something
// about.
func (w *worker) process(records []*kgo.Record) error {
	records = notBefore(records, w.next.Load())
	if len(records) == 0 {
		return nil
	}
	if hole := records[0].Offset - w.next.Load(); hole > 0 && w.next.Load() > 0 {
		w.metrics.missing.Add(float64(hole))
		w.log.Error("the log lacks records that were not processed", "topic", w.topic, "partition", w.partition, "from", w.next.Load(), "records", hole)
	}
	w.traced = w.trace(records)
	err := w.resolve(records)
	w.traced.end(err)
	w.traced = nil
	return err
}

// resolve decodes records and applies them.
func (w *worker) resolve(records []*kgo.Record) error {
	items, named := w.decoder.meta(records)
	settings, err := w.settings(named)
	if err != nil {
		return err
	}
	w.decoder.events(items, settings)
	w.traced.mark(items)
	return w.apply(items, settings)
}

// notBefore drops what is delivered again: records before next, and those that go back behind others. A
// client whose fetch is set back does that in the middle of a batch, which would take the offset row back.
func notBefore(records []*kgo.Record, next int64) []*kgo.Record {
	kept := make([]*kgo.Record, 0, len(records))
	for _, r := range records {
		if r.Offset >= next {
			kept = append(kept, r)
			next = r.Offset + 1
		}
	}
	return kept
}

// settings insists.
func (w *worker) settings(named map[uuid.UUID]struct{}) (map[uuid.UUID]*event.Settings, error) {
	for attempt := 0; ; attempt++ {
		settings, err := w.tenants.settings(w.ctx, named)
		if err == nil {
			return settings, nil
		}
		if store.Classify(err) == store.Fatal {
			return nil, err
		}
		if err := w.tryLater(attempt, err); err != nil {
			return nil, err
		}
	}
}

// tryLater waits. Nothing is lost meanwhile, and nothing grows: the offset stays where it is, and a full
// queue pauses fetching.
func (w *worker) tryLater(attempt int, err error) error {
	w.metrics.retries.WithLabelValues(retryStore).Inc()
	w.traced.retry(attempt)
	w.rarely.warn("batch does not get into the state store", "topic", w.topic, "partition", w.partition, "attempt", attempt+1, "error", err)
	return w.backoff(attempt)
}

// apply commits items in one transaction; in several, where it cannot be done in one.
func (w *worker) apply(items []item, settings map[uuid.UUID]*event.Settings) error {
	begin := time.Now()
	b := w.batch(items, settings)
	poison := 0
	for attempt := 0; ; attempt++ {
		transaction := w.traced.transaction(len(items))
		out, err := w.store.Apply(w.ctx, b)
		transaction.end(&out, err)
		switch class := store.Classify(err); {
		case err == nil:
			return w.committed(b, &out, begin)
		case errors.Is(err, store.ErrFenced):
			return err
		case class == store.Fatal:
			return err
		case class == store.Poison || store.Contended(err):
			if len(items) > 1 {
				w.metrics.retries.WithLabelValues(retrySplit).Inc()
				if err := w.apply(items[:len(items)/2], settings); err != nil {
					return err
				}
				return w.apply(items[len(items)/2:], settings)
			}
			if class == store.Poison {
				if poison++; poison >= w.cfg.PoisonAttempts {
					return w.giveUp(&items[0], settings, err)
				}
			}
		}
		if err := w.tryLater(attempt, err); err != nil {
			return err
		}
	}
}

// giveUp makes a dead letter of a record that fails alone, and commits that.
func (w *worker) giveUp(it *item, settings map[uuid.UUID]*event.Settings, err error) error {
	if it.dead != nil {
		return fmt.Errorf("record %d cannot even be given up: %w", it.record.Offset, err)
	}
	if w.poisoned++; w.poisoned > w.cfg.MaxPoisoned {
		return fmt.Errorf("%d records in a row cannot be applied: %w", w.poisoned, err)
	}
	w.logPoison(it, err)
	w.traced.gaveUp(it.record.Offset)
	it.event, it.dead = nil, deadLetter(it.record, &it.meta, ReasonNotApplied, err)
	return w.apply([]item{*it}, settings)
}

func (w *worker) batch(items []item, settings map[uuid.UUID]*event.Settings) *store.Batch {
	b := &store.Batch{
		Claim:      w.claim,
		Offset:     w.next.Load(),
		NextOffset: items[len(items)-1].record.Offset + 1,
		Settings:   settings,
		Events:     make([]apply.Event, 0, len(items)),
	}
	for i := range items {
		if items[i].dead != nil {
			b.Dead = append(b.Dead, *items[i].dead)
		} else {
			b.Events = append(b.Events, *items[i].event)
		}
	}
	return b
}

// committed is what follows a commit: nothing that must not get lost.
func (w *worker) committed(b *store.Batch, out *store.Outcome, begin time.Time) error {
	w.next.Store(b.NextOffset)
	w.metrics.committed(w.lane, b, out, time.Since(begin))
	w.metrics.setLag(w.place, w.highWater.Load()-b.NextOffset)
	if out.Applied > 0 {
		w.poisoned = 0
	}
	if len(out.Records) == 0 && !out.Landed {
		return nil
	}
	if err := w.out.Put(w.ctx, outbox.Left{Offset: b.NextOffset, Records: out.Records}); err != nil {
		return errStopped // the records are in the store, for the next owner
	}
	return nil
}
