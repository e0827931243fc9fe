package control

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func newPlane(t *testing.T) (*Plane, *pgxpool.Pool) {
	t.Helper()
	dsn := enginetest.Store(t)
	if err := sql.Migrate(t.Context(), dsn, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	pool, err := sql.Open(context.Background(), dsn, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return New(pool), pool
}

func newTenant(t *testing.T, p *Plane, slug string) Tenant {
	t.Helper()
	tenant, err := p.CreateTenant(t.Context(), slug, "Name of "+slug)
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func TestTenants(t *testing.T) {
	p, _ := newPlane(t)
	b := newTenant(t, p, "b-shop")
	a := newTenant(t, p, "a")
	if _, err := p.CreateTenant(t.Context(), "a", "again"); !errors.Is(err, ErrExists) {
		t.Errorf("a second tenant of one slug: %v", err)
	}
	for _, slug := range []string{"", "A", "-a", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", 64)} {
		if _, err := p.CreateTenant(t.Context(), slug, ""); !errors.Is(err, ErrInvalid) {
			t.Errorf("slug %q: %v", slug, err)
		}
	}
	all, err := p.Tenants(t.Context())
	if err != nil || !reflect.DeepEqual(all, []Tenant{a, b}) {
		t.Errorf("%+v, %v", all, err)
	}
	for _, ref := range []string{"b-shop", b.ID.String(), strings.ToUpper(b.ID.String())} {
		if got, err := p.Tenant(t.Context(), ref); err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("%q: %+v, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"c", "", "no such slug\x00", uuid.NewString()} {
		if _, err := p.Tenant(t.Context(), ref); !errors.Is(err, ErrUnknownTenant) || !strings.Contains(err.Error(), "tenants list") {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func set(p *Plane, tenant uuid.UUID, s event.Settings) error {
	_, _, err := p.ChangeSettings(context.Background(), tenant, func(event.Settings) (event.Settings, error) { return s, nil })
	return err
}

func TestSettings(t *testing.T) {
	p, _ := newPlane(t)
	a, b := newTenant(t, p, "a"), newTenant(t, p, "b")
	s := event.DefaultSettings()
	s.DefaultRegion, s.PromoteTraits, s.Kinds, s.Limits = "DE", false, []string{"loyalty"}, map[string]int{"loyalty": 3}
	if err := set(p, a.ID, s); err != nil {
		t.Fatal(err)
	}
	got, err := p.Settings(t.Context(), []uuid.UUID{a.ID, b.ID, uuid.New()})
	if err != nil || len(got) != 2 || !reflect.DeepEqual(*got[a.ID], s) || !reflect.DeepEqual(*got[b.ID], event.DefaultSettings()) {
		t.Errorf("%+v, %v", got, err)
	}
	bad := s
	bad.Limits = map[string]int{"other": 0}
	if err := set(p, a.ID, bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "limits.other") {
		t.Errorf("bad settings: %v", err)
	}
	if err := set(p, uuid.New(), s); !errors.Is(err, ErrUnknownTenant) {
		t.Errorf("settings of no tenant: %v", err)
	}
}

func TestKeys(t *testing.T) {
	p, pool := newPlane(t)
	a, b := newTenant(t, p, "a"), newTenant(t, p, "b")
	settings := event.DefaultSettings()
	settings.DefaultRegion = "FR"
	if err := set(p, a.ID, settings); err != nil {
		t.Fatal(err)
	}
	spec := KeySpec{Tenant: a.ID, Scope: Tracker, Label: "web", Origins: []string{"https://shop.example", "http://localhost:8080"}, Rate: 12.5, Burst: 50}
	secret, info, err := p.CreateKey(t.Context(), spec)
	if err != nil || !strings.HasPrefix(secret, "ks_trk_") || len(secret) != len("ks_trk_")+32 {
		t.Fatalf("%q, %v", secret, err)
	}
	got, err := p.LookupKey(t.Context(), Hash([]byte(secret)))
	want := Key{KeyID: info.KeyID, Tenant: a.ID, Scope: Tracker, Origins: spec.Origins, Rate: 12.5, Burst: 50, Settings: settings}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	other, _, err := p.CreateKey(t.Context(), KeySpec{Tenant: a.ID, Scope: Integration})
	if err != nil || !strings.HasPrefix(other, "ks_int_") || other == secret {
		t.Fatalf("%q, %v", other, err)
	}
	if _, err := p.LookupKey(t.Context(), Hash([]byte(secret+"x"))); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a wrong secret: %v", err)
	}
	if err := p.RevokeKey(t.Context(), b.ID, info.KeyID); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), "keys list") {
		t.Errorf("another tenant's key was revoked: %v", err)
	}
	rate, burst, label := 7.5, 9, "shop"
	if err := p.SetKey(t.Context(), b.ID, info.KeyID, KeyChange{Label: &label}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another tenant's key was changed: %v", err)
	}
	if err := p.SetKey(t.Context(), a.ID, info.KeyID, KeyChange{Rate: &rate, Burst: &burst, Origins: &[]string{"https://new.example"}}); err != nil {
		t.Fatal(err)
	}
	got, err = p.LookupKey(t.Context(), Hash([]byte(secret)))
	want.Rate, want.Burst, want.Origins = rate, burst, []string{"https://new.example"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("changed: %+v, %v", got, err)
	}
	if err := p.SetKey(t.Context(), a.ID, info.KeyID, KeyChange{Label: &label, Origins: &[]string{}}); err != nil {
		t.Fatal(err)
	}
	if got, err = p.LookupKey(t.Context(), Hash([]byte(secret))); err != nil || len(got.Origins) != 0 || got.Rate != rate {
		t.Errorf("from any origin again: %+v, %v", got, err)
	}
	negative := -1.0
	for name, c := range map[string]struct {
		id     string
		change KeyChange
	}{"a negative rate": {info.KeyID, KeyChange{Rate: &negative}}, "a path": {info.KeyID, KeyChange{Origins: &[]string{"https://a.example/x"}}}} {
		if err := p.SetKey(t.Context(), a.ID, c.id, c.change); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 {
		if err := p.RevokeKey(t.Context(), a.ID, info.KeyID); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.SetKey(t.Context(), a.ID, info.KeyID, KeyChange{Rate: &rate}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a revoked key was changed: %v", err)
	}
	if _, err := p.LookupKey(t.Context(), Hash([]byte(secret))); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("a revoked key: %v", err)
	}
	list, err := p.ListKeys(t.Context(), a.ID)
	if err != nil || len(list) != 2 || list[0].KeyID != info.KeyID || list[0].RevokedAt == nil || list[1].RevokedAt != nil || list[0].Label != label {
		t.Errorf("%+v, %v", list, err)
	}
	var found int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM api_keys WHERE strpos(api_keys::TEXT, $1) > 0`, secret).Scan(&found); err != nil || found != 0 {
		t.Errorf("the store holds a secret: %d, %v", found, err)
	}
}

func TestKeySpecs(t *testing.T) {
	p, _ := newPlane(t)
	a := newTenant(t, p, "a")
	ok := KeySpec{Tenant: a.ID, Scope: Tracker}
	for name, change := range map[string]func(*KeySpec){
		"no scope":             func(s *KeySpec) { s.Scope = "" },
		"a path in the origin": func(s *KeySpec) { s.Origins = []string{"https://shop.example/"} },
		"an origin in capital": func(s *KeySpec) { s.Origins = []string{"https://Shop.example"} },
		"a host alone":         func(s *KeySpec) { s.Origins = []string{"shop.example"} },
		"null":                 func(s *KeySpec) { s.Origins = []string{"null"} },
		"too many origins":     func(s *KeySpec) { s.Origins = make([]string, MaxOrigins+1) },
		"origins of a server":  func(s *KeySpec) { s.Scope, s.Origins = Integration, []string{"https://a.example"} },
		"a negative rate":      func(s *KeySpec) { s.Rate = -1 },
		"a negative burst":     func(s *KeySpec) { s.Burst = -1 },
		"a long label":         func(s *KeySpec) { s.Label = strings.Repeat("x", 201) },
	} {
		s := ok
		change(&s)
		if _, _, err := p.CreateKey(t.Context(), s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok.Tenant = uuid.New()
	if _, _, err := p.CreateKey(t.Context(), ok); !errors.Is(err, ErrUnknownTenant) {
		t.Errorf("a key of no tenant: %v", err)
	}
}

func TestJobs(t *testing.T) {
	p, pool := newPlane(t)
	tenant := newTenant(t, p, "a").ID
	id := uuid.New()
	check := func(status string, accepted, processed, failed int64) {
		t.Helper()
		s, err := p.Job(t.Context(), tenant, id)
		if err != nil || s.Status != status || s.Accepted != accepted || s.Processed != processed || s.Failed != failed || s.Rejected != 2 {
			t.Errorf("%+v, %v", s, err)
		}
	}
	advance := func(partition int32, next int64) {
		t.Helper()
		_, err := pool.Exec(t.Context(), `INSERT INTO processor_offsets VALUES ('keystone.backfill', $1, $2, 1, 'test', now(), now())
			ON CONFLICT (topic, part) DO UPDATE SET next_offset = excluded.next_offset`, partition, next)
		if err != nil {
			t.Fatal(err)
		}
	}
	chunk := func(partition int32, last, count int64) Chunk {
		return Chunk{Topic: event.TopicBackfill, Partition: partition, LastOffset: last, Count: count}
	}
	if _, err := p.Job(t.Context(), tenant, id); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("no job: %v", err)
	}
	if err := p.AppendChunks(t.Context(), tenant, id, 1, 0); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("append to no job: %v", err)
	}
	if err := p.SaveJob(t.Context(), Job{Tenant: tenant, ID: id, Accepted: 10, Rejected: 2, Chunks: []Chunk{chunk(0, 99, 10)}}); err != nil {
		t.Fatal(err)
	}
	check(JobEnqueued, 10, 0, 0)
	if err := p.AppendChunks(t.Context(), tenant, id, 5, 0, chunk(1, 6, 3), chunk(1, 8, 2)); err != nil {
		t.Fatal(err)
	}
	if err := p.AppendChunks(t.Context(), tenant, id, 0, 0, chunk(1, 6, 3)); err != nil { // the edge's answer was lost
		t.Fatal(err)
	}
	advance(0, 99) // the last one is not processed yet
	check(JobEnqueued, 15, 0, 0)
	advance(1, 7)
	check(JobProcessing, 15, 3, 0)
	if _, err := pool.Exec(t.Context(), `INSERT INTO dead_letters VALUES ($1, 'keystone.backfill', 0, 50, $2, 'r', 'd', now()), ($1, 'keystone.backfill', 0, 51, 'other', 'r', 'd', now())`, tenant, id.String()); err != nil {
		t.Fatal(err)
	}
	advance(0, 100)
	check(JobProcessing, 15, 13, 1)
	advance(1, 9)
	check(JobDone, 15, 15, 1)
	if _, err := p.Job(t.Context(), uuid.New(), id); !errors.Is(err, ErrUnknownJob) {
		t.Errorf("another tenant sees the job: %v", err)
	}
}

func TestOffsets(t *testing.T) {
	p, pool := newPlane(t)
	for _, text := range []string{
		`INSERT INTO processor_offsets VALUES ('keystone.events', 1, 7, 3, 'me', now(), now()), ('keystone.events', 0, 5, 1, 'you', now(), now())`,
		`INSERT INTO outbox VALUES ('keystone.events', 1, 6, ''), ('keystone.events', 1, 7, '')`,
	} {
		if _, err := pool.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := p.Offsets(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for i := range got {
		if time.Since(got[i].UpdatedAt) > time.Hour {
			t.Errorf("%+v", got[i])
		}
		got[i].UpdatedAt = time.Time{}
	}
	if !reflect.DeepEqual(got, []Offset{{Topic: event.TopicEvents, Partition: 0, Next: 5, Owner: "you"}, {Topic: event.TopicEvents, Partition: 1, Next: 7, Owner: "me", Unpublished: 2}}) {
		t.Errorf("%+v", got)
	}
}

// A store that is down is told from a key that is not there: the edge goes on with what it has cached.
func TestStoreDown(t *testing.T) {
	pool, err := sql.Open(t.Context(), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if _, err := New(pool).LookupKey(t.Context(), Hash([]byte("x"))); err == nil || errors.Is(err, ErrUnknownKey) {
		t.Error(err)
	}
}
