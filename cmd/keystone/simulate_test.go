package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/consume"
	"github.com/keystone-cdp/keystone/processor/simulate"
	"github.com/keystone-cdp/keystone/sql"
)

// rehearse runs the command with settings and answers its lines by type.
func (d *dev) rehearse(t *testing.T, settings string, args ...string) map[string][]map[string]any {
	t.Helper()
	out := d.keystone(t, append([]string{"identity", "simulate", "--tenant", "demo", "--json", "--settings", settingsFile(t, settings)}, args...)...)
	lines := map[string][]map[string]any{}
	for s := bufio.NewScanner(strings.NewReader(out)); s.Scan(); {
		row := fields(t, s.Text())
		lines[row["type"].(string)] = append(lines[row["type"].(string)], row)
	}
	if len(lines["summary"]) != 1 {
		t.Fatalf("summary: %s", out)
	}
	return lines
}

func settingsFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "new.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// outline is a difference by the values of its identifiers and its causes.
func outline(d map[string]any) string {
	side := func(name string) string {
		var all []string
		for _, p := range d[name].([]any) {
			var ids []string
			for _, i := range p.(map[string]any)["identifiers"].([]any) {
				ids = append(ids, i.(map[string]any)["value"].(string))
			}
			all = append(all, strings.Join(ids, " "))
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	var causes []string
	for _, name := range []string{"current_joins", "new_joins"} {
		joins, _ := d[name].([]any)
		for _, j := range joins {
			j := j.(map[string]any)
			cause := j["message_id"].(string)
			refused, _ := j["refused"].([]any)
			for _, r := range refused {
				cause += fmt.Sprint(" ", r.(map[string]any)["reason"], " ", r.(map[string]any)["limit_kind"])
			}
			causes = append(causes, cause)
		}
	}
	return fmt.Sprintf("%s: %s -> %s; %s", d["kind"], side("current"), side("new"), strings.Join(causes, ", "))
}

// footprint is all that a command could have touched: the rows of the state store with the offset
// rows, the tenants, the ends of the log, the consumer groups and what they committed, and ClickHouse.
func (d *dev) footprint(t *testing.T) map[string]any {
	t.Helper()
	out := map[string]any{"tenants": d.keystone(t, "tenants", "list")}
	for _, what := range []string{"profiles", "identifiers", "merges", "lineage", "orders", "products", "conflicts", "dead-letters"} {
		lines := strings.Split(d.keystone(t, "export", what, "--tenant", d.Tenant), "\n")
		slices.Sort(lines)
		out[what] = lines
	}
	pool, err := sql.Open(t.Context(), d.SQLDSN, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if out["offset rows"], err = control.New(pool).Offsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(d.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out["log ends"] = ends.Offsets().Sorted()
	groups, err := admin.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out["groups"] = groups.Groups()
	out["committed"] = committed(t, admin, ends)
	// FINAL, as the engine merges older versions of rows away when it likes.
	for _, table := range []string{"events", "profiles FINAL", "identity_map FINAL", "profile_merges"} {
		out["clickhouse "+table] = d.sql(t, "SELECT count() FROM "+table)
	}
	return out
}

// committed is what the processor's group has committed, once that is all of the log: it follows the
// offset rows a moment later, for tools that look at lag.
func committed(t *testing.T, admin *kadm.Client, ends kadm.ListedOffsets) kadm.OffsetsList {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		offsets, err := admin.FetchOffsets(t.Context(), consume.DefaultConfig().Group)
		if err != nil {
			t.Fatal(err)
		}
		behind := false
		ends.Each(func(o kadm.ListedOffset) {
			at, ok := offsets.Lookup(o.Topic, o.Partition)
			reads := o.Topic == event.TopicEvents || o.Topic == event.TopicBackfill
			behind = behind || reads && o.Offset > 0 && (!ok || at.At != o.Offset)
		})
		if !behind {
			return offsets.Offsets().Sorted()
		}
		if time.Now().After(deadline) {
			t.Fatal("the group does not come to the end of the log")
		}
		time.Sleep(50 * time.Millisecond) // polling, with a deadline
	}
}

// A dry run tells what other limits and other reading of traits would do, and changes nothing at all.
func TestIdentitySimulate(t *testing.T) {
	d := startDev(t, lived(t))
	d.ingest(t,
		`{"message_id":"m1","anonymous_id":"tab","event_type":"page"}`,
		`{"message_id":"m2","anonymous_id":"tab","identity":{"crm_id":"u1","email":"a@example.com"},"event_type":"identify"}`,
		`{"message_id":"m3","identity":{"crm_id":"u1","email":"b@example.com"},"event_type":"page"}`,
		`{"message_id":"m3","identity":{"crm_id":"u1","email":"b@example.com"},"event_type":"page"}`,
		`{"message_id":"m4","identity":"b@example.com","event_type":"page"}`,
		`{"message_id":"m5","identity":{"crm_id":"u2","email":"a@example.com"},"event_type":"page"}`,
		`{"message_id":"m6","anonymous_id":"phone","event_type":"identify","payload":{"email":"cy@example.com","name":"Cy"}}`)
	history := `{"events":[{"message_id":"h1","identity":"u3","event_type":"identify","timestamp":"2020-05-01T00:00:00Z","payload":{"email":"cy@example.com"}}]}`
	if a, err := d.post(t.Context(), "/tenant/ingest/batch", d.IntegrationKey, "application/json", []byte(history)); err != nil || a.status != 202 {
		t.Fatalf("%v %v", a, err)
	}
	d.settle(t)
	before := d.footprint(t)

	for settings, want := range map[string][]string{
		`{"limits":{"email":5}}`:   nil, // as it is
		`{"limits":{"email":1}}`:   {"split: u1 a@example.com b@example.com tab -> b@example.com, u1 a@example.com tab; m3 link_limit email"},
		`{"limits":{"crm_id":2}}`:  {"merge: u1 a@example.com b@example.com tab, u2 -> u1 u2 a@example.com b@example.com tab; m5 merge_limit crm_id"},
		`{"promote_traits":false}`: {"split: u3 cy@example.com phone -> phone, u3; m6, h1"},
	} {
		lines := d.rehearse(t, settings)
		var got []string
		for _, x := range lines["difference"] {
			got = append(got, outline(x))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", settings, got, want)
		}
		read := lines["summary"][0]["read"].(map[string]any)
		want := map[string]string{"events": "7", "repeated": "1", "truncated": "false"}
		for field, value := range want {
			if fmt.Sprint(read[field]) != value {
				t.Errorf("%s: %s is %v, want %s", settings, field, read[field], value)
			}
		}
		current := lines["summary"][0]["current"].(map[string]any)
		if live := d.liveProfiles(before); fmt.Sprint(current["profiles"]) != fmt.Sprint(live) {
			t.Errorf("%s: the current rules give %v profiles, the processor %d", settings, current["profiles"], live)
		}
	}

	try := func(settings string, args ...string) (string, error) {
		return d.try(append([]string{"identity", "simulate", "--tenant", "demo", "--settings", settingsFile(t, settings)}, args...)...)
	}
	text, err := try(`{"limits":{"crm_id":2}}`)
	for _, part := range []string{"7 of tenant demo", "both sides from nothing: identities formed before", "limits.crm_id 1 -> 2", "merge",
		`now  crm_id "u2" (1 event)`, `joined under the new settings by message "m5"; the current ones refuse it: merge_limit of crm_id`, `- merge_limit of crm_id by message "m5"`} {
		if err != nil || !strings.Contains(text, part) {
			t.Errorf("the text does not say %q: %v\n%s", part, err, text)
		}
	}
	if text, err := try(`{}`, "--since", "all", "--exit-code"); err != nil || !strings.Contains(text, "no difference") {
		t.Errorf("%v\n%s", err, text)
	}
	for name, x := range map[string]struct {
		settings string
		args     []string
		want     string
	}{
		"a difference is a failure if asked": {`{"limits":{"crm_id":2}}`, []string{"--exit-code"}, "the rules make a difference: 1 among profiles, 1 among conflicts"},
		"so is a part of the window":         {`{}`, []string{"--exit-code", "--max-events", "3"}, "not all of the window was read"},
		"a misspelt rule":                    {`{"limit":{"crm_id":2}}`, nil, `"limit" is no setting`},
		"rules that cannot be":               {`{"default_region":"Germany","limits":{"email":0}}`, nil, "limits.email must be at least 1"},
		"a window that is none":              {`{}`, []string{"--since", "tomorrow"}, "is no duration"},
		"history of everything":              {`{}`, []string{"--since", "all", "--history", "all"}, "there is none before the whole log"},
	} {
		if out, err := try(x.settings, x.args...); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}

	for what, now := range d.footprint(t) {
		if !reflect.DeepEqual(now, before[what]) {
			t.Errorf("%s changed from %v to %v", what, before[what], now)
		}
	}
	d.stop(t)
}

// liveProfiles counts those of a footprint.
func (d *dev) liveProfiles(footprint map[string]any) (n int) {
	for _, line := range footprint["profiles"].([]string) {
		var p struct {
			Into string `json:"merged_into"`
		}
		if json.Unmarshal([]byte(line), &p) == nil && p.Into == "" {
			n++
		}
	}
	return n
}

func TestBegins(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"all": {}, "0": {}, "24h": now.Add(-24 * time.Hour), "90m": now.Add(-90 * time.Minute), "7d": now.Add(-7 * 24 * time.Hour),
		"2026-11-01T00:00:00Z": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := begins(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1h", "0d", "xd", "yesterday", "0s"} {
		if got, err := begins(text, now); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

// What the text lists is bounded, and what clients sent is quoted.
func TestSimulationTextIsBounded(t *testing.T) {
	var d simulate.Difference
	d.Kind = simulate.Split
	for n := range 3 * textList {
		p := simulate.Profile{Events: int64(n)}
		for range 2 * textList {
			p.Identifiers = append(p.Identifiers, simulate.Identifier{Kind: "email", Value: "\x1b[31m"})
		}
		d.Current, d.New = append(d.Current, p), append(d.New, p)
		d.NewJoins = append(d.NewJoins, simulate.Cause{MessageID: "m\n"})
	}
	r := &simulate.Report{Comparison: simulate.Comparison{Differences: []simulate.Difference{d, d, d}}}
	var out strings.Builder
	if err := writeSimulation(&out, r, "demo", 1); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, part := range []string{"the first 1 of 3", "and 20 more", "and 10 more (3 events)", "and 20 more messages", `email "\x1b[31m"`, `message "m\n"`} {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q", part)
		}
	}
	if strings.ContainsRune(text, 0x1b) || strings.Count(text, "\n") > 80 {
		t.Errorf("%d lines:\n%s", strings.Count(text, "\n"), text)
	}
}
