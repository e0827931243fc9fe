package sink

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// poisonInterval bounds the log lines about records that cannot be read.
const poisonInterval = time.Second

// poisonLog counts the records that cannot be read, and logs some of them: where they are and what is
// wrong, never what is in them. (The processor sends the events among them to the dead letters.) It
// is safe for use by several goroutines.
type poisonLog struct {
	metrics *metrics
	log     *slog.Logger

	mu    sync.Mutex
	next  time.Time
	quiet int // since the last line
}

func (p *poisonLog) skip(ctx context.Context, r *kgo.Record, err error) {
	p.metrics.poison.WithLabelValues(r.Topic).Inc()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		p.quiet++
		return
	}
	p.log.WarnContext(ctx, "skipped a record that cannot be read", "topic", r.Topic, "partition", r.Partition,
		"offset", r.Offset, "error", err, "others_not_logged", p.quiet)
	p.next, p.quiet = now.Add(poisonInterval), 0
}
