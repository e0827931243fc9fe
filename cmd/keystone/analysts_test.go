package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/analytics/access"
)

// An analyst's login, made by the command line while events come in: it sees its tenant and is there
// over restarts, until it is dropped; no event is lost by ClickHouse's being started again for it.
func TestAnalysts(t *testing.T) {
	dir := lived(t)
	d := startDev(t, dir)
	fields(t, d.keystone(t, "tenants", "create", "acme", "Acme Ltd"))
	acme := *d
	acme.TrackerKey = fields(t, d.keystone(t, "keys", "create", "--tenant", "acme", "--scope", "tracker"))["key"].(string)
	acme.ingest(t, `{"message_id":"a1","anonymous_id":"theirs","event_type":"page"}`)
	d.ingest(t, `{"message_id":"d1","anonymous_id":"ours","event_type":"page"}`)
	d.settle(t)

	if out, err := d.try("analysts", "create", "--tenant", "acme", "ann"); err == nil || !strings.Contains(err.Error(), "mergeTreeIndex") {
		t.Errorf("the engine's hole was not minded: %s %v", out, err)
	}
	if out := d.keystone(t, "analysts", "list"); out != "" {
		t.Errorf("left of a login with a hole: %s", out)
	}
	made := fields(t, d.keystone(t, "analysts", "create", "--tenant", "acme", "ann", "--accept-holes", "--query-time", "30s"))
	password := made["password"].(string)
	ann := *d
	u, err := url.Parse(d.ClickHouseURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("ann", password)
	ann.ClickHouseURL = u.String()
	const question = "SELECT anonymous_id, (SELECT count() FROM sessions) FROM events_resolved"
	if got := strings.Join(ann.sql(t, question), ";"); got != "theirs\t1" {
		t.Errorf("ann sees %q", got)
	}
	if out, err := d.try("analysts", "create", "--tenant", "demo", "ann", "--accept-holes"); err == nil {
		t.Errorf("the same name again: %s", out)
	}
	if out, err := d.try("analysts", "create", "--tenant", "nobody", "bob", "--accept-holes"); err == nil {
		t.Errorf("no tenant: %s", out)
	}
	list := d.keystone(t, "analysts", "list")
	if fields(t, list)["name"] != "ann" || strings.Contains(list, "sha256") {
		t.Errorf("list: %s", list)
	}
	text, err := os.ReadFile(filepath.Join(dir, access.FileName))
	if err != nil || strings.Contains(string(text), password) || strings.Contains(d.log.String(), password) {
		t.Errorf("the password is kept, or %v", err)
	}

	// The sink lost its connections; what comes now comes through.
	acme.ingest(t, `{"message_id":"a2","anonymous_id":"theirs","event_type":"page"}`)
	d.settle(t)
	if got := d.sql(t, "SELECT count() FROM events"); got[0] != "3" {
		t.Errorf("%v events", got)
	}
	d.stop(t)
	d = startDev(t, dir)
	ann.ClickHouseURL = strings.Replace(ann.ClickHouseURL, u.Host, mustHost(t, d.ClickHouseURL), 1)
	if got := strings.Join(ann.sql(t, "SELECT message_id FROM events ORDER BY message_id"), ";"); got != "a1;a2" {
		t.Errorf("after a restart ann sees %q", got)
	}
	d.keystone(t, "analysts", "refresh")
	d.keystone(t, "analysts", "drop", "ann")
	if out, err := d.try("analysts", "drop", "ann"); err == nil {
		t.Errorf("dropped twice: %s", out)
	}
	if out, err := d.try("clickhouse", "client", "--url", ann.ClickHouseURL, "-q", "SELECT 1"); err == nil || !strings.Contains(err.Error(), "AUTHENTICATION_FAILED") {
		t.Errorf("dropped, and still there: %s %v", out, err)
	}
}

func mustHost(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
