package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// fields reads one JSON object of the command line's output.
func fields(t *testing.T, text string) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out
}

// TestOperator makes a second tenant by the command line, and wants the two to know nothing of each
// other; then exchanges a key for another, and wants the old one refused within 10 seconds.
func TestOperator(t *testing.T) {
	d := startDev(t, lived(t))
	fields(t, d.keystone(t, "tenants", "create", "acme", "Acme Ltd"))
	settings := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(settings, []byte(`{"default_region":"DE","kinds":["loyalty"],"retention_days":30}`), 0o600); err != nil {
		t.Fatal(err)
	}
	d.keystone(t, "tenants", "set", "acme", settings)
	// What a file leaves out stays: who blocks an address must not keep all others' for it.
	more := filepath.Join(t.TempDir(), "more.json")
	if err := os.WriteFile(more, []byte(`{"blocked":{"ips":["203.0.113.7"]}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := fields(t, d.keystone(t, "tenants", "set", "acme", more)); got["default_region"] != "DE" || got["retention_days"] != 30.0 || got["blocked"] == nil {
		t.Errorf("one setting was set, and all are: %v", got)
	}
	misspelt := filepath.Join(t.TempDir(), "misspelt.json")
	if err := os.WriteFile(misspelt, []byte(`{"default_regoin":"FR"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{misspelt, "/dev/null"} {
		if out, err := d.try("tenants", "set", "acme", file); err == nil {
			t.Errorf("%s was taken: %s", file, out)
		}
	}
	if got := d.sql(t, "SELECT extract(create_table_query, 'toIntervalDay.*') FROM system.tables WHERE database = currentDatabase() AND name = 'events'"); !strings.Contains(strings.Join(got, ""), "toIntervalDay(30) WHERE tenant_id = ") {
		t.Errorf("how long events are kept: %v", got)
	}
	created := fields(t, d.keystone(t, "keys", "create", "--tenant", "acme", "--scope", "tracker", "--label", "web"))
	acme := *d
	acme.TrackerKey = created["key"].(string)
	if list := d.keystone(t, "keys", "list", "--tenant", "acme"); strings.Contains(list, acme.TrackerKey) || !strings.Contains(list, created["key_id"].(string)) {
		t.Errorf("keys list: %s", list)
	}

	same := `{"message_id":"m1","anonymous_id":"device","identity":{"loyalty":"L-1","phone":"0170 1234567"},"event_type":"identify","payload":{"who":"%s"}}`
	acme.ingest(t, strings.ReplaceAll(same, "%s", "acme's"))
	d.ingest(t, `{"message_id":"m1","anonymous_id":"device","identity":"ann@example.com","event_type":"identify","payload":{"who":"demo's"}}`)
	d.settle(t)
	theirs := exportOf(t, d, "acme")
	ours := exportOf(t, d, d.Tenant)
	want(t, find(t, theirs, "event_count", "1"), map[string]string{
		"attributes":  "map[who:acme's]",
		"identifiers": "[map[kind:anonymous value:device] map[kind:loyalty value:L-1] map[kind:phone value:+491701234567]]",
	})
	want(t, find(t, ours, "event_count", "1"), map[string]string{"attributes": "map[who:demo's]"})
	if theirs[0]["profile_id"] == ours[0]["profile_id"] {
		t.Error("two tenants share a profile id")
	}
	if got := d.sql(t, "SELECT uniqExact(tenant_id), count() FROM events"); strings.Join(got, "") != "2\t2" {
		t.Errorf("events: %v", got)
	}

	// within waits until the key's events are answered with a status: a change must be there after 10 seconds.
	within := func(status int) {
		t.Helper()
		for changed := time.Now(); ; time.Sleep(100 * time.Millisecond) { // polling the edge
			a, err := d.post(t.Context(), "/ingest", acme.TrackerKey, "application/json", []byte(`{"anonymous_id":"late","event_type":"page"}`))
			if err != nil {
				t.Fatal(err)
			}
			if a.status == status {
				return
			}
			if time.Since(changed) > 10*time.Second {
				t.Fatalf("after 10 s the key's events are answered with %d, not %d", a.status, status)
			}
		}
	}
	d.keystone(t, "keys", "set", "--tenant", "acme", created["key_id"].(string), "--rate", "0.001", "--burst", "1")
	within(http.StatusTooManyRequests)
	// A key is exchanged: while both are there both work, and the new one goes on when the old one is gone.
	exchanged := acme
	exchanged.TrackerKey = fields(t, d.keystone(t, "keys", "create", "--tenant", "acme", "--scope", "tracker", "--label", "web, next"))["key"].(string)
	d.keystone(t, "keys", "set", "--tenant", "acme", created["key_id"].(string), "--rate", "0", "--burst", "0")
	exchanged.ingest(t, `{"anonymous_id":"late","event_type":"page"}`)
	within(http.StatusOK)
	d.keystone(t, "keys", "revoke", "--tenant", "acme", created["key_id"].(string))
	within(http.StatusUnauthorized)
	exchanged.ingest(t, `{"anonymous_id":"late","event_type":"page"}`)
	if _, err := d.try("keys", "set", "--tenant", "acme", created["key_id"].(string), "--rate", "5"); err == nil {
		t.Error("a revoked key was changed")
	}
	if _, err := d.try("keys", "revoke", "--tenant", "demo", created["key_id"].(string)); err == nil {
		t.Error("a tenant's key was revoked under another tenant's name")
	}

	asked := "SELECT toString({tenant:UUID}), {text:String}"
	if out := d.keystone(t, "clickhouse", "client", "--format", "TSV", "--param", "text=a;b=c", "-q", asked); strings.TrimSpace(out) != d.Tenant+"\ta;b=c" {
		t.Errorf("parameters: %q", out)
	}
	out := d.keystone(t, "clickhouse", "client", "--format", "TSV", "-q", "SELECT count() FROM profiles FINAL WHERE kind = 'anchor'")
	if strings.TrimSpace(out) != "2" {
		t.Errorf("clickhouse client: %q", out)
	}
	// Nothing is sent any more: once the sink has done all and saved how far it got, it need not be stopped.
	d.settle(t)
	const unsaved = `SELECT count() FROM (SELECT topic, partition, max(offset) AS last FROM events GROUP BY topic, partition) AS e
		LEFT JOIN (SELECT topic, partition, next_offset FROM sink_positions FINAL) AS p USING (topic, partition) WHERE p.next_offset <= e.last`
	for begin := time.Now(); d.sql(t, unsaved)[0] != "0"; time.Sleep(100 * time.Millisecond) { // polling ClickHouse
		if time.Since(begin) > time.Minute {
			t.Fatal("after a minute the sink has not saved how far it got")
		}
	}
	elsewhere := startClickHouse(t)
	moved := d.keystone(t, "clickhouse", "migrate", "--to", elsewhere)
	if !strings.Contains(moved, `{"table":"profiles","rows":3,"copied":3,"chunks":1}`) { // the third sent until its key was revoked
		t.Errorf("clickhouse migrate: %s", moved)
	}
	if out := d.keystone(t, "clickhouse", "client", "--url", elsewhere, "--format", "TSV", "-q", "SELECT countIf(message_id = 'm1'), uniqExact(tenant_id) FROM events_resolved"); strings.TrimSpace(out) != "2\t2" {
		t.Errorf("elsewhere: %s", out)
	}
	if status, err := http.Get(d.AdminURL + "/readyz"); err != nil || status.StatusCode != http.StatusOK {
		t.Errorf("readyz: %v %v", status, err)
	}
	d.stop(t)
}

// startClickHouse starts another ClickHouse, empty, and answers its address with credentials.
func startClickHouse(t *testing.T) string {
	t.Helper()
	server, err := clickhouse.New(enginetest.ClickHouseConfig(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server.HTTPDSN()
}

func exportOf(t *testing.T, d *dev, tenant string) []map[string]any {
	t.Helper()
	other := *d
	other.Tenant = tenant
	return other.export(t, "profiles")
}
