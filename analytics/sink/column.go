package sink

import (
	"bytes"
	"encoding/binary"
	"fmt"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/sink/money"
)

// column is one column of an INSERT: its name, and the values of all rows.
type column interface {
	title() string
	// send hands all values to the driver's column number i.
	send(batch driver.Batch, i int) error
	reset()
}

// values is a column of what the driver takes as a slice: string, uuid.UUID, time.Time, numbers.
type values[T any] struct {
	name string
	v    []T
}

func (c *values[T]) add(v T) { c.v = append(c.v, v) }

func (c *values[T]) title() string { return c.name }

func (c *values[T]) send(batch driver.Batch, i int) error { return batch.Column(i).Append(c.v) }

// reset forgets the values; clear, so that they do not keep a batch's records alive.
func (c *values[T]) reset() {
	clear(c.v)
	c.v = c.v[:0]
}

// items are the values of a money or list column, or of the lists in one, in ClickHouse's native
// format.
type items interface {
	appendNative(dst []byte) []byte
	reset()
}

// rowItems are items that know how many rows they are.
type rowItems interface {
	items
	rows() int
}

// native is a column that goes to the driver in ClickHouse's native format: the driver's own way for
// decimals makes five allocations a row, and reflects on lists.
type native struct {
	name  string
	items rowItems
}

func (c native) title() string { return c.name }

func (c native) reset() { c.items.reset() }

func (c native) send(batch driver.Batch, i int) error {
	reader := chproto.NewReader(bytes.NewReader(c.items.appendNative(nil)))
	if err := batch.Columns()[i].Decode(reader, c.items.rows()); err != nil {
		return fmt.Errorf("fill column %s: %w", c.name, err)
	}
	return nil
}

// amounts are Nullable(Decimal(38, 9)), or Decimal(38, 9) where nothing is ever absent.
type amounts struct {
	nullable bool
	null     []byte
	v        []money.Amount
}

func (a *amounts) add(v money.Amount, ok bool) {
	absent := byte(1)
	if ok {
		absent = 0
	}
	a.null = append(a.null, absent)
	a.v = append(a.v, v)
}

// addText adds what decimal text says; NULL where it is empty or cannot be held.
func (a *amounts) addText(text string) { a.add(money.Parse(text)) }

func (a *amounts) rows() int { return len(a.v) }

func (a *amounts) reset() { a.null, a.v = a.null[:0], a.v[:0] }

func (a *amounts) appendNative(dst []byte) []byte {
	if a.nullable {
		dst = append(dst, a.null...)
	}
	for _, v := range a.v {
		dst = binary.LittleEndian.AppendUint64(dst, v.Low)
		dst = binary.LittleEndian.AppendUint64(dst, v.High)
	}
	return dst
}

// stringItems are String.
type stringItems struct{ v []string }

func (s *stringItems) reset() {
	clear(s.v)
	s.v = s.v[:0]
}

func (s *stringItems) appendNative(dst []byte) []byte {
	for _, v := range s.v {
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	return dst
}

// list is Array(T): the items of all rows one after the other, and where each row ends.
type list struct {
	items items
	ends  []uint64
}

// end closes a row, at so many items in all.
func (l *list) end(items int) { l.ends = append(l.ends, uint64(items)) }

func (l *list) rows() int { return len(l.ends) }

func (l *list) reset() {
	l.ends = l.ends[:0]
	l.items.reset()
}

func (l *list) appendNative(dst []byte) []byte {
	for _, end := range l.ends {
		dst = binary.LittleEndian.AppendUint64(dst, end)
	}
	return l.items.appendNative(dst)
}
