package load

import (
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

func (w *worker) run(ctx context.Context) {
	defer w.conn.close()
	defer context.AfterFunc(ctx, w.conn.interrupt)()
	for j := range w.queue {
		if w.r.cfg.Rate == 0 {
			j.due = time.Now()
		}
		w.deliver(ctx, j)
		if w.r.cfg.OnDone != nil {
			w.r.cfg.OnDone(j.events)
		}
		w.r.free <- j
	}
}

// deliver sends a job until its fate is known.
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
			w.taken(j)
			return
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

// taken counts the events of an acknowledged request: of a batch, those that the answer names.
func (w *worker) taken(j *job) {
	if w.r.cfg.Path != PathBatch {
		w.acknowledged += int64(j.events)
		return
	}
	var answer struct {
		Accepted int64 `json:"accepted"`
		Rejected []struct {
			Code string `json:"code"`
		} `json:"rejected"`
	}
	if err := json.Unmarshal(w.conn.resp.Body(), &answer); err != nil {
		w.codes["unreadable_answer"]++
		w.failed += int64(j.events)
		return
	}
	w.acknowledged += answer.Accepted
	w.rejected += int64(len(answer.Rejected))
	w.failed += int64(j.events) - answer.Accepted - int64(len(answer.Rejected)) // unaccounted for: none, if all is well
	for _, r := range answer.Rejected {
		w.codes[r.Code]++
	}
}

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
		return "unreadable_answer"
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
