package ingest

import (
	"os"
	"runtime"
)

// OversubscribeProcessors doubles GOMAXPROCS, unless the environment says what it is to be. It is for a
// process that is an edge and nothing else.
//
// Go's scheduler looks at the network when a processor of its own runs out of work, and else every 10
// ms. Two large batches keep two processors at work for milliseconds, and a small request that came
// meanwhile waits unseen. With more of them than cores there is nearly always one that looks, and the
// kernel, which shares the cores fairly, lets it.
func OversubscribeProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}
