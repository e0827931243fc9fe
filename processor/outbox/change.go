package outbox

import (
	"fmt"
	"strconv"

	"github.com/goccy/go-json"
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
}

// Changes appends the records that tell changes to the column store.
func Changes(dst []Record, src Source, changes []event.Change) ([]Record, error) {
	w := writer{records: dst, headers: [...]kgo.RecordHeader{
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
	sequence int64
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
	first, rest, ok := split(c)
	if !ok && shorten(c) {
		return w.change(c)
	}
	if !ok {
		return fmt.Errorf("%w: one change of a profile has %d bytes, the limit is %d", ErrTooLarge, len(value), MaxRecordBytes)
	}
	if err := w.change(&first); err != nil {
		return err
	}
	return w.change(&rest)
}

func (w *writer) record(c *event.Change, value []byte) {
	headers := make([]kgo.RecordHeader, 4)
	copy(headers, w.headers[:])
	headers[3] = kgo.RecordHeader{Key: event.HeaderSequence, Value: strconv.AppendInt(nil, w.sequence, 10)}
	w.sequence++
	w.records = append(w.records, Record{Topic: event.TopicChanges, Key: []byte(c.ProfileID.String()), Value: value, Headers: headers})
}

// split takes a change apart: the profile's state first, then what is said about it, list by list.
func split(c *event.Change) (first, rest event.Change, ok bool) {
	first = event.Change{TenantID: c.TenantID, ProfileID: c.ProfileID}
	rest = *c
	lists := len(c.Identifiers) + len(c.Merges) + len(c.Lineage) + len(c.Orders) + len(c.Products)
	switch {
	case lists == 0, lists == 1 && c.Profile == nil:
		return first, rest, false
	case c.Profile != nil:
		first.Profile, rest.Profile = c.Profile, nil
	case halve(&first.Identifiers, &rest.Identifiers, lists), halve(&first.Merges, &rest.Merges, lists),
		halve(&first.Lineage, &rest.Lineage, lists), halve(&first.Orders, &rest.Orders, lists):
	default:
		halve(&first.Products, &rest.Products, lists)
	}
	return first, rest, true
}

// halve moves a list to first; half of it where it is all that is left. It answers false on an
// empty list.
func halve[T any](first, rest *[]T, all int) bool {
	n := len(*rest)
	if n == 0 {
		return false
	}
	if n == all {
		n /= 2
	}
	*first, *rest = (*rest)[:n], (*rest)[n:]
	return true
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
