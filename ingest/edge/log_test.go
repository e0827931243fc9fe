package edge

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// logged is one record of the log, read back.
type logged struct {
	*kgo.Record
	meta event.Meta
	ev   event.Event
}

// records reads a topic until there are n records.
func (r *rig) records(topic string, n int) []*logged {
	r.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out []*logged
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			r.t.Fatalf("%d of %d records: %v", len(out), n, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			l := &logged{Record: rec}
			if l.meta, err = event.ReadMeta(rec.Headers); err != nil {
				r.t.Fatal(err)
			}
			if err := l.ev.Decode(rec.Value, event.DefaultLimits()); err != nil {
				r.t.Fatalf("%s: %v", rec.Value, err)
			}
			out = append(out, l)
		})
	}
	if len(out) != n {
		r.t.Fatalf("%d records, want %d", len(out), n)
	}
	return out
}

// messageID is the event's id: its own, or the minted one.
func (l *logged) messageID() string {
	if len(l.ev.MessageID) > 0 {
		return string(l.ev.MessageID)
	}
	return l.meta.MessageID
}
