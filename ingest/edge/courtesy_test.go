package edge

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// byHand gives s a clock that moves only when it sleeps, and by tick with each look at it.
func byHand(s *Server, tick time.Duration) (now *time.Time, slept *[]time.Duration) {
	now, slept = new(time.Now()), new([]time.Duration)
	s.courtesy.now = func() time.Time {
		*now = now.Add(tick)
		return *now
	}
	s.courtesy.sleep = func(d time.Duration) {
		*now = now.Add(d)
		*slept = append(*slept, d)
	}
	return now, slept
}

// Work on a large body rests twice as long as it has worked, while small requests come.
func TestLargeBodiesRest(t *testing.T) {
	type hand struct {
		s     *Server
		now   *time.Time
		turns turns
	}
	small := func(h *hand) { h.s.courtesy.came(h.now.UnixMicro()) }
	wait := func(h *hand, d time.Duration) { *h.now = h.now.Add(d) }
	work := func(h *hand, d time.Duration) {
		wait(h, d)
		h.turns.worked(glance)
	}
	pieces := func(h *hand) { // batches that each are less than a turn
		for range 10 {
			h.turns.begin()
			wait(h, turn/5)
			h.turns.end()
		}
		h.turns.begin()
	}
	for name, c := range map[string]struct {
		run   func(h *hand)
		rests time.Duration
	}{
		"nobody else comes":     {func(h *hand) { work(h, turn); work(h, turn) }, 0},
		"a turn":                {func(h *hand) { small(h); work(h, turn) }, rests * turn},
		"half a turn":           {func(h *hand) { small(h); work(h, turn/2) }, 0},
		"two halves":            {func(h *hand) { small(h); work(h, turn/2); work(h, turn/2) }, rests * turn},
		"too few bytes to look": {func(h *hand) { small(h); wait(h, turn); h.turns.worked(glance - 1) }, 0},
		"a rest is no work":     {func(h *hand) { small(h); work(h, turn); work(h, turn/2) }, rests * turn},
		"it waited long":        {func(h *hand) { small(h); work(h, lately/2) }, rests * longestTurn},
		"they came lately":      {func(h *hand) { small(h); wait(h, lately-turn); work(h, 0) }, rests * longestTurn},
		"they have stopped":     {func(h *hand) { small(h); wait(h, lately+notice); work(h, 0) }, 0},
		"the clock was set back": {func(h *hand) {
			small(h)
			wait(h, -time.Hour)
			h.turns.begin()
			work(h, turn)
		}, 0},
		"and they come on": {func(h *hand) {
			small(h)
			wait(h, -time.Hour)
			small(h)
			h.turns.begin()
			work(h, turn)
		}, rests * turn},
		"it has rested enough":   {func(h *hand) { small(h); h.turns.left = rests*turn - 1; work(h, turn) }, 0},
		"a batch of small ones":  {func(h *hand) { small(h); pieces(h) }, 2 * rests * turn},
		"a body that is small":   {func(h *hand) { small(h); h.turns = turns{s: h.s}; work(h, turn); pieces(h) }, 0},
		"a rest that is paid up": {func(h *hand) { small(h); work(h, turn); work(h, turn); work(h, turn) }, 3 * rests * turn},
		"bytes that came": {func(h *hand) {
			small(h)
			wait(h, time.Hour)
			small(h)
			h.turns.arrived(portionRead - 1)
			h.turns.arrived(1)
		}, rests * turn},
		"bytes that were decompressed": {func(h *hand) { small(h); h.turns.inflated(portionInflated); h.turns.inflated(portionInflated) }, 2 * rests * turn},
		"a rest that was too long": {func(h *hand) {
			small(h)
			h.s.courtesy.sleep = func(d time.Duration) { wait(h, 2*d) } // one more: a turn is paid for
			work(h, turn)
			work(h, turn)
			work(h, turn-1)
		}, 2 * rests * turn},
		"one that was much too long": {func(h *hand) {
			small(h)
			h.s.courtesy.sleep = func(d time.Duration) { wait(h, 9*d) } // still
			work(h, turn)
			work(h, turn)
			h.s.courtesy.sleep = func(d time.Duration) { wait(h, d) }
			work(h, turn)
		}, 10 * rests * turn},
	} {
		t.Run(name, func(t *testing.T) {
			s := bare(t)
			now, _ := byHand(s, 0)
			h := &hand{s: s, now: now, turns: turns{s: s}}
			h.turns.admit()
			c.run(h)
			if got := time.Duration(testutil.ToFloat64(s.metrics.rested) * 1e9).Round(time.Microsecond); got != c.rests {
				t.Errorf("rested %s, not %s", got, c.rests)
			}
		})
	}
}

