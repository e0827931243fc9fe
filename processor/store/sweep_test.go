package store

import (
	"testing"
	"time"
)

// Expired message ids go, once per interval over all processes; the others stay.
func TestSweep(t *testing.T) {
	s := newStore(t, newDSN(t), func(c *Config) { c.SweepPage, c.SeenFor = 10, time.Hour })
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	l, sh := claim(t, s, 0), newShop(1)
	apply := func(n int) {
		b := l.batch(sh.events(n))
		if _, err := s.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		l.next = b.NextOffset
	}
	sweep := func(want int64) {
		t.Helper()
		if n, err := s.Sweep(t.Context(), "me"); err != nil || n != want {
			t.Errorf("%d forgotten, not %d: %v", n, want, err)
		}
	}
	apply(55)
	now = now.Add(30 * time.Minute)
	apply(20)
	sweep(0)
	now = now.Add(45 * time.Minute)
	sweep(0) // the lease lasts as long as the interval
	now = now.Add(-45 * time.Minute).Add(s.cfg.SweepEvery)
	var left int
	if err := s.pool.QueryRow(t.Context(), `UPDATE message_ids SET expires_at = $1 WHERE expires_at > $2 RETURNING (SELECT count(*) FROM message_ids)`,
		now.Add(time.Minute), now.Add(-s.cfg.SweepEvery).Add(45*time.Minute)).Scan(&left); err != nil || left != 75 {
		t.Fatal(left, err)
	}
	sweep(55)
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM message_ids`).Scan(&left); err != nil || left != 20 {
		t.Errorf("%d message ids left: %v", left, err)
	}
}
