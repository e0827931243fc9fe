package edge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Work on a large body rests twice as long as it has worked, while small requests come. The bubble's
// clock moves only in Sleep, so that work is as long as it says.
func TestLargeBodiesRest(t *testing.T) {
	small := func(s *Server) { s.courtesy.came(time.Now().UnixMicro()) }
	work := func(r *request, d time.Duration) {
		time.Sleep(d)
		r.turns.worked(glance)
	}
	for name, c := range map[string]struct {
		run   func(s *Server, r *request)
		rests time.Duration
	}{
		"nobody else comes": {func(_ *Server, r *request) { work(r, turn); work(r, turn) }, 0},
		"a turn":            {func(s *Server, r *request) { small(s); work(r, turn) }, rests * turn},
		"half a turn":       {func(s *Server, r *request) { small(s); work(r, turn/2) }, 0},
		"two halves":        {func(s *Server, r *request) { small(s); work(r, turn/2); work(r, turn/2) }, rests * turn},
		"too few bytes to look": {func(s *Server, r *request) {
			small(s)
			time.Sleep(turn)
			r.turns.worked(glance - 1)
		}, 0},
		"a rest is no work": {func(s *Server, r *request) { small(s); work(r, turn); work(r, turn/2) }, rests * turn},
		"it waited long":    {func(s *Server, r *request) { small(s); work(r, lately/2) }, rests * longestTurn},
		"small ones came lately": {func(s *Server, r *request) {
			small(s)
			time.Sleep(lately - turn)
			r.turns.begin(time.Now())
			work(r, turn)
		}, rests * turn},
		"they have stopped": {func(s *Server, r *request) {
			small(s)
			time.Sleep(lately + notice)
			r.turns.begin(time.Now())
			work(r, turn)
		}, 0},
		"no time for it":          {func(s *Server, r *request) { small(s); r.turns.until = time.Now().Add(turn); work(r, turn) }, 0},
		"a batch of small ones":   {func(s *Server, r *request) { small(s); pieces(r, 10, turn/5) }, 2 * rests * turn},
		"an SDK's owes only self": {func(s *Server, r *request) { small(s); r.turns.joint = false; pieces(r, 10, turn/5) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := bare(t)
			synctest.Test(t, func(t *testing.T) {
				r := &request{s: s, turns: turns{s: s, joint: true}}
				r.turns.begin(time.Now())
				c.run(s, r)
				if got := time.Duration(testutil.ToFloat64(s.metrics.rested) * 1e9).Round(time.Microsecond); got != c.rests {
					t.Errorf("rested %s, not %s", got, c.rests)
				}
			})
		})
	}
}

// pieces are n batches that each are worked on for d, less than a turn.
func pieces(r *request, n int, d time.Duration) {
	for range n {
		r.turns.begin(time.Now())
		time.Sleep(d)
		r.turns.end()
	}
	r.turns.begin(time.Now())
}

// Who is small, and who is large.
func TestSmallRequestsAreNoticed(t *testing.T) {
	message := `{"type":"track","event":"x","userId":"u","anonymousId":"a"}`
	list := func(n int) string { return `{"batch":[` + strings.Repeat(message+",", n-1) + message + `]}` }
	for name, c := range map[string]struct {
		path, body, key string
		small           bool
	}{
		"an event":                {"/ingest", page, trackerKey, true},
		"an SDK's message":        {"/v1/track", message, trackerKey, true},
		"an SDK's batch":          {"/v1/batch", list(smallBatch), trackerKey, true},
		"an SDK's large batch":    {"/v1/batch", list(smallBatch + 1), trackerKey, false},
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

// A backfill beside live events rests, in each of its parts, and all of it is taken.
func TestBackfillGivesWay(t *testing.T) {
	s := bare(t)
	const n = 20_000
	body := []byte("[" + strings.Repeat(page+",", n-1) + page + "]")
	for _, encoding := range []string{"", "gzip"} {
		s.courtesy.came(time.Now().UnixMicro())
		wire, before := body, testutil.ToFloat64(s.metrics.rested)
		if encoding != "" {
			wire = zip(t, string(body))
		}
		c := newCall("/tenant/ingest/batch", wire, "X-API-Key", integrationKey, "Content-Type", jsonType, "Content-Encoding", encoding)
		if status := c.run(s); status != 202 || !bytes.Contains(c.ctx.Response.Body(), []byte(fmt.Sprintf(`"accepted":%d,`, n))) {
			t.Fatalf("%q: answered %d: %.200s", encoding, status, c.ctx.Response.Body())
		}
		if rested := testutil.ToFloat64(s.metrics.rested) - before; rested < (10 * turn).Seconds() {
			t.Errorf("%q: it has rested %g s only", encoding, rested)
		}
	}
}