// A message of an SDK, and so many of them.
const message = `{"type":"track","event":"x","userId":"u","anonymousId":"a"}`

func messages(n int) string {
	return `{"batch":[` + strings.Repeat(message+",", n-1) + message + `]}`
}

// Who is small, and who is large.
func TestSmallRequestsAreNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		path, body, key string
		small           bool
	}{
		"an event":                {"/ingest", page, trackerKey, true},
		"an SDK's message":        {"/v1/track", message, trackerKey, true},
		"an SDK's batch":          {"/v1/batch", messages(smallBatch), trackerKey, true},
		"an SDK's large batch":    {"/v1/batch", messages(smallBatch + 1), trackerKey, false},
		"a backfill of one event": {"/tenant/ingest/batch", "[" + page + "]", integrationKey, false},
		"nothing good":            {"/ingest", "{}", trackerKey, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := bare(t)
			before := time.Now().UnixMicro()
			status := newCall(c.path, []byte(c.body), "X-API-Key", c.key, "Content-Type", jsonType).run(s)
			if (status < 300) != (name != "nothing good") {
				t.Fatalf("answered %d", status)
			}
			if last := s.courtesy.small.Load(); (last >= before) != c.small {
				t.Errorf("a small request at %d, now is %d", last, before)
			}
		})
	}
}

// A backfill beside live events rests in each of its parts, as often as it looks at a clock on which all
// that happens takes two turns: once for each glance, and when it begins.
func TestBackfillGivesWay(t *testing.T) {
	const n = 20_000
	lines := strings.Repeat(page+"\n", n)
	glances := n * len(page) / ((glance + len(page) - 1) / len(page) * len(page))
	large := messages(n / 10)
	inLarge := n / 10 * len(message) / ((glance + len(message) - 1) / len(message) * len(message))
	for name, c := range map[string]struct {
		path, body, key, encoding string
		rests, slack              int
	}{
		"plain":                {"/tenant/ingest/batch", lines, integrationKey, "", 2*glances + 2 + n/chunkRecords - window + len(lines)/portionRead, 2},
		"gzip":                 {"/tenant/ingest/batch", lines, integrationKey, "gzip", 2*glances + 2 + n/chunkRecords - window + (len(lines)-64<<10)/portionInflated, 6},
		"an SDK's large batch": {"/v1/batch", large, trackerKey, "", inLarge + 1, 2},
		"an SDK's batch":       {"/v1/batch", messages(smallBatch), trackerKey, "", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := bare(t)
			s.cfg.BulkWithin = time.Minute
			now, slept := byHand(s, 2*turn)
			s.courtesy.small.Store(now.Add(lately / 2).UnixMicro())
			wire := []byte(c.body)
			if c.encoding != "" {
				wire = zip(t, c.body)
			}
			media := jsonType
			if c.path != "/v1/batch" {
				media = "application/x-ndjson"
			}
			call := newCall(c.path, wire, "X-API-Key", c.key, "Content-Type", media, "Content-Encoding", c.encoding)
			if status := call.run(s); status >= 300 || c.key == integrationKey && !strings.Contains(string(call.ctx.Response.Body()), fmt.Sprintf(`"accepted":%d,`, n)) {
				t.Fatalf("answered %d: %.200s", status, call.ctx.Response.Body())
			}
			if got := len(*slept); got < c.rests-c.slack || got > c.rests+c.slack {
				t.Errorf("it has rested %d times, not %d (± %d)", got, c.rests, c.slack)
			}
			s.cfg.BulkWithin = 40 * turn // a tenth of it, and it stops
			*slept = nil
			s.courtesy.small.Store(now.Add(lately / 2).UnixMicro())
			newCall(c.path, wire, "X-API-Key", c.key, "Content-Type", media, "Content-Encoding", c.encoding).run(s)
			var all time.Duration
			for _, d := range *slept {
				all += d
			}
			if all > s.cfg.BulkWithin/2 {
				t.Errorf("it has rested %s, of a time of %s", all, s.cfg.BulkWithin)
			}
		})
	}
}
