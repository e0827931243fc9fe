package main

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/bench/payloads"
)

// collection is the whole of the collected payloads where it lies beside the project, else the part
// that the project carries.
func collection(t *testing.T) []payloads.Case {
	t.Helper()
	whole := os.DirFS("../../../shared/data/payloads")
	if _, err := fs.Stat(whole, "INDEX.jsonl"); err != nil {
		return payloads.All()
	}
	cases, err := payloads.Load(whole)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestRealPayloads sends messages, webhooks and exports that real programs made, each through the
// endpoint it is meant for, and wants of each the fate that the specification gives it; then every
// accepted event in ClickHouse, once.
func TestRealPayloads(t *testing.T) {
	d := startDev(t, lived(t))
	cases := collection(t)
	for _, c := range cases {
		req, err := http.NewRequestWithContext(t.Context(), c.Method, d.EdgeURL+c.Path, bytes.NewReader(c.Body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.ContentType)
		c.SetKey(req.Header, d.TrackerKey, d.IntegrationKey)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Error    struct{ Code string }
			Accepted int
			Rejected []any
		}
		err = json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if resp.StatusCode != c.Want.Status || body.Error.Code != c.Want.Code {
			t.Errorf("%s: %d %q, want %d %q", c.Name, resp.StatusCode, body.Error.Code, c.Want.Status, c.Want.Code)
		}
		if c.Key == payloads.IntegrationKey && (body.Accepted != c.Want.Accepted || len(body.Rejected) != c.Want.Rejected) {
			t.Errorf("%s: %d accepted and %d rejected, want %d and %d", c.Name, body.Accepted, len(body.Rejected), c.Want.Accepted, c.Want.Rejected)
		}
	}
	d.settle(t)
	want := strconv.Itoa(payloads.Distinct(cases))
	for _, query := range []string{"SELECT count() FROM events", "SELECT uniqExact(message_id) FROM events", "SELECT sum(event_count) FROM profiles FINAL"} {
		if got := strings.Join(d.sql(t, query), "|"); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	if dead := d.export(t, "dead-letters"); len(dead) > 0 {
		t.Errorf("dead letters: %v", dead)
	}
}
