package ingest

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// There are twice as many while large batches come, and a lease longer.
func TestProcessorsAreLent(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	synctest.Test(t, func(t *testing.T) {
		var p processors
		want := func(when string, n int) {
			t.Helper()
			synctest.Wait()
			if got := runtime.GOMAXPROCS(0); got != n {
				t.Errorf("%s: %d", when, got)
			}
		}
		p.lend()
		want("where they are not ours", before)
		p.cores.Store(int32(before))
		for range 3 {
			p.lend()
			want("a batch came", 2*before)
			time.Sleep(lease / 2)
		}
		want("half a lease after the last one", 2*before)
		time.Sleep(lease)
		want("a lease and a half after it", before)
		p.lend()
		want("another came", 2*before)
		time.Sleep(2 * lease)
		want("and long ago", before)
	})
}
