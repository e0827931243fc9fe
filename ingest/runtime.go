package ingest

import (
	"os"
	"runtime"
	"runtime/debug"
)

// gcPercent is GOGC of an edge.
const gcPercent = 200

// TuneRuntime sets GOMAXPROCS and GOGC, unless the environment says what they are to be. It is for a
// process that is an edge and nothing else.
//
// GOMAXPROCS is doubled. Go's scheduler looks at the network when a processor of its own runs out of
// work, and else every 10 ms. Two large batches keep two processors at work for milliseconds, and a small
// request that came meanwhile waits unseen. With more of them than cores there is nearly always one that
// looks, and the kernel, which shares the cores fairly, lets it.
//
// GOGC is 200. An edge holds little, so that a hundred batches are enough to start a collection, and each
// takes the buffers with it that were kept for the next ones.
func TuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
