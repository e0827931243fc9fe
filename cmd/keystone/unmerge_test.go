package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-json"
)

// A visitor logs in, is explained, and the collapse is taken back: in the state store and in ClickHouse.
func TestUnmergeAndExplain(t *testing.T) {
	d := startDev(t, lived(t))
	d.ingest(t,
		`{"message_id":"u1","anonymous_id":"tab","event_type":"identify","payload":{"city":"Chicago","pet":"cat"}}`,
		`{"message_id":"u2","anonymous_id":"tab","event_type":"page"}`,
		`{"message_id":"u3","identity":"crm-7","event_type":"identify","payload":{"name":"Ann"}}`)
	d.settle(t)
	d.ingest(t, `{"message_id":"u4","anonymous_id":"tab","identity":"crm-7","event_type":"page"}`)
	d.settle(t)
	d.ingest(t, `{"message_id":"u5","identity":"crm-7","event_type":"identify","payload":{"city":"Miami"}}`)
	d.settle(t)

	merge := d.export(t, "merges")[0]
	loser, winner := merge["loser_id"].(string), merge["winner_id"].(string)
	people := func() []string {
		t.Helper()
		return d.sql(t, `SELECT message_id, profile_id FROM events_resolved WHERE message_id LIKE 'u_' ORDER BY message_id FORMAT TSV`)
	}
	if got := people(); strings.Contains(strings.Join(got, " "), loser) {
		t.Fatalf("before: %q", got)
	}

	text := d.keystone(t, "explain", "--tenant", "demo", "--profile", loser, "--path", "/city")
	for _, part := range []string{
		"profile " + loser + " was merged", "profile    " + winner, `by crm_id "crm-7"`, `because of message "u4"`, `moved anonymous "tab"`,
		`add "/city": absent → "Chicago"`, "from profile " + loser, `event by message "u1"`, `update "/city": "Chicago" → "Miami"`, `event by message "u5"`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("explain does not say %q:\n%s", part, text)
		}
	}

	var done map[string]any
	if err := json.Unmarshal([]byte(d.keystone(t, "unmerge", "--tenant", "demo", "--merge", merge["merge_id"].(string), "--json")), &done); err != nil {
		t.Fatal(err)
	}
	if done["loser_id"] != loser || len(done["kept"].([]any)) != 1 {
		t.Errorf("%v", done)
	}
	d.settle(t)
	want := []string{"u1\t" + loser, "u2\t" + loser, "u3\t" + winner, "u4\t" + winner, "u5\t" + winner}
	if got := people(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("after: %q, want %q", got, want)
	}
	if got := d.sql(t, `SELECT profile_id, attributes, event_count FROM profiles FINAL WHERE profile_id IN ('`+loser+`', '`+winner+`') ORDER BY event_count FORMAT TSV`); strings.Join(got, " ") !=
		loser+"\t"+`{"city":"Chicago","pet":"cat"}`+"\t2 "+winner+"\t"+`{"city":"Miami","name":"Ann"}`+"\t3" {
		t.Errorf("profiles: %q", got)
	}
	if _, err := d.try("unmerge", "--tenant", "demo", "--merge", merge["merge_id"].(string)); err == nil || !strings.Contains(err.Error(), "taken back already") {
		t.Errorf("a second time: %v", err)
	}
	d.keystone(t, "unmerge", "--resend") // nothing is left: no harm
	if text := d.keystone(t, "explain", "--tenant", "demo", "--who", "crm_id:crm-7"); !strings.Contains(text, "taken back 2") || !strings.Contains(text, "the merge that brought it was taken back") {
		t.Errorf("explain does not tell of the unmerge:\n%s", text)
	}
	d.stop(t)
}

// Two who give one address stay two, and both are told why; so is who asks for an address that was refused.
func TestExplainTellsWhatWasRefused(t *testing.T) {
	d := startDev(t, lived(t))
	events := 0
	add := func(identity string) {
		t.Helper()
		d.ingest(t, fmt.Sprintf(`{"message_id":"r%d","identity":%s,"event_type":"identify"}`, events, identity))
		events++
	}
	for _, identity := range []string{`{"crm_id":"ann","email":"shared@example.com"}`, `"bob"`, `{"crm_id":"bob","email":"shared@example.com"}`} {
		add(identity) // bob's are in another partition than ann's; r2 is refused
		d.settle(t)
	}
	for i := range 5 {
		add(fmt.Sprintf(`{"crm_id":"ann","email":"ann%d@example.com"}`, i)) // r7 names the sixth
	}
	d.settle(t)
	profile := func(who string) string {
		t.Helper()
		return fields(t, d.keystone(t, "explain", "--tenant", "demo", "--who", who, "--json"))["profile"].(map[string]any)["profile_id"].(string)
	}
	ann, bob := profile("crm_id:ann"), profile("crm_id:bob")
	merge := ` merge_limit: profile ` + ann + ` is called email "shared@example.com" and was not merged: together they have more of kind crm_id than one may
      by message "r2", event time `
	link := ` link_limit: email "ann4@example.com" was not linked, and the profile has as many of kind email as it may
      by message "r7", event time `
	for who, told := range map[string][]string{
		"crm_id:ann": {"\nrefused\n", merge, ", which counts for profile " + bob + "\n", link},
		"crm_id:bob": {"\nrefused\n", merge},
	} {
		text := d.keystone(t, "explain", "--tenant", "demo", "--who", who)
		for _, part := range told {
			if !strings.Contains(text, part) {
				t.Errorf("%s: explain does not say %q:\n%s", who, part, text)
			}
		}
	}
	if got := fields(t, d.keystone(t, "explain", "--tenant", "demo", "--who", "crm_id:bob", "--json"))["conflicts"].([]any); len(got) != 1 || got[0].(map[string]any)["other_profile_id"] != ann {
		t.Errorf("%v", got)
	}
	for who, part := range map[string]string{"email:ann4@example.com": `(link_limit, by message "r7", which counts for profile ` + ann + ")", "email:never@example.com": "nobody is called that"} {
		if out, err := d.try("explain", "--tenant", "demo", "--who", who); err == nil || !strings.Contains(err.Error()+out, part) {
			t.Errorf("%s: %v\n%s", who, err, out)
		}
	}
	d.stop(t)
}
