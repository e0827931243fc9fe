// Package outbox produces what the processor's transactions promise: the changes of each batch, to
// keystone.changes, and the records that could not be processed, to keystone.dlq.
//
// A batch's records are written into the state store with the batch (processor/store), produced after
// its commit, and then deleted there. A crash in between produces them again: readers tell repetitions
// by the source position in the headers.
package outbox

// Left is a committed batch whose records are, as far as the store knows, still to be produced.
type Left struct {
	Offset  int64 // the next offset after the batch, in its source
	Records []Record
}
