package sink

import (
	"testing"
)

// What the streams hold is what is sent: the driver's own block is found in its batch. A later version of
// the driver may hide it, and then every value of a batch is copied twice.
func TestBlockIsReached(t *testing.T) {
	r := newRig(t)
	set, err := r.servers(r.dsn).Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := newEventColumns()
	batch, err := r.conn.PrepareBatch(t.Context(), rows.statement(set.Local(tableEvents)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = batch.Abort() }()
	if inside := insideOf(batch); inside == nil || len(inside.Columns) != len(rows.all) {
		t.Error("the driver's block is not found")
	}
	if inside := insideOf(&faultyBatch{Batch: batch}); inside != nil {
		t.Error("a batch that is not the driver's has a block")
	}
	if _, err := newBlock(batch, &newProductRows().rowset); err == nil {
		t.Error("rows of another table are taken")
	}
}
