package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/event"
)

// produce writes straight into the log, as no edge would, and answers the records' ids.
func (d *dev) produce(t *testing.T, records ...*kgo.Record) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(d.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(records))
	for i, r := range records {
		ids[i] = r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10)
	}
	return ids
}

func poison(tenant uuid.UUID, value string) *kgo.Record {
	meta := event.Meta{Tenant: tenant, ReceivedAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
	return &kgo.Record{Topic: event.TopicEvents, Key: []byte("key"), Value: []byte(value), Headers: meta.Headers()}
}

// deadLetters is dlq list --json, by id.
func (d *dev) deadLetters(t *testing.T, args ...string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for line := range strings.Lines(d.keystone(t, append([]string{"dlq", "list", "--json"}, args...)...)) {
		row := map[string]any{}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		all[row["id"].(string)] = row
	}
	return all
}

func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("does not say %q:\n%s", p, text)
		}
	}
}

// Three records are poison: of a tenant that does not exist yet, of no tenant, and one that will never
// be an event. The first is replayed once its tenant is there, the second dropped, the third fails again.
func TestDeadLetters(t *testing.T) {
	d := startDev(t, lived(t))
	late := uuid.New()
	headless := poison(late, `{"anonymous_id":"x","event_type":"page"}`)
	headless.Headers = nil
	ids := d.produce(t,
		poison(late, `{"message_id":"late","anonymous_id":"device","event_type":"identify","payload":{"city":"Miami"}}`),
		headless,
		poison(uuid.MustParse(d.Tenant), "{\"broken\x1b[2J"))
	d.ingest(t, `{"message_id":"fine","anonymous_id":"device","event_type":"page"}`)
	d.settle(t)
	if rows := d.export(t, "profiles"); len(rows) != 1 {
		t.Errorf("the neighbour: %v", rows)
	}

	says(t, d.keystone(t, "dlq", "list"), "ID ", ids[0], ids[1], ids[2], late.String(), "none ", "demo ", "unknown_tenant", "bad_record", "invalid_event")
	if all := d.deadLetters(t, "--tenant", "demo"); len(all) != 1 || all[ids[2]]["attempts"] != 1.0 {
		t.Errorf("demo's: %v", all)
	}
	if all := d.deadLetters(t, "--reason", "unknown_tenant", "--limit", "1"); len(all) != 1 || all[ids[0]] == nil {
		t.Errorf("of unknown tenants: %v", all)
	}
	says(t, d.keystone(t, "dlq", "show", ids[0]), "tenant     "+late.String(), "state      open", "unknown_tenant: there is no such tenant",
		"read from  keystone.dlq/0/", "received_at: 1795428000000000 (2026-11-23 10:00:00.000)", `"city":"Miami"`)
	if text := d.keystone(t, "dlq", "show", ids[2]); strings.Contains(text, "\x1b") || !strings.Contains(text, `broken\x1b`) {
		t.Errorf("an event reaches the terminal as it is: %q", text)
	}
	if value := d.keystone(t, "dlq", "show", ids[2], "--value"); value != "{\"broken\x1b[2J" {
		t.Errorf("the value: %q", value)
	}

	conn, err := pgx.Connect(t.Context(), d.SQLDSN)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.Exec(t.Context(), `INSERT INTO tenants (tenant_id, slug, name, settings, created_at) VALUES ($1, 'late', 'Late', '', now())`, late)
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if text := d.keystone(t, "dlq", "replay", "--all", "--tenant", "late", "--dry-run"); text != ids[0]+" would be replayed\n" {
		t.Errorf("dry run: %q", text)
	}
	says(t, d.keystone(t, "dlq", "replay", ids[2], ids[0]), ids[0]+" replayed as ", ids[2]+" replayed as ")
	d.settle(t)
	person := find(t, exportOf(t, d, "late"), "event_count", "1")
	want(t, person, map[string]string{"attributes": "map[city:Miami]"})
	if got := d.sql(t, "SELECT count() FROM events WHERE message_id = 'late'"); strings.Join(got, "") != "1" {
		t.Errorf("events in ClickHouse: %v", got)
	}
	says(t, d.keystone(t, "dlq", "show", ids[0]), "state      replayed, ", "by keystone dlq replay (", ", processed")
	if out, err := d.try("dlq", "replay", ids[0]); err == nil || !strings.Contains(err.Error(), "1 of 1 letters were not replayed") || !strings.Contains(out, "not open: it was replayed as ") {
		t.Errorf("a second replay: %v", err)
	}

	open := d.deadLetters(t)
	if len(open) != 2 || open[ids[1]] == nil {
		t.Fatalf("open: %v", open)
	}
	delete(open, ids[1])
	for again, row := range open {
		if row["attempts"] != 2.0 {
			t.Errorf("the second attempt: %v", row)
		}
		if text := d.keystone(t, "dlq", "show", again); strings.Count(text, "Z invalid_event: ") != 2 {
			t.Errorf("history:\n%s", text)
		}
		says(t, d.keystone(t, "dlq", "show", ids[2]), ", failed again: keystone dlq show "+again)
	}
	d.keystone(t, "dlq", "drop", "--all", "--why", "broken by hand")
	if text := d.keystone(t, "dlq", "drop", "--all", "--why", "nothing left"); text != "no letter is open\n" {
		t.Errorf("%q", text)
	}
	if row := d.deadLetters(t, "--state", "dropped", "--tenant", "none")[ids[1]]; row["why"] != "broken by hand" || !strings.HasPrefix(row["changed_by"].(string), "keystone dlq drop (") {
		t.Errorf("dropped: %v", row)
	}
	if all := d.deadLetters(t, "--state", "all"); len(all) != 4 {
		t.Errorf("something was lost: %v", all)
	}
	d.stop(t)
}
