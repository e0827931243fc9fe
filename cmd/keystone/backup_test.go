package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/goccy/go-json"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/cmd/keystone/recovery"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// What is sent in these tests is the crash test's, of fewer people; its outcome does not depend on how it was
// interrupted.
const (
	backupUsers   = 120
	backupClients = 8
)

// backupInstallation runs every role, as processes of their own.
type backupInstallation struct {
	*installation
	edge, processor, sink *role
	acked                 atomic.Int64
}

func installForBackup(t *testing.T) *backupInstallation {
	t.Helper()
	b := &backupInstallation{installation: edges(t)}
	b.edge = b.installation.edge("--listen", "127.0.0.1:0")
	b.client.EdgeURL = "http://" + b.edge.logged("address")
	b.work()
	return b
}

// work starts processor and sink.
func (b *backupInstallation) work() {
	b.processor, b.sink = b.start("running", "processor"), b.start("running", "sink")
}

// send sends every user's events from one to another in order, each until it is acknowledged.
func (b *backupInstallation) send(from, to int) error {
	ctx, cancel := context.WithCancelCause(b.t.Context())
	defer cancel(nil)
	var clients sync.WaitGroup
	for c := range backupClients {
		clients.Go(func() {
			for i := from; i < to; i++ {
				for u := c; u < backupUsers; u += backupClients {
					if err := sendOne(ctx, b.client, crashStream(u)[i]); err != nil {
						cancel(err)
						return
					}
					b.acked.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return context.Cause(ctx)
}

// sending sends events, and does something in the middle of it.
func (b *backupInstallation) sending(from, to int, do func()) {
	b.t.Helper()
	half := b.acked.Load() + int64(to-from)*backupUsers/2
	sent := make(chan error, 1)
	go func() { sent <- b.send(from, to) }()
	waitFor(b.t, func() bool { return b.acked.Load() >= half || len(sent) > 0 })
	do()
	if err := <-sent; err != nil {
		b.t.Fatal(err)
	}
}

// settle waits for processor and sink, and tells the tests that ask a dev where all is.
func (b *backupInstallation) settle() *dev {
	b.t.Helper()
	b.run("lag", "--wait", "120s")
	d := b.tell(b.t)
	return d
}

var calm map[string][]string // of the first calmState

// calmState is what must come of the events, by a run in which nothing was restored.
func calmState(t *testing.T) map[string][]string {
	t.Helper()
	if calm != nil {
		return calm
	}
	b := installForBackup(t)
	if err := b.send(0, crashEventsPerUser); err != nil {
		t.Fatal(err)
	}
	want := state(t, b.settle())
	if n := len(want["profiles"]); n != backupUsers {
		t.Fatalf("the calm run has %d profiles, want %d", n, backupUsers)
	}
	b.edge.stop()
	b.processor.stop()
	b.sink.stop()
	b.rebuiltTheSame()
	calm = want
	return want
}

// rebuiltTheSame wants a recovery to make of the state store, column by column, what the changes have made.
func (b *backupInstallation) rebuiltTheSame() {
	b.t.Helper()
	rows := func() map[string][]string {
		all := map[string][]string{}
		for _, table := range []string{"identity_map FINAL", "profiles FINAL", "orders FINAL", "products FINAL",
			"(SELECT * EXCEPT (topic, partition, offset, loaded_at) FROM attribute_changes)", "(SELECT * EXCEPT (topic, partition, offset, loaded_at) FROM profile_merges)"} {
			all[table] = b.client.sql(b.t, "SELECT * FROM "+table+" ORDER BY ALL")
		}
		return all
	}
	want := rows()
	b.run("recover", "--yes")
	got := rows()
	for table := range want {
		if len(want[table]) == 0 {
			b.t.Errorf("nothing in %s: it shows nothing", table)
		}
		diff(b.t, table, got[table], want[table])
	}
}

// holds wants everything to be as if nothing had been restored, and both stores to agree row by row.
func (b *backupInstallation) holds(want map[string][]string) {
	b.t.Helper()
	d := b.settle()
	got := state(b.t, d)
	for _, what := range slices.Sorted(maps.Keys(want)) {
		diff(b.t, what, got[what], want[what])
	}
	compareStores(b.t, d)
	count := strconv.Itoa(backupUsers * crashEventsPerUser)
	for query, want := range map[string]string{
		"SELECT count(), uniqExact(message_id) FROM events":          count + "\t" + count,
		"SELECT sum(event_count) FROM profiles FINAL":                count,
		"SELECT count(), uniqExact(profile_id) FROM events_resolved": count + "\t" + strconv.Itoa(backupUsers),
		`SELECT count() FROM (SELECT profile_id, count() AS n FROM events_resolved GROUP BY 1) AS e
			FULL JOIN (SELECT profile_id, event_count AS n FROM profiles FINAL) AS p USING (profile_id) WHERE e.n != p.n`: "0",
	} {
		b.want(want, query)
	}
}

// found is what keystone recover says of the partitions.
func (b *backupInstallation) found(out string) (all []recovery.Partition) {
	b.t.Helper()
	for line := range strings.Lines(out) {
		var p recovery.Partition
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			b.t.Fatalf("%v: %s", err, line)
		}
		if p.Topic != "" { // the last line is what was done
			all = append(all, p)
		}
	}
	return all
}

// doctor wants a finding.
func (b *backupInstallation) doctor(words string) {
	b.t.Helper()
	out, err := b.try("doctor", "--no-probe", "--store-dsn", b.store, "--clickhouse-dsn", b.columns, "--brokers", b.brokers)
	if err == nil || !strings.Contains(out, words) {
		b.t.Errorf("doctor does not say %q: %v\n%s", words, err, out)
	}
}

// refused wants the processor to end by itself, with a word.
func (b *backupInstallation) refused(words string) {
	b.t.Helper()
	if out, err := b.try("processor"); err == nil || !strings.Contains(err.Error(), words) {
		b.t.Errorf("the processor does not say %q: %v\n%s", words, err, out)
	}
}

// dump is a consistent copy of the state store's tables, made while it works: what pg_dump does, which the
// embedded PostgreSQL comes without.
func dump(t *testing.T, dsn string) map[string][]byte {
	t.Helper()
	conn := connect(t, dsn)
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }() // it has only read
	rows, err := tx.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'schema%'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string][]byte{}
	for _, table := range tables {
		var out bytes.Buffer
		if _, err := tx.Conn().PgConn().CopyTo(t.Context(), &out, "COPY "+table+" TO STDOUT (FORMAT binary)"); err != nil {
			t.Fatal(err)
		}
		copies[table] = out.Bytes()
	}
	return copies
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// loseStore destroys the state store and puts a dump into a new one.
func (b *backupInstallation) loseStore(copies map[string][]byte) {
	b.t.Helper()
	lost, err := pgx.ParseConfig(b.store)
	if err != nil {
		b.t.Fatal(err)
	}
	b.store = enginetest.Store(b.t)
	conn := connect(b.t, b.store)
	if _, err := conn.Exec(b.t.Context(), "DROP DATABASE "+lost.Database+" WITH (FORCE)"); err != nil {
		b.t.Fatal(err)
	}
	b.run("migrate")
	for table, rows := range copies {
		if _, err := conn.Exec(b.t.Context(), "DELETE FROM "+table); err != nil {
			b.t.Fatal(err)
		}
		if _, err := conn.PgConn().CopyFrom(b.t.Context(), io.Reader(bytes.NewReader(rows)), "COPY "+table+" FROM STDIN (FORMAT binary)"); err != nil {
			b.t.Fatalf("restore %s: %v", table, err)
		}
	}
}

// backupColumns is docs/backup.md's order: the positions first.
func (b *backupInstallation) backupColumns(name string) {
	b.t.Helper()
	database := b.database()
	b.client.sql(b.t, fmt.Sprintf("BACKUP TABLE %s.sink_positions TO File('%s-%s/positions')", database, database, name))
	b.client.sql(b.t, fmt.Sprintf("BACKUP DATABASE %s EXCEPT TABLES %s.sink_positions TO File('%s-%s/rest')", database, database, database, name))
}

func (b *backupInstallation) loseColumns(name string) {
	b.t.Helper()
	database := b.database()
	elsewhere := *b.client
	elsewhere.ClickHouseURL = strings.ReplaceAll(elsewhere.ClickHouseURL, "database="+database, "database=system")
	elsewhere.sql(b.t, "DROP DATABASE "+database+" SYNC")
	elsewhere.sql(b.t, fmt.Sprintf("RESTORE DATABASE %s FROM File('%s-%s/rest')", database, database, name))
	elsewhere.sql(b.t, fmt.Sprintf("RESTORE TABLE %s.sink_positions FROM File('%s-%s/positions')", database, database, name))
}

func (b *backupInstallation) database() string {
	_, database, _ := strings.Cut(b.client.ClickHouseURL, "database=")
	return database
}

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

// forget removes all there is from the log.
func (b *backupInstallation) forget() {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.brokers, ",")...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(b.t.Context(), event.TopicEvents, event.TopicBackfill, event.TopicChanges)
	if err != nil {
		b.t.Fatal(err)
	}
	gone, err := admin.DeleteRecords(b.t.Context(), ends.Offsets())
	if err != nil || gone.Error() != nil {
		b.t.Fatal(err, gone.Error())
	}
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
