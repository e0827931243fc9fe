package ingest

import (
	"os"
	"runtime/debug"
)

// gcPercent is GOGC of an edge.
const gcPercent = 200

// TuneRuntime sets GOGC, unless the environment says what it is to be. It is for a process that is an edge
// and nothing else: one holds little, so that a hundred batches are enough to start a collection, and each
// takes the buffers with it that were kept for the next ones.
func TuneRuntime() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
