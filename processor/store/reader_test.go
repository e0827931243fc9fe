package store

import (
	"encoding/json"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/apply"
	"github.com/keystone-cdp/keystone/processor/apply/applytest"
)

// ndjson is what `keystone export` prints.
func ndjson[T any](t *testing.T, rows iter.Seq2[T, error]) []string {
	t.Helper()
	var lines []string
	for row, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

func TestExports(t *testing.T) {
	s := newStore(t, newDSN(t), func(c *Config) { c.ReadPage = 2 })
	s.now = func() time.Time { return applytest.ProcessedAt }
	tenant := applytest.Lenient
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	ann, bob := applytest.ID(tenant, event.KindEmail, "ann@example.com"), applytest.ID(tenant, event.KindCRM, "bob")
	device := applytest.ID(tenant, event.KindAnonymous, "device")
	n := 0
	e := func(typ event.Type, name, payload string, anonymous, verified []event.Identifier) apply.Event {
		n++
		at := at.Add(time.Duration(n) * time.Second)
		return apply.Event{Tenant: tenant, MessageID: "m" + string(rune('0'+n)), Type: typ, Name: name, Payload: []byte(payload),
			IDs: event.Identifiers{Anonymous: anonymous, Verified: verified}, At: at, ReceivedAt: at}
	}
	ids := func(x ...event.Identifier) []event.Identifier { return x }
	l := claim(t, s, 0)
	b := l.batch([]apply.Event{
		e(event.Track, "Order Completed", `{"order_id":1001,"total":"100.00","currency":"EUR","tax":0,"products":[{"sku":"p1","quantity":9007199254740993,"price":0.10}]}`, ids(device), nil),
		e(event.Identify, "", `{"city":"Chicago","n":1.50}`, ids(device), ids(ann)),
		e(event.Identify, "", `{"city":"Miami"}`, nil, ids(ann)),
		e(event.Page, "", `{}`, ids(device), ids(bob)),
		e(event.Identify, "", `{}`, nil, ids(bob, applytest.ID(tenant, event.KindCRM, "bob2"))),
	})
	b.Dead = []DeadLetter{{Tenant: tenant, Offset: 3, JobID: "j", Reason: "r", Detail: "d"}}
	if _, err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}

	profiles := map[uuid.UUID]*ProfileRow{}
	for p, err := range s.Profiles(t.Context(), tenant, true) {
		if err != nil {
			t.Fatal(err)
		}
		profiles[p.ProfileID] = p
	}
	if len(profiles) != 3 || *profiles[device.Node].MergedInto != ann.Node || profiles[ann.Node].MergedInto != nil {
		t.Fatalf("%+v", profiles)
	}
	if p := profiles[ann.Node]; string(p.Attributes) != `{"city":"Miami","n":1.50}` || p.EventCount != 3 || len(p.Identifiers) != 1 || p.Identifiers[0] != (NameRow{"email", "ann@example.com"}) {
		t.Errorf("%+v", p)
	}
	if live := ndjson(t, s.Profiles(t.Context(), tenant, false)); len(live) != 2 || strings.Contains(strings.Join(live, ""), "merged_into") {
		t.Errorf("live profiles: %v", live)
	}
	if got := ndjson(t, s.Profiles(t.Context(), uuid.New(), true)); got != nil {
		t.Errorf("another tenant's profiles: %v", got)
	}
	for name, x := range map[string]struct {
		got  []string
		want []string // of each line a part
	}{
		"orders": {ndjson(t, s.Orders(t.Context(), tenant)), []string{`{"order_id":"1001","profile_id":"` + ann.Node.String() +
			`","status":"completed","items":[{"product_id":"p1","quantity":9007199254740993,"price":0.10}],"total":100.00,"currency":"EUR","tax":0,`}},
		"products":     {ndjson(t, s.Products(t.Context(), tenant)), []string{`{"product_id":"p1","price":0.10,"skeleton":true,"first_seen":`}},
		"merges":       {ndjson(t, s.Merges(t.Context(), tenant)), []string{`"loser_id":"` + device.Node.String() + `"`}},
		"conflicts":    {ndjson(t, s.Conflicts(t.Context(), tenant)), []string{`"limit_kind":"crm_id"`}},
		"dead letters": {ndjson(t, s.DeadLetters(t.Context(), tenant)), []string{`{"topic":"keystone.events","partition":0,"offset":3,"job_id":"j","reason":"r","detail":"d",`}},
		"lineage": {ndjson(t, s.Lineage(t.Context(), tenant)), []string{`"path":"/city","op":"add","new":"Chicago"`, `"path":"/n","op":"add","new":1.50`,
			`"path":"/city","op":"update","old":"Chicago","new":"Miami"`}},
	} {
		if len(x.got) != len(x.want) {
			t.Errorf("%s: %d rows, not %d:\n%s", name, len(x.got), len(x.want), strings.Join(x.got, "\n"))
			continue
		}
		for i := range x.want {
			if !strings.Contains(x.got[i], x.want[i]) {
				t.Errorf("%s: %s lacks %s", name, x.got[i], x.want[i])
			}
		}
	}
	var spans []IdentifierRow
	for row, err := range s.Identifiers(t.Context(), tenant) {
		if err != nil {
			t.Fatal(err)
		}
		if row.Node == device.Node {
			spans = append(spans, row)
		}
	}
	if len(spans) != 2 || spans[0].Current || spans[0].ProfileID != ann.Node || spans[0].ValidFrom != nil ||
		!spans[1].Current || spans[1].ProfileID != bob.Node || !spans[1].ValidFrom.Equal(at.Add(4*time.Second)) {
		t.Errorf("the relinked device's spans: %+v", spans)
	}
}

// Reading many pages gives every row once, also when the reader leaves early.
func TestReadersPage(t *testing.T) {
	s := newStore(t, newDSN(t), func(c *Config) { c.ReadPage = 7 })
	sh, l := newShop(2), claim(t, s, 0)
	b := l.batch(sh.events(200))
	if _, err := s.Apply(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var want int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM profiles WHERE merged_into IS NULL`).Scan(&want); err != nil {
		t.Fatal(err)
	}
	seen := map[uuid.UUID]bool{}
	for p, err := range s.Profiles(t.Context(), sh.tenant, false) {
		if err != nil {
			t.Fatal(err)
		}
		seen[p.ProfileID] = true
	}
	if len(seen) != want || want < 50 {
		t.Errorf("%d profiles read of %d", len(seen), want)
	}
	for _, err := range s.Identifiers(t.Context(), sh.tenant) {
		if err != nil {
			t.Error(err)
		}
		break // a reader may stop early
	}
}
