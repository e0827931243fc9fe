package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-json"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/event"
)

// examine runs keystone doctor and wants its exit status to be what its findings say.
func (in *installation) examine(args ...string) *doctor.Report {
	in.t.Helper()
	cmd := in.command(append([]string{"doctor", "--json", "--edge", in.client.EdgeURL}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	failed := cmd.Run()
	report := new(doctor.Report)
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		in.t.Fatalf("%v: %s%s", err, &out, &errs)
	}
	if stops := report.Count(doctor.Stops); (failed != nil) != (stops > 0) {
		in.t.Errorf("%d findings stop events, and doctor ended with %v", stops, failed)
	}
	return report
}

// stoppedAt wants the doctor to say that its event stopped somewhere, and nothing else to be wrong. How full
// the disk is on which the test runs is none of its business.
func (in *installation) stoppedAt(report *doctor.Report, text string) {
	in.t.Helper()
	for _, f := range report.Findings {
		if f.Level == doctor.Stops && !strings.Contains(f.Found, text) || f.Level == doctor.Warning && f.Check != "disk" {
			in.t.Errorf("unexpected: %+v", f)
		}
	}
	if (text == "") != (report.Count(doctor.Stops) == 0) {
		in.t.Errorf("want %q in a finding; got %+v", text, report.Findings)
	}
}

// TestDoctor stops one role after the other and wants the doctor to name it, and wants nothing of its
// events to be left for analysts.
func TestDoctor(t *testing.T) {
	in := install(t)
	in.run("topics", "create", "--events-partitions", "3")
	in.run("migrate", "--events-partitions", "3")
	keys := filepath.Join(t.TempDir(), "keys.json")
	made := fields(t, in.run("keys", "init", "--tenant", "shop", "--file", keys))
	if again := fields(t, in.run("keys", "init", "--tenant", "shop", "--file", keys)); again["tracker_key"] != made["tracker_key"] {
		t.Errorf("keys init made other keys the second time: %v, %v", made, again)
	}
	in.client.TrackerKey = made["tracker_key"].(string)
	spool := filepath.Join(t.TempDir(), "spool")
	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", spool)
	sink := in.start("running", "sink")
	processor := in.start("running", "processor")
	in.client.EdgeURL = "http://" + edge.logged("address")
	if err := sendOne(t.Context(), in.client, rolesEvent(1)); err != nil {
		t.Fatal(err)
	}

	report := in.examine("--events-partitions", "3", "--spool-dir", spool, "--key", in.client.TrackerKey)
	in.stoppedAt(report, "")
	for _, s := range report.Probe.Stages {
		if s.Passed != 3 {
			t.Errorf("the probe passed %s on %d of 3 partitions", s.Name, s.Passed)
		}
	}
	in.run("lag", "--wait", "60s")
	in.want("1", "SELECT count() FROM events")
	in.want("1", "SELECT count() FROM profiles FINAL")
	in.want("1", "SELECT count() FROM events_resolved")
	if keys := in.run("keys", "list", "--tenant", doctor.ProbeTenant); keys != "" {
		t.Errorf("the probe's key is left: %s", keys)
	}
	if list := in.run("topics", "list"); !strings.Contains(list, event.TopicEvents) || strings.Contains(list, " - ") {
		t.Errorf("topics list:\n%s", list)
	}

	edge.says("running")
	if out := in.run("ready", "--admin-listen", edge.logged("admin")); out != "ready\n" {
		t.Errorf("ready: %q", out)
	}
	gone := processor.logged("admin")
	processor.stop()
	if out, err := in.command("ready", "--admin-listen", gone).CombinedOutput(); err == nil {
		t.Errorf("a role that is gone is ready: %s", out)
	}
	in.stoppedAt(in.examine("--probe-timeout", "3s"), "stopped at the processor: it is in keystone.events, and no processor has taken it, on every partition within 3s (the group keystone-processor has 0 members)")
	processor = in.start("running", "processor")
	in.run("lag", "--wait", "60s")
	sink.stop()
	in.stoppedAt(in.examine("--probe-timeout", "3s"), "stopped at the sink")
	sink = in.start("running", "sink")
	in.run("lag", "--wait", "60s")
	in.stoppedAt(in.examine(), "") // and removes what the two before have left
	in.run("lag", "--wait", "60s")
	in.want("1", "SELECT count() FROM events")
	in.want("1", "SELECT count() FROM profiles FINAL")

	edge.stop()
	in.stoppedAt(in.examine(), "no answer")

	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(in.brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	processor.stop()
	sink.stop()
	if out, err := in.command("topics", "check", "--events-partitions", "4").CombinedOutput(); err == nil || !strings.Contains(string(out), "not 4 as configured") {
		t.Errorf("topics check: %v %s", err, out)
	}
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), event.TopicChanges); err != nil {
		t.Fatal(err)
	}
	if out, err := in.command("topics", "check").CombinedOutput(); err == nil || !strings.Contains(string(out), "keystone.changes is not there") {
		t.Errorf("topics check: %v %s", err, out)
	}
	if list := in.run("topics", "list"); !strings.Contains(list, " - ") {
		t.Errorf("topics list:\n%s", list)
	}
}

// TestDoctorOfDev runs it as the README says, in words.
func TestDoctorOfDev(t *testing.T) {
	d := startDev(t, lived(t))
	out := d.keystone(t, "doctor")
	warnings := strings.Count(out, "\nWARNING  disk ") // this machine's
	if !strings.Contains(out, fmt.Sprintf("\nNothing stops events; %d warnings.\n", warnings)) || !strings.Contains(out, "came through on all 4 partitions") {
		t.Error(out)
	}
	key := fields(t, d.keystone(t, "keys", "create", "--tenant", "demo", "--scope", "tracker"))
	d.keystone(t, "keys", "revoke", "--tenant", "demo", key["key_id"].(string))
	out, err := d.try("doctor", "--no-probe", "--key", key["key"].(string))
	if err == nil || !strings.Contains(out, "unknown or revoked") || strings.Contains(out, key["key"].(string)) {
		t.Errorf("%v: %s", err, out)
	}
	d.stop(t)
}
