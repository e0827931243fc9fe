package main

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// TestBackup backs the two stores up at two moments, while events flow; destroys both at a third, while
// events flow; and restores them. The log has all of it. In the end everything is as if nothing had happened.
func TestBackup(t *testing.T) {
	drill(t)
	want := calmState(t)
	for name, first := range map[string]string{"the state store's is older": "store", "ClickHouse's is older": "columns"} {
		t.Run(name, func(t *testing.T) {
			b := installForBackup(t)
			var copies map[string][]byte
			backups := map[string]func(){
				"store":   func() { copies = dump(t, b.store) },
				"columns": func() { b.backupColumns("a") },
			}
			b.sending(0, 17, backups[first])
			delete(backups, first)
			b.settle() // what is between the two is in one of them
			for _, backup := range backups {
				b.sending(17, 30, backup)
			}
			b.settle()
			b.sending(30, 40, func() {
				b.processor.kill()
				b.sink.kill()
				b.loseStore(copies)
				b.loseColumns("a")
			})
			// The edge has lost its store too: it is started with the new one.
			b.edge.stop()
			b.edge = b.installation.edge("--listen", strings.TrimPrefix(b.client.EdgeURL, "http://"))

			waitFor(t, func() bool { // those that were killed are in their groups until their sessions end
				_, err := b.try("recover", "--yes")
				return err == nil || !strings.Contains(err.Error(), "stop every processor")
			})
			b.work()
			if err := b.send(40, crashEventsPerUser); err != nil {
				t.Fatal(err)
			}
			b.holds(want)
		})
	}
}

// TestBackupOfClickHouse: restored alone, from a backup that was made under load, it needs nothing but the
// sink, as long as the log has what it lacks.
func TestBackupOfClickHouse(t *testing.T) {
	drill(t)
	want := calmState(t)
	b := installForBackup(t)
	b.sending(0, 20, func() { b.backupColumns("c") })
	b.sending(20, 40, func() {
		b.sink.kill()
		b.loseColumns("c")
	})
	b.sink = b.start("running", "sink")
	if err := b.send(40, crashEventsPerUser); err != nil {
		t.Fatal(err)
	}
	b.holds(want)
}

// TestBackupOfTheStateStore: the processor refuses to go on with a state store that is older than what was
// processed, and ClickHouse's tables are right again after a recovery, and not before.
func TestBackupOfTheStateStore(t *testing.T) {
	drill(t)
	want := calmState(t)
	b := installForBackup(t)
	if err := b.send(0, 20); err != nil {
		t.Fatal(err)
	}
	b.settle()
	copies := dump(t, b.store)
	if err := b.send(20, 40); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.processor.stop()
	if _, err := b.try("recover", "--yes"); err == nil || !strings.Contains(err.Error(), "stop every") {
		t.Errorf("recover beside a sink: %v", err)
	}
	b.sink.stop()
	b.loseStore(copies)
	b.refused("keystone recover")
	b.doctor("the state store is older")
	var again int64
	for _, p := range b.found(b.run("recover")) {
		again += p.Again
	}
	if again != 20*backupUsers {
		t.Errorf("%d records are to be processed again, want %d", again, 20*backupUsers)
	}
	b.run("recover", "--yes")
	b.work()
	if err := b.send(40, crashEventsPerUser); err != nil {
		t.Fatal(err)
	}
	b.holds(want)
}

