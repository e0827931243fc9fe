package ingest

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// gcPercent is GOGC of an edge.
const gcPercent = 200

// lease is how long an edge has more of Go's processors than cores after a large batch has come.
const lease = 10 * time.Second

// TuneRuntime sets GOGC and, while large batches come, GOMAXPROCS, unless the environment says what they
// are to be. It is for a process that is an edge and nothing else.
//
// GOGC is 200. An edge holds little, so that a hundred batches are enough to start a collection, and each
// takes the buffers with it that were kept for the next ones.
//
// GOMAXPROCS is doubled for as long as large batches come. Go's scheduler looks at the network when a
// processor of its own runs out of work, and else every 10 ms. Two large batches keep two processors at
// work for milliseconds, and a small request that came meanwhile waits unseen. With more of them than cores
// there is nearly always one that looks, and the kernel, which shares the cores fairly, lets it. Where only
// small requests come each of those too many would be woken in vain.
func TuneRuntime() {
	if os.Getenv("GOMAXPROCS") == "" {
		own.cores.Store(int32(runtime.GOMAXPROCS(0)))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// own are this process's: GOMAXPROCS is one.
var own processors

// processors are Go's.
type processors struct {
	cores   atomic.Int32 // 0: they are not ours to change
	doubled atomic.Bool
	until   atomic.Int64 // when the lease ends, in nanoseconds since 1970
}

// lend doubles them, for a lease from now on.
func (p *processors) lend() {
	cores := int(p.cores.Load())
	if cores == 0 {
		return
	}
	p.until.Store(time.Now().Add(lease).UnixNano())
	if p.doubled.CompareAndSwap(false, true) {
		runtime.GOMAXPROCS(2 * cores)
		time.AfterFunc(lease, p.giveBack)
	}
}

// giveBack ends the lease, unless it was renewed.
func (p *processors) giveBack() {
	if left := time.Until(time.Unix(0, p.until.Load())); left > 0 {
		time.AfterFunc(left, p.giveBack)
		return
	}
	runtime.GOMAXPROCS(int(p.cores.Load()))
	p.doubled.Store(false)
}
