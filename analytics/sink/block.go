package sink

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	chproto "github.com/ClickHouse/ch-go/proto"
	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/ClickHouse/clickhouse-go/v2/lib/proto"
)

// block hands rows to a batch of the driver's. The driver's own columns would copy every value into their
// buffers, which are made anew for each insert, and encode each from there into another: what a stream holds
// is what is sent, so ours stand in their place. Where they cannot (the batch is not the driver's own, but
// wraps it), theirs read what is in the streams.
type block struct {
	batch driver.Batch
	own   []*encoded
}

// newBlock checks that the batch's columns are of the types the rows are written as.
func newBlock(batch driver.Batch, rows *rowset) (*block, error) {
	theirs := batch.Columns()
	if len(theirs) != len(rows.all) {
		return nil, fmt.Errorf("the table takes %d columns, not %d", len(theirs), len(rows.all))
	}
	for i, c := range rows.all {
		if kind := string(theirs[i].Type()); kind != c.kind {
			return nil, fmt.Errorf("column %s is %s, not %s", c.name, kind, c.kind)
		}
	}
	b := &block{batch: batch}
	inside := insideOf(batch)
	if inside == nil || len(inside.Columns) != len(theirs) {
		return b, nil
	}
	for i := range inside.Columns {
		own := &encoded{Interface: inside.Columns[i]}
		inside.Columns[i] = own
		b.own = append(b.own, own)
	}
	return b, nil
}

// fill puts the rows' block i into the batch.
func (b *block) fill(rows *rowset, i int) error {
	n := min(rows.rows-i*blockRows, blockRows)
	for j, c := range rows.all {
		if b.own != nil {
			b.own[j].set(&c, i, n)
			continue
		}
		var parts [][]byte
		for _, part := range c.streams {
			parts = append(parts, part.block(i))
		}
		native := bytes.NewReader(bytes.Join(parts, nil))
		if err := b.batch.Columns()[j].Decode(chproto.NewReader(native), n); err != nil {
			return fmt.Errorf("fill column %s: %w", c.name, err)
		}
	}
	return nil
}

// encoded is a column of a block that is in ClickHouse's native format already. Name and type are those of
// the driver's column in it, which stays empty.
type encoded struct {
	chcolumn.Interface
	rows  int
	parts [][]byte
}

func (e *encoded) set(c *column, i, rows int) {
	e.rows, e.parts = rows, e.parts[:0]
	for _, part := range c.streams {
		e.parts = append(e.parts, part.block(i))
	}
}

func (e *encoded) Rows() int { return e.rows }

func (e *encoded) Encode(to *chproto.Buffer) {
	for _, part := range e.parts {
		to.PutRaw(part)
	}
}

func (e *encoded) Reset() { e.rows, e.parts = 0, e.parts[:0] }

var errEncoded = errors.New("the column takes no values, only blocks")

func (e *encoded) Append(any) ([]uint8, error) { return nil, errEncoded }

func (e *encoded) AppendRow(any) error { return errEncoded }

// insideOf is the block a batch of the driver's sends, or nil. The driver shows a copy of its list of columns
// only. What a later version of it keeps elsewhere is not found, and costs time and nothing else:
// TestBlockIsReached tells.
func insideOf(batch driver.Batch) *proto.Block {
	v := reflect.ValueOf(batch)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil
	}
	field := v.Elem().FieldByName("block")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*proto.Block]() {
		return nil
	}
	return (*proto.Block)(field.UnsafePointer())
}
