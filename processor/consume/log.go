package consume

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/keystone-cdp/keystone/processor/store"
)

// logEvery bounds how often a repeated failure is logged; the metrics count them all.
const logEvery = 10 * time.Second

// rarely logs what would otherwise fill the disk while something is down.
type rarely struct {
	log  *slog.Logger
	mu   sync.Mutex
	last map[string]time.Time // by message, of which there are few
}

func newRarely(log *slog.Logger) *rarely { return &rarely{log: log, last: map[string]time.Time{}} }

func (r *rarely) warn(message string, args ...any) {
	r.mu.Lock()
	now := time.Now()
	due := now.Sub(r.last[message]) >= logEvery
	if due {
		r.last[message] = now
	}
	r.mu.Unlock()
	if due {
		r.log.Warn(message, args...)
	}
}

func (w *worker) logPoison(it *item, err error) {
	args := []any{"topic", w.topic, "partition", w.partition, "offset", it.record.Offset, "reason", describe(err)}
	var bug *store.PanicError
	if errors.As(err, &bug) {
		args = append(args, "stack", string(bug.Stack))
	}
	w.log.Error("gave a record up", args...)
}
