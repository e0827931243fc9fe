package produce

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/ingest/spool"
)

// The log takes a record and answers too late: it comes twice, under one message id, in order.
func TestLateAnswer(t *testing.T) {
	b := newBroker(t).start()
	l, sp := newLane(t, config(b), spool.OS())
	warm(t, l)
	release := b.hold()
	if o := send(l, "k", "1"); o.Spooled != 1 || !o.Retained {
		t.Fatalf("%+v", o)
	}
	if o := send(l, "k", "2"); o.Spooled != 1 || o.Retained {
		t.Fatalf("%+v", o)
	}
	release()
	until(t, "the spool is empty", func() bool { return sp.Pending() == 0 })
	sendStraight(t, l, "k", "3")
	if got := strings.Join(all(b.read(4)), " "); got != "1 1 2 3" && got != "1 1 2 3 3" { // that one, too, may be late
		t.Errorf("the log has %s", got)
	}
}

// What gathers behind a group that is late was never sent, so it comes once.
func TestLateAnswerForThoseBehind(t *testing.T) {
	b := newBroker(t).start()
	l, sp := newLane(t, config(b), spool.OS())
	warm(t, l)
	release := b.hold()
	one := l.Submit(record("k", "1"))
	until(t, "the first is under way", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.gather.records) == 0
	})
	two := l.Submit(record("k", "2"))
	if o := l.Wait(one); o.Spooled != 1 || !o.Retained {
		t.Errorf("%+v", o)
	}
	if o := l.Wait(two); o.Spooled != 1 || o.Retained {
		t.Errorf("%+v", o)
	}
	release()
	until(t, "the spool is empty", func() bool { return sp.Pending() == 0 })
	if got := strings.Join(all(b.read(3)), " "); got != "1 1 2" {
		t.Errorf("the log has %s: only the late one may come twice", got)
	}
}

// noDisk is a file system that takes nothing.
type noDisk struct{ spool.FS }

func (noDisk) Create(string) (spool.File, error) { return nil, io.ErrShortWrite }

func TestNeitherLogNorSpool(t *testing.T) {
	b := newBroker(t)
	l, _ := newLane(t, config(b), noDisk{spool.OS()})
	o := send(l, "k", "0")
	if !errors.Is(o.Err, ErrUnavailable) || len(o.Failed) != 1 || !o.Doubtful || !o.Retained {
		t.Errorf("the one that was sent may yet arrive: %+v", o)
	}
	o = sendAside(t, l, "k", "1")
	if !errors.Is(o.Err, ErrUnavailable) || o.Doubtful || o.Retained {
		t.Errorf("the next was never sent: %+v", o)
	}
	b.start()
	until(t, "the log takes records again", func() bool { return len(send(l, "k", "2").Logged) == 1 })
}
