package throttle

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestOneAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Message
		if n, ok := m.Now(); !ok || n != 0 {
			t.Errorf("the first: %d %v", n, ok)
		}
		for range 5 {
			if _, ok := m.Now(); ok {
				t.Error("repeated at once")
			}
		}
		time.Sleep(Interval)
		if n, ok := m.Now(); !ok || n != 5 {
			t.Errorf("after the interval: %d %v", n, ok)
		}
	})
}
