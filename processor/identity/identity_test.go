package identity

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c Counts
		want := map[string]int{}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			kind := rapid.SampledFrom([]string{"anonymous", "crm_id", "email", "loyalty_2", "phone"}).Draw(t, "kind")
			n := rapid.IntRange(-want[kind], 5).Draw(t, "n")
			if c.Add(kind, n); want[kind]+n == 0 {
				delete(want, kind)
			} else {
				want[kind] += n
			}
		}
		total := 0
		for kind, n := range want {
			total += n
			if c.Of(kind) != n {
				t.Fatalf("%s: %d, want %d", kind, c.Of(kind), n)
			}
		}
		if len(c) != len(want) || c.Total() != total || c.Of("other") != 0 {
			t.Fatalf("counts %v, want %v", c, want)
		}
		var kinds []string
		for _, x := range c {
			kinds = append(kinds, x.Kind)
		}
		if !slices.Equal(kinds, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("not sorted: %q", kinds)
		}
		if back, err := ParseCounts(c.String()); err != nil || !slices.Equal(back, c) {
			t.Fatalf("%q comes back as %v, %v", c, back, err)
		}
	})
}

func TestParseCountsRefuses(t *testing.T) {
	for _, s := range []string{"email", "email=", "=1", "email=0", "email=-1", "email=1 email=2", "email=x"} {
		if c, err := ParseCounts(s); err == nil {
			t.Errorf("%q is read as %v", s, c)
		}
	}
}

func TestCompareIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x7f, 0x80, 0xff}), 16, 16)
		a, b := uuid.UUID(half.Draw(t, "a")), uuid.UUID(half.Draw(t, "b"))
		if got, want := CompareIDs(a, b), bytes.Compare(a[:], b[:]); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}

func TestConflictIDs(t *testing.T) {
	tenant, other := uuid.UUID{1}, uuid.UUID{2}
	ids := []uuid.UUID{conflictID(tenant, "m", 0), conflictID(tenant, "m", 1), conflictID(tenant, "n", 0), conflictID(other, "m", 0)}
	slices.SortFunc(ids, CompareIDs)
	if len(slices.Compact(ids)) != 4 {
		t.Error("two conflicts have one id")
	}
	if again := conflictID(tenant, "m", 1); !slices.Contains(ids, again) {
		t.Error("a replay gives another id")
	}
}

// What cannot be is a bug of whoever loaded the state, and must not be papered over.
func TestImpossibleStates(t *testing.T) {
	node := uuid.UUID{1}
	for name, l := range map[string]Loaded{
		"the owner of an identifier is not loaded": {Identifiers: map[uuid.UUID]*Identifier{node: {Node: node, ProfileID: node}}, OrderOwners: none},
		"the owner of a span is not loaded":        {Spans: []*Span{{Node: node, ProfileID: node}}, OrderOwners: none},
		"the owner of an order is not loaded":      {OrderOwners: func(yield func(uuid.UUID) bool) { yield(node) }},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was accepted")
				}
			}()
			New(l, func(*Merge) {})
		})
	}
}

func none(func(uuid.UUID) bool) {}
