package outbox

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// MaxRecordBytes bounds one record's value: it must fit the broker's 1 MiB message with its key and
// headers. A larger change is produced as several records of the same profile.
const MaxRecordBytes = 1<<20 - 64<<10

// Source is where in the log a batch comes from.
type Source struct {
	Topic      string
	Partition  int32
	NextOffset int64 // after the batch
	// Traces are the trace contexts that go with the records of these profiles; nil: none.
	Traces map[uuid.UUID]string
}

// Changes appends the records that tell changes to the column store.
func Changes(dst []Record, src Source, changes []event.Change) ([]Record, error) {
	w := writer{records: slices.Grow(dst, len(changes)), traces: src.Traces, room: make([]kgo.RecordHeader, 4*len(changes)), headers: [...]kgo.RecordHeader{
		{Key: event.HeaderSourceTopic, Value: []byte(src.Topic)},
		{Key: event.HeaderSourcePartition, Value: strconv.AppendInt(nil, int64(src.Partition), 10)},
		{Key: event.HeaderSourceOffset, Value: strconv.AppendInt(nil, src.NextOffset, 10)},
	}}
	for i := range changes {
		if err := w.change(&changes[i]); err != nil {
			return nil, err
		}
	}
	return w.records, nil
}

type writer struct {
	records  []Record
	headers  [3]kgo.RecordHeader
	room     []kgo.RecordHeader // for the headers of the records to come
	sequence int64
	traces   map[uuid.UUID]string
}

func (w *writer) change(c *event.Change) error {
	value, err := json.MarshalWithOption(c, json.DisableHTMLEscape())
	if err != nil {
		return fmt.Errorf("write a change: %w", err)
	}
	if len(value) <= MaxRecordBytes {
		w.record(c, value)
		return nil
	}
	parts := split(c, len(value)/MaxRecordBytes+1)
	if parts == nil && shorten(c) {
		return w.change(c)
	}
	if parts == nil {
		return fmt.Errorf("%w: one change of a profile has %d bytes, the limit is %d", ErrTooLarge, len(value), MaxRecordBytes)
	}
	for i := range parts {
		if err := w.change(&parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) record(c *event.Change, value []byte) {
	if len(w.room) == 0 {
		w.room = make([]kgo.RecordHeader, 4)
	}
	headers := w.room[:4:4]
	w.room = w.room[4:]
	copy(headers, w.headers[:])
	headers[3] = kgo.RecordHeader{Key: event.HeaderSequence, Value: strconv.AppendInt(nil, w.sequence, 10)}
	w.sequence++
	if traceparent, ok := w.traces[c.ProfileID]; ok {
		headers = append(headers, kgo.RecordHeader{Key: event.HeaderTraceparent, Value: []byte(traceparent)})
	}
	w.records = append(w.records, Record{Topic: event.TopicChanges, Key: []byte(c.ProfileID.String()), Value: value, Headers: headers})
}

// split takes a change apart: the profile's state first, then what is said about it, list by list; a
// list that is alone goes into so many pieces, or into one for each row. It is done at once: cut
// in two again and again, what one batch says of one profile would be written out at every step. Nil is
// what cannot be split.
func split(c *event.Change, pieces int) []event.Change {
	s := splitter{whole: c, pieces: 1}
	if kinds(c) == 1 {
		s.pieces = pieces
	}
	if c.Profile != nil {
		s.part().Profile = c.Profile
	}
	cut(&s, c.Identifiers, func(part *event.Change, l []event.IdentifierState) { part.Identifiers = l })
	cut(&s, c.Merges, func(part *event.Change, l []event.Merge) { part.Merges = l })
	cut(&s, c.Lineage, func(part *event.Change, l []event.AttributeChange) { part.Lineage = l })
	cut(&s, c.Orders, func(part *event.Change, l []event.OrderState) { part.Orders = l })
	cut(&s, c.Products, func(part *event.Change, l []event.ProductState) { part.Products = l })
	if len(s.parts) < 2 {
		return nil
	}
	return s.parts
}

// kinds is how many kinds of things a change says.
func kinds(c *event.Change) (n int) {
	for _, there := range []bool{c.Profile != nil, len(c.Identifiers) > 0, len(c.Merges) > 0, len(c.Lineage) > 0, len(c.Orders) > 0, len(c.Products) > 0} {
		if there {
			n++
		}
	}
	return n
}

type splitter struct {
	whole  *event.Change
	pieces int // of each list
	parts  []event.Change
}

// part is a new one, valid until the next.
func (s *splitter) part() *event.Change {
	s.parts = append(s.parts, event.Change{TenantID: s.whole.TenantID, ProfileID: s.whole.ProfileID})
	return &s.parts[len(s.parts)-1]
}

func cut[T any](s *splitter, list []T, put func(part *event.Change, piece []T)) {
	if len(list) == 0 {
		return
	}
	for piece := range slices.Chunk(list, (len(list)+s.pieces-1)/s.pieces) {
		put(s.part(), piece)
	}
}

// shorten takes from a lone merge what the state store keeps as well: the lists of what moved, which
// have no bound. It answers false where there is nothing to take.
func shorten(c *event.Change) bool {
	if len(c.Merges) != 1 || len(c.Merges[0].MovedIdentifiers)+len(c.Merges[0].MovedOrders) == 0 {
		return false
	}
	m := c.Merges[0]
	m.MovedIdentifiers, m.MovedOrders = nil, nil
	c.Merges = []event.Merge{m}
	return true
}
