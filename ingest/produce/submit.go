package produce

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/ingest/spool"
)

// Ticket is a submission under way.
type Ticket struct {
	records []*kgo.Record
	group   *group // nil: it goes to the spool
}

// Submit hands records over; Wait must follow. They must stay as they are until then, and for good
// if the outcome is Retained. It does not block.
func (l *Lane) Submit(records []*kgo.Record) Ticket {
	if !l.direct() {
		return Ticket{records: records}
	}
	l.mu.Lock()
	g := l.gather
	if l.closed || l.late.Load() || len(g.records)+len(records) > l.cfg.GroupRecords {
		l.mu.Unlock()
		return Ticket{records: records}
	}
	g.records = append(g.records, records...)
	wake := len(g.records) >= l.wake
	l.mu.Unlock()
	if wake {
		signal(l.ready)
	}
	return Ticket{records: records, group: g}
}

// Outcome is what became of a submission. Every record is in exactly one of Logged, Refused and
// Failed, or else in the spool.
type Outcome struct {
	Logged  []*kgo.Record // in the log, with their partitions and offsets
	Spooled int
	Refused []*kgo.Record // the log will never take them: they are too large for it
	Failed  []*kgo.Record // Err says why; they are not acknowledged
	Err     error
	// Retained: the client still holds the records' memory. It must not be used again.
	Retained bool
	// Doubtful: what failed may nevertheless reach the log later.
	Doubtful bool
}

// ErrUnavailable says that records could be made durable neither in the log nor in the spool.
var ErrUnavailable = errors.New("neither the log nor the spool takes records")

// Wait tells what became of a submission. It answers within AckWithin + SpoolWithin.
func (l *Lane) Wait(t Ticket) Outcome {
	if t.group == nil {
		return l.toSpool(t.records, Outcome{})
	}
	<-t.group.done
	switch {
	case t.group.unsent:
		return l.toSpool(t.records, Outcome{})
	case t.group.late:
		return l.toSpool(t.records, Outcome{Retained: true, Doubtful: true})
	case t.group.failed == nil:
		return Outcome{Logged: t.records}
	}
	o := Outcome{Retained: true}
	var again []*kgo.Record
	for _, r := range t.records {
		switch err := t.group.failed[r]; {
		case err == nil:
			o.Logged = append(o.Logged, r)
		case forGood(err):
			o.Refused = append(o.Refused, r)
		default:
			again = append(again, r)
			o.Doubtful = true
		}
	}
	if len(again) == 0 {
		return o
	}
	return l.toSpool(again, o)
}

// toSpool appends records behind all others that wait there.
func (l *Lane) toSpool(records []*kgo.Record, o Outcome) Outcome {
	err := spool.ErrFull
	if o.Doubtful || l.spool.Room() { // what is under way already may use the last of it
		err = l.spool.Append(records, l.cfg.SpoolWithin)
	}
	if err != nil {
		o.Err, o.Failed = fmt.Errorf("%w: %w", ErrUnavailable, err), records
		o.Doubtful = o.Doubtful || errors.Is(err, spool.ErrDoubtful)
		l.metrics.unavailable.Add(float64(len(records)))
		return o
	}
	o.Spooled, o.Doubtful = len(records), false
	l.metrics.spooled.Add(float64(len(records)))
	return o
}
