package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
)

// What was refused is found by whom the event counts for, by who was not merged, and by the identifier.
func TestConflictsOf(t *testing.T) {
	s := newStore(t, newDSN(t))
	tenant, at := applytest.Lenient, time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	crm := func(name string) event.Identifier { return applytest.ID(tenant, event.KindCRM, name) }
	ann, second, bob, email := crm("ann"), crm("second"), crm("bob"), applytest.ID(tenant, event.KindEmail, "bob@example.com")
	var events []apply.Event
	for i, ids := range [][]event.Identifier{
		{ann},
		{ann, second}, // not linked: one crm_id a profile
		{bob, email},
		{ann, email}, // bob is not merged
		{crm("carl")},
	} {
		at := at.Add(time.Duration(i) * time.Second)
		events = append(events, apply.Event{Tenant: tenant, MessageID: fmt.Sprint("m", i), Type: event.Identify, Payload: []byte(`{}`),
			IDs: event.Identifiers{Verified: ids}, At: at, ReceivedAt: at})
	}
	if _, err := s.Apply(t.Context(), claim(t, s, 0).batch(events)); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		tenant          uuid.UUID
		profiles, nodes []uuid.UUID
		limit           int
		want            []string
	}{
		"whom it counts for":    {tenant, []uuid.UUID{ann.Node}, nil, 9, []string{"m1 link_limit second", "m3 merge_limit bob@example.com"}},
		"the newest":            {tenant, []uuid.UUID{ann.Node}, nil, 1, []string{"m3 merge_limit bob@example.com"}},
		"who was not merged":    {tenant, []uuid.UUID{bob.Node}, nil, 9, []string{"m3 merge_limit bob@example.com"}},
		"what was not linked":   {tenant, nil, []uuid.UUID{second.Node}, 9, []string{"m1 link_limit second"}},
		"once, by both":         {tenant, []uuid.UUID{ann.Node, bob.Node}, []uuid.UUID{email.Node}, 9, []string{"m1 link_limit second", "m3 merge_limit bob@example.com"}},
		"who met nobody":        {tenant, []uuid.UUID{crm("carl").Node}, nil, 9, nil},
		"nothing is not nobody": {tenant, nil, nil, 9, nil},
		"another tenant":        {applytest.Strict, []uuid.UUID{ann.Node}, []uuid.UUID{second.Node}, 9, nil},
	} {
		rows, err := s.ConflictsOf(t.Context(), x.tenant, x.profiles, x.nodes, x.limit)
		var got []string
		for _, c := range rows {
			got = append(got, c.MessageID+" "+c.Reason+" "+c.Value)
		}
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, x.want)
		}
	}
}
