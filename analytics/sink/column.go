package sink

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/sink/money"
)

// column is one column of an INSERT: its name, the type it is written as, and the values of all rows.
type column struct {
	name, kind string
	streams    []*stream // as they follow each other in ClickHouse's native format
}

// textColumn is String. (LowCardinality is sent as its plain type: see try.)
type textColumn struct{ stream }

func (c *textColumn) add(v string) { c.text(v) }

// uuidColumn is UUID: two halves, each with its lowest byte first.
type uuidColumn struct{ stream }

func (c *uuidColumn) add(v uuid.UUID) {
	c.uint64(binary.BigEndian.Uint64(v[:8]))
	c.uint64(binary.BigEndian.Uint64(v[8:]))
}

// milliColumn and microColumn are DateTime64 of 3 and of 6 digits.
type (
	milliColumn struct{ stream }
	microColumn struct{ stream }
)

func (c *milliColumn) add(v time.Time) { c.uint64(uint64(v.UnixMilli())) }

// fill puts one time into all rows.
func (c *milliColumn) fill(v time.Time) {
	for i := range c.n + 1 {
		for at := c.block(i); len(at) > 0; at = at[8:] {
			binary.LittleEndian.PutUint64(at, uint64(v.UnixMilli()))
		}
	}
}

func (c *microColumn) add(v time.Time) { c.uint64(uint64(v.UnixMicro())) }

// Whole numbers.
type (
	byteColumn   struct{ stream } // UInt8 and Bool
	uint32Column struct{ stream } // and Int32
	uint64Column struct{ stream } // and Int64
)

func (c *byteColumn) add(v bool) {
	one := byte(0)
	if v {
		one = 1
	}
	c.byte(one)
}

func (c *uint32Column) add(v uint32) { c.uint32(v) }

func (c *uint64Column) add(v uint64) { c.uint64(v) }

// amountColumn is Decimal(38, 9), or Nullable of it: which values are NULL, then all values.
type amountColumn struct {
	nullable     bool
	null, values stream
}

func (c *amountColumn) add(v money.Amount, ok bool) {
	switch {
	case !c.nullable:
	case ok:
		c.null.byte(0)
	default:
		c.null.byte(1)
	}
	c.values.uint64(v.Low)
	c.values.uint64(v.High)
}

// addText adds what decimal text says; NULL where it is empty or cannot be held.
func (c *amountColumn) addText(text string) { c.add(money.Parse(text)) }

// list says where the rows of an Array end among the items of their block. Add a row's items, then end the
// row.
type list struct {
	ends  stream
	items uint64 // of the block
	row   uint64 // of the row under way
}

func (l *list) endRow() {
	if len(l.ends.buf) == 0 {
		l.items = 0
	}
	l.items += l.row
	l.row = 0
	l.ends.uint64(l.items)
}

// textListColumn is Array(String).
type textListColumn struct {
	list
	values stream
}

func (c *textListColumn) item(v string) {
	c.row++
	c.values.text(v)
}

// amountListColumn is Array(Decimal(38, 9)), or of Nullable.
type amountListColumn struct {
	list
	amountColumn
}

func (c *amountListColumn) itemText(text string) {
	c.row++
	c.addText(text)
}
