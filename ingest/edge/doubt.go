package edge

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Bounds of doubt.
const (
	maxDoubts = 10_000
	doubtFor  = 10 * time.Minute // longer than any SDK goes on repeating
)

// doubt remembers the message ids that were minted for events whose fate nobody knows: refused with
// 503, and yet possibly on their way into the log. When the same event of the same tenant comes
// again, without an id again, it gets the same id, and so it counts once.
type doubt struct {
	some  atomic.Bool // the hot path looks no further while there is none
	mu    sync.Mutex
	ids   map[[32]byte]doubtful
	swept time.Time
}

type doubtful struct {
	messageID string
	until     time.Time
}

func doubtKey(tenant uuid.UUID, value []byte) [32]byte {
	h := sha256.New()
	h.Write(tenant[:])
	h.Write(value)
	return [32]byte(h.Sum(nil))
}

// remember notes the minted ids of records that may or may not arrive.
func (d *doubt) remember(tenant uuid.UUID, records []*kgo.Record, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[[32]byte]doubtful{}
	}
	d.sweep(now)
	for _, r := range records {
		for _, h := range r.Headers {
			if h.Key == event.HeaderMessageID && len(d.ids) < maxDoubts {
				d.ids[doubtKey(tenant, r.Value)] = doubtful{string(h.Value), now.Add(doubtFor)}
			}
		}
	}
	d.some.Store(len(d.ids) > 0)
}

// recall is the id that this event was given before, or "".
func (d *doubt) recall(tenant uuid.UUID, value []byte, now time.Time) string {
	if !d.some.Load() {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sweep(now)
	if known := d.ids[doubtKey(tenant, value)]; now.Before(known.until) {
		return known.messageID
	}
	return ""
}

// sweep forgets what is old, now and then. d.mu is held.
func (d *doubt) sweep(now time.Time) {
	if now.Sub(d.swept) < doubtFor/10 {
		return
	}
	d.swept = now
	for k, v := range d.ids {
		if now.After(v.until) {
			delete(d.ids, k)
		}
	}
	d.some.Store(len(d.ids) > 0)
}
