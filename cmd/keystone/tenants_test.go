package main

import (
	"errors"
	"maps"
	"testing"

	"github.com/google/uuid"
)

// Who asked before somebody else changed the retention, and puts it into force after them, does not undo the change.
func TestRetentionOfTwoAtOnce(t *testing.T) {
	tenant, refused := uuid.New(), errors.New("refused")
	said, inForce := map[uuid.UUID]int{tenant: 30}, map[uuid.UUID]int{}
	say := func() (map[uuid.UUID]int, error) { return maps.Clone(said), nil }
	other := func() { said[tenant] = 60; inForce = maps.Clone(said) }
	if err := enforce(say, func(days map[uuid.UUID]int) error {
		if days[tenant] == 30 {
			other()
		}
		inForce = days
		return nil
	}); err != nil || inForce[tenant] != 60 {
		t.Errorf("in force are %v, %v", inForce, err)
	}
	if err := enforce(say, func(map[uuid.UUID]int) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if err := enforce(func() (map[uuid.UUID]int, error) { return nil, refused }, nil); !errors.Is(err, refused) {
		t.Error(err)
	}
}
