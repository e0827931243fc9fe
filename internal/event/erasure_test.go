package event

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestErasureCovers(t *testing.T) {
	day := func(d int) time.Time { return time.Date(2026, 11, d, 12, 0, 0, 0, time.UTC) }
	never := time.Time{}
	theirs := Erasure{At: day(20)}                            // hers all along
	had := Erasure{From: day(5), Until: day(10), At: day(20)} // hers for five days
	since := Erasure{From: day(15), At: day(20)}              // hers in the end
	all := Erasures{had, since}
	for name, x := range map[string]struct {
		of       Erasures
		at       time.Time // event time
		received time.Time
		verified bool // it names somebody
		want     bool
	}{
		"before the erasure":                        {Erasures{theirs}, day(1), day(1), true, true},
		"of before, backfilled after it":            {Erasures{theirs}, day(1), day(25), true, true},
		"the last moment":                           {Erasures{theirs}, day(20).Add(999 * time.Microsecond), day(25), false, true},
		"the next":                                  {Erasures{theirs}, day(20).Add(time.Millisecond), day(25), false, false},
		"while the device was another's":            {all, day(12), day(12), false, false},
		"while it was hers":                         {all, day(7), day(7), false, true},
		"the moment it became another's":            {all, day(10), day(10), false, false},
		"an instant before":                         {all, day(10).Add(-1), day(10).Add(-1), false, true},
		"from when on it was hers again":            {all, day(15), day(15), true, true},
		"of when it was hers, sent later":           {all, day(7), day(12), false, true},
		"of when it was hers, backfilled":           {Erasures{had}, day(7), day(25), false, true},
		"another's own event of then, sent later":   {Erasures{had}, day(7), day(12), true, false},
		"another's event of before, sent meanwhile": {Erasures{had}, day(1), day(7), true, true},
		"nothing is erased":                         {nil, day(1), day(1), false, false},
	} {
		if got := x.of.Covers(x.at, x.received, x.verified); got != x.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for received, want := range map[time.Time]time.Time{day(1): never, day(10): day(10), day(12): day(10), day(25): day(20).Add(time.Millisecond)} {
		if got := all.Start(received); !got.Equal(want) {
			t.Errorf("who is new on %s is so from %s, want %s", received, got, want)
		}
	}
	if n := len(all.With(had).With(theirs)); n != 3 {
		t.Errorf("%d erasures", n)
	}
	if got := (Erasures{{At: Forever}}).Covers(day(30), day(30), true); !got {
		t.Error("for ever is over")
	}
}

func TestRebornIsSomebodyElse(t *testing.T) {
	at := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	node := NodeID(uuid.Nil, KindEmail, "ann@example.com")
	ids := map[uuid.UUID]bool{node: true, RebornID(node, at): true, RebornID(node, at.Add(time.Millisecond)): true, GraveID(uuid.Nil): true, GraveID(node): true}
	if len(ids) != 5 || RebornID(node, at) != RebornID(node, at.In(time.FixedZone("", 3600))) {
		t.Error(ids)
	}
}

func TestChangeErase(t *testing.T) {
	ann, bob := uuid.New(), uuid.New()
	gone := func(id uuid.UUID) bool { return id == ann }
	c := Change{ProfileID: ann, Profile: &ProfileState{}, Identifiers: make([]IdentifierState, 1), Orders: make([]OrderState, 1), Products: make([]ProductState, 1)}
	if !c.Erase(gone) || c.Profile != nil || len(c.Identifiers)+len(c.Orders) > 0 || len(c.Products) != 1 || c.Erase(gone) {
		t.Errorf("%+v", c)
	}
	c = Change{ProfileID: bob, Profile: &ProfileState{}, Merges: []Merge{{WinnerID: bob, LoserID: ann}, {WinnerID: bob}}}
	if !c.Erase(gone) || c.Profile == nil || len(c.Merges) != 1 || c.Erase(gone) {
		t.Errorf("%+v", c)
	}
}
