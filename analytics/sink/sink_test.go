package sink

import (
	"testing"

	"github.com/keystone-cdp/keystone/internal/event"
)

func TestEventsBecomeRows(t *testing.T) {
	r := newRig(t)
	r.start()
	r.produce(
		record(event.TopicEvents, 0, page("m1", "dev-1")),
		record(event.TopicEvents, 1, page("m2", "dev-2")),
		record(event.TopicBackfill, 0, page("m3", "dev-3")))
	r.reach(event.TopicEvents, 0, 1)
	r.reach(event.TopicEvents, 1, 1)
	r.reach(event.TopicBackfill, 0, 1)
	r.want("m1|dev-1|keystone.events|0|0\nm2|dev-2|keystone.events|1|0\nm3|dev-3|keystone.backfill|0|0",
		"SELECT message_id, anonymous_id, toString(topic), toString(partition), toString(offset) FROM events ORDER BY 1")
}
