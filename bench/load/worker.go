package load

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/goccy/go-json"
)

// The pauses between two attempts where the server names none, and the longest of either kind.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 30 * time.Second
)

// worker owns one connection and sends the jobs of one queue, one after the other.
type worker struct {
	r     *runner
	queue chan *job
	conn  *conn
	tally
}

// tally is what a worker counts; Run adds them up once all have ended.
type tally struct {
	requests     int64
	retries      int64
	acknowledged int64
	rejected     int64
	failed       int64
	broken       int64
	statuses     map[int]int64
	codes        map[string]int64
	latency      Histogram
}

func newWorker(r *runner, queue chan *job) *worker {
	return &worker{r: r, queue: queue, conn: newConn(r.cfg, r.target), tally: tally{statuses: map[int]int64{}, codes: map[string]int64{}}}
}

// connect is for before the clock starts: a steady load has its connections. Who cannot yet does so with the first
// request.
func (w *worker) connect() { _ = w.conn.dial(time.Now().Add(w.r.cfg.Timeout)) }

func (w *worker) run(ctx context.Context) {
	defer w.conn.close()
	defer context.AfterFunc(ctx, w.conn.interrupt)()
	for j := range w.queue {
		if w.r.cfg.Rate == 0 {
			j.due = time.Now()
		}
		events := j.events
		w.deliver(ctx, j)
		if w.r.cfg.OnDone != nil {
			w.r.cfg.OnDone(events)
		}
		w.r.free <- j
	}
}

// deliver sends a job until the fate of all its events is known.
func (w *worker) deliver(ctx context.Context, j *job) {
	giveUp := time.Now().Add(w.r.cfg.RetryFor)
	pause := firstPause
	for ctx.Err() == nil {
		w.requests++
		status, err := w.conn.post(j.body)
		if err != nil {
			w.broken++
		} else {
			w.statuses[status]++
		}
		switch {
		case err == nil && status < 300:
			w.latency.Record(time.Since(j.due))
			if w.taken(j); j.events == 0 {
				return
			}
		case err == nil && !mayRetry(status):
			w.rejected += int64(j.events)
			w.codes[errorCode(w.conn.resp.Body())]++
			return
		}
		wait := rand.N(pause) + pause/2
		if named := retryAfter(w.conn.header("Retry-After")); err == nil && named > 0 {
			wait = min(named, longestPause)
		}
		if time.Now().Add(wait).After(giveUp) || !sleep(ctx, wait) {
			break
		}
		pause = min(2*pause, longestPause)
		w.retries++
	}
	w.failed += int64(j.events)
}

// taken counts the events of an acknowledged request and leaves in j those that were not taken and
// may be sent again. Of a batch, the answer names what was refused.
func (w *worker) taken(j *job) {
	if w.r.cfg.Path != PathBatch {
		w.acknowledged += int64(j.events)
		j.events = 0
		return
	}
	var answer struct {
		Accepted int `json:"accepted"`
		Rejected []struct {
			Index int    `json:"index"`
			Code  string `json:"code"`
		} `json:"rejected"`
	}
	if err := json.Unmarshal(w.conn.resp.Body(), &answer); err != nil || answer.Accepted+len(answer.Rejected) != j.events {
		w.codes[unreadable]++
		w.failed += int64(j.events)
		j.events = 0
		return
	}
	w.acknowledged += int64(answer.Accepted)
	var again []int
	for _, r := range answer.Rejected {
		w.codes[r.Code]++
		if r.Code == unavailable {
			again = append(again, r.Index)
		} else {
			w.rejected++
		}
	}
	j.keep(again)
}

// keep leaves only the events with these indices, which ascend.
func (j *job) keep(indices []int) {
	body := j.body
	j.body, j.events = j.body[:0], 0
	for i := 0; len(indices) > 0; i++ {
		line, rest, _ := bytes.Cut(body, []byte{'\n'})
		if i == indices[0] {
			if j.events > 0 {
				j.body = append(j.body, '\n')
			}
			j.body = append(j.body, line...)
			j.events++
			indices = indices[1:]
		}
		body = rest
	}
}

const (
	unavailable = "unavailable"       // the code of an event that was not taken and may be later
	unreadable  = "unreadable_answer" // our own, for an answer that says nothing of use
)

// mayRetry tells the statuses after which nothing was taken, and later something may be.
func mayRetry(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
}

func errorCode(body []byte) string {
	var answer struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Error.Code == "" {
		return unreadable
	}
	return answer.Error.Code
}

// retryAfter reads a header's value: seconds or a date. Zero is none.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// sleep waits, and answers false where the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
