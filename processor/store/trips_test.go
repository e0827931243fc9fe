package store

import (
	"strings"
	"sync"
	"testing"

	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

// A batch costs three round trips, whatever its size; a merge of somebody who owns more than the batch
// names costs one more.
func TestRoundTrips(t *testing.T) {
	f := newFaulty(t, func(c *Config) { c.Concurrency = 1 })
	for range 3 { // prepares the statements
		b := f.next(t, 200)
		if _, err := f.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		f.lane.next = b.NextOffset
	}
	var mu sync.Mutex
	var statements []string
	reloads := 0
	f.proxy.Set(func(statement string) faultproxy.Fault {
		mu.Lock()
		defer mu.Unlock()
		statements = append(statements, statement[:min(len(statement), 40)])
		if strings.HasPrefix(statement, "select s.tenant_id") {
			reloads++
		}
		return faultproxy.Fault{}
	})
	for _, size := range []int{1, 10, 500} {
		statements, reloads = nil, 0
		b := f.next(t, size)
		before := f.proxy.RoundTrips()
		if _, err := f.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		f.lane.next = b.NextOffset
		if trips := int(f.proxy.RoundTrips() - before); trips != 3+reloads || len(statements) > 17+3*reloads {
			t.Errorf("%d events: %d round trips, %d reloads, %d statements: %q", size, trips, reloads, len(statements), statements)
		}
		t.Logf("%d events: %d round trips, %d statements", size, 3+reloads, len(statements))
	}
	f.done(t)
}
