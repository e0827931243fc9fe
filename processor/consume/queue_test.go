package consume

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func sized(sizes ...int) []*kgo.Record {
	var all []*kgo.Record
	for _, n := range sizes {
		all = append(all, &kgo.Record{Value: make([]byte, n)})
	}
	return all
}

// watched counts the calls of a queue's hooks.
type watched struct{ pauses, resumes, enters, leaves int }

func (w *watched) hooks() hooks {
	return hooks{pause: func() { w.pauses++ }, resume: func() { w.resumes++ }, enter: func() { w.enters++ }, leave: func() { w.leaves++ }}
}

func TestQueueTakesWhatFits(t *testing.T) {
	var w watched
	q := newQueue(100, 1000, w.hooks())
	q.put(sized(10, 10, 10, 50, 400, 1, 1))
	for i, x := range []struct{ records, bytes, want int }{
		{2, 1000, 2}, // records
		{9, 60, 2},   // bytes
		{9, 60, 1},   // one is more than the bytes allow
		{9, 1000, 2}, // what is there
		{9, 1000, 0}, // nothing
	} {
		if got := len(q.take(x.records, x.bytes)); got != x.want {
			t.Errorf("take %d: %d records, not %d", i, got, x.want)
		}
	}
}

func TestQueuePausesFetching(t *testing.T) {
	for name, x := range map[string]struct{ maxRecords, maxBytes int }{"records": {10, 1 << 20}, "bytes": {1 << 20, 100}} {
		var w watched
		q := newQueue(x.maxRecords, x.maxBytes, w.hooks())
		q.put(sized(10, 10, 10, 10, 10, 10, 10, 10, 10))
		if w.pauses != 0 {
			t.Errorf("%s: paused too early", name)
		}
		q.put(sized(10))
		q.put(sized(10))
		if w.pauses != 1 {
			t.Errorf("%s: paused %d times", name, w.pauses)
		}
		q.take(5, 1000)
		if w.resumes != 0 {
			t.Errorf("%s: resumed too early", name)
		}
		q.take(2, 1000)
		if w.resumes != 1 {
			t.Errorf("%s: resumed %d times", name, w.resumes)
		}
		q.put(sized(10, 10, 10, 10, 10, 10, 10, 10, 10))
		q.close()
		if w.pauses != 2 || w.resumes != 2 || len(q.take(9, 9)) != 0 {
			t.Errorf("%s: a closed queue holds the partition: %+v", name, w)
		}
	}
}

func TestQueueIsBusyUntilItRestsEmpty(t *testing.T) {
	var w watched
	q := newQueue(100, 1000, w.hooks())
	q.put(nil)
	if w.enters != 0 {
		t.Error("busy with nothing")
	}
	q.put(sized(1))
	q.take(9, 9)
	q.put(sized(1)) // while the batch is under way
	q.rest()
	if w.enters != 1 || w.leaves != 0 {
		t.Errorf("%+v", w)
	}
	q.take(9, 9)
	q.rest()
	q.rest()
	if w.enters != 1 || w.leaves != 1 {
		t.Errorf("%+v", w)
	}
	q.put(sized(1))
	q.close()
	if w.enters != 2 || w.leaves != 2 {
		t.Errorf("%+v", w)
	}
}