// TestBackupOlderThanTheLog: what the log has removed is told, by number, and nothing goes on before somebody
// has said that it may; what the changes lack is made good from the state store.
func TestBackupOlderThanTheLog(t *testing.T) {
	drill(t)
	b := installForBackup(t)
	if err := b.send(0, 20); err != nil {
		t.Fatal(err)
	}
	b.settle()
	copies := dump(t, b.store)
	b.backupColumns("b")
	if err := b.send(20, 40); err != nil {
		t.Fatal(err)
	}
	b.settle()

	// ClickHouse alone is restored, and the log has no longer what it lacks.
	b.sink.stop()
	b.loseColumns("b")
	b.forget()
	b.doctor("before the sink had them")
	if err := b.send(40, 41); err != nil { // the hole shows with what comes after it
		t.Fatal(err)
	}
	b.sink = b.start("running", "sink")
	b.settle()
	b.sink.says("keystone recover makes the state tables anew")
	b.processor.stop()
	b.sink.stop()
	b.run("recover", "--yes")
	b.work()
	compareStores(t, b.settle())
	b.want(strconv.Itoa(21*backupUsers), "SELECT count() FROM events") // the others are lost here

	// The state store too.
	b.processor.stop()
	b.sink.stop()
	b.loseStore(copies)
	b.doctor("before the processor had them")
	lost := int64(0)
	out, err := b.try("recover", "--yes")
	if err == nil || !strings.Contains(err.Error(), "--accept-loss") {
		t.Errorf("a loss was accepted by nobody: %v", err)
	}
	for _, p := range b.found(out) {
		lost += p.Lost
	}
	if lost != 20*backupUsers {
		t.Errorf("%d records are lost, want %d", lost, 20*backupUsers)
	}
	b.run("recover", "--yes", "--accept-loss")
	b.work()
	compareStores(t, b.settle())
	b.want(strconv.Itoa(21*backupUsers), "SELECT sum(event_count) FROM profiles FINAL")
}

// TestBackupWithoutTheLog: the log is gone, and a new one has begun. Nothing that was processed is lost, and
// what comes is not taken for what the old one had at its place.
func TestBackupWithoutTheLog(t *testing.T) {
	drill(t)
	want := calmState(t)
	b := installForBackup(t)
	if err := b.send(0, 40); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.processor.stop()
	b.sink.stop()
	b.edge.stop()
	if b.kafka != nil {
		t.Skip("a new log is a new kfake")
	}
	b.brokers = strings.Join(enginetest.Broker(t), ",")
	b.run("migrate")
	b.edge = b.installation.edge("--listen", strings.TrimPrefix(b.client.EdgeURL, "http://"))
	if err := b.send(40, 43); err != nil {
		t.Fatal(err)
	}
	b.doctor("ends before")
	if out, err := b.try("recover", "--yes"); err == nil || !strings.Contains(err.Error(), "--new-log") {
		t.Errorf("another log was taken for this one: %v\n%s", err, out)
	}
	b.run("recover", "--yes", "--new-log")
	b.work()
	if err := b.send(43, crashEventsPerUser); err != nil {
		t.Fatal(err)
	}
	b.holds(want)
}

// TestBackupOfADevFolder: a copy of the folder of a keystone dev that was stopped is a backup of all of it.
func TestBackupOfADevFolder(t *testing.T) {
	drill(t)
	dir, kept := folder(t), folder(t)
	copyFolder := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	users := func(from, to int) (events []string) {
		for i := from; i < to; i++ {
			events = append(events, crashStream(i)...)
		}
		return events
	}
	d := startDev(t, dir)
	d.ingest(t, users(0, 10)...)
	d.settle(t)
	want := state(t, d)
	d.stop(t)
	copyFolder(dir, kept)

	d = startDev(t, dir)
	d.ingest(t, users(10, 20)...)
	d.stop(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	copyFolder(kept, dir)
	d = startDev(t, dir)
	d.settle(t)
	got := state(t, d)
	for _, what := range slices.Sorted(maps.Keys(want)) {
		diff(t, what, got[what], want[what])
	}
	d.ingest(t, users(10, 20)...)
	d.settle(t)
	compareStores(t, d)
	if n := strings.Join(d.sql(t, "SELECT count(), uniqExact(message_id) FROM events"), ""); n != "1000\t1000" {
		t.Errorf("%s events, want 1000", n)
	}
	d.stop(t)
}
