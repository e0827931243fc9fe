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
	// send hands the values of the rows from, to (exclusive) to the driver's column number i.
	send(batch driver.Batch, i, from, to int) error
	reset()
}

// values is a column of what the driver takes as a slice: string, uuid.UUID, time.Time, numbers.
type values[T any] struct {
	name string
	v    []T
}

func (c *values[T]) add(v T) { c.v = append(c.v, v) }

func (c *values[T]) title() string { return c.name }

func (c *values[T]) send(batch driver.Batch, i, from, to int) error {
	return batch.Column(i).Append(c.v[from:to])
}

// reset forgets the values; clear, so that they do not keep a batch's records alive.
func (c *values[T]) reset() {
	clear(c.v)
	c.v = c.v[:0]
}

// items are the values of a money or list column, or of the lists in one. They go to ClickHouse in its
// native format.
type items interface {
	appendNative(dst []byte, from, to int) []byte
	reset()
}

// native is a column that goes to the driver in ClickHouse's native format: the driver's own way for
// decimals makes five allocations a row, and reflects on lists.
type native struct {
	name    string
	items   items
	scratch []byte
}

func (c *native) title() string { return c.name }

func (c *native) reset() { c.items.reset() }

func (c *native) send(batch driver.Batch, i, from, to int) error {
	c.scratch = c.items.appendNative(c.scratch[:0], from, to)
	reader := chproto.NewReader(bytes.NewReader(c.scratch))
	if err := batch.Columns()[i].Decode(reader, to-from); err != nil {
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

func (a *amounts) reset() { a.null, a.v = a.null[:0], a.v[:0] }

func (a *amounts) appendNative(dst []byte, from, to int) []byte {
	if a.nullable {
		dst = append(dst, a.null[from:to]...)
	}
	for _, v := range a.v[from:to] {
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

func (s *stringItems) appendNative(dst []byte, from, to int) []byte {
	for _, v := range s.v[from:to] {
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

func (l *list) reset() {
	l.ends = l.ends[:0]
	l.items.reset()
}

func (l *list) appendNative(dst []byte, from, to int) []byte {
	first, last := l.before(from), l.before(to)
	for _, end := range l.ends[from:to] {
		dst = binary.LittleEndian.AppendUint64(dst, end-first)
	}
	return l.items.appendNative(dst, int(first), int(last))
}

// before is how many items the rows before one have.
func (l *list) before(row int) uint64 {
	if row == 0 {
		return 0
	}
	return l.ends[row-1]
}
