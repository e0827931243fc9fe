package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
)

// said is in every value that is Ann's and nobody else's. There is an Ann in another tenant, too.
const said = "zq7"

// erasedShop is a tenant with people, one of whom is to be erased.
type erasedShop struct {
	*installation
	slug, id      string
	tracker, bulk string
	meanwhile     func() // what happens while erase waits for the sinks
}

func (in *installation) shop(slug string) *erasedShop {
	in.t.Helper()
	s := &erasedShop{installation: in, slug: slug, id: fields(in.t, in.run("tenants", "create", slug))["tenant_id"].(string)}
	s.tracker, s.bulk = in.key(slug, "tracker"), in.key(slug, "integration")
	return s
}

func (s *erasedShop) send(events ...string) {
	s.t.Helper()
	for _, e := range events {
		a, err := s.client.post(s.t.Context(), "/ingest", s.tracker, "application/json", []byte(e))
		if err != nil || a.status != http.StatusOK {
			s.t.Fatalf("%s: %v %v", e, a, err)
		}
	}
}

// backfill sends events as one batch, and waits for them.
func (s *erasedShop) backfill(events ...string) {
	s.t.Helper()
	a, err := s.client.post(s.t.Context(), "/tenant/ingest/batch", s.bulk, "application/json", []byte(`{"events":[`+strings.Join(events, ",")+`]}`))
	if err != nil || a.status != http.StatusAccepted {
		s.t.Fatalf("%v %v", a, err)
	}
	s.run("lag", "--wait", "120s")
}

// annsEvents are what Ann does, some of it beside others. The identify that changes her street is the last
// one by time: an earlier one would be late or not by the order in which partitions are read (spec 2.6).
func annsEvents(prefix string) []string {
	all := []string{
		`{"anonymous_id":"zq7-phone","event_type":"page","context":{"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0","page":{"url":"https://shop.example/account/zq7?utm_source=zq7-mail","title":"zq7's account"}}}`,
		`{"anonymous_id":"zq7-phone","event_type":"page","context":{"page":{"url":"https://shop.example/start"}}}`,
		`{"anonymous_id":"zq7-phone","identity":{"email":"Ann-zq7@example.com","crm_id":"zq7-crm"},"event_type":"identify","payload":{"street":"zq7 road"}}`,
		`{"anonymous_id":"zq7-phone","event_type":"track","event_name":"Order Completed","payload":{"order_id":"zq7-1","total":7.5,"coupon":"zq7","products":[{"product_id":"p-1","name":"Pan"}]}}`,
		`{"anonymous_id":"zq7-tablet","event_type":"page","context":{"page":{"url":"https://shop.example/start"}},"free":"zq7"}`,
		`{"anonymous_id":"zq7-tablet","identity":"ann-zq7@example.com","event_type":"identify","context":{"traits":{"pet":"zq7 cat"}}}`,
		`{"anonymous_id":"pad","identity":"ann-zq7@example.com","event_type":"identify","payload":{"note":"zq7"}}`,
		`{"event_type":"identify","identity":"ann-zq7@example.com","payload":{"street":"zq7 lane"}}`,
		`{"anonymous_id":"pad","event_type":"page","context":{"page":{"url":"https://shop.example/zq7/pad"}}}`,
	}
	begin := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for i, e := range all {
		all[i] = fmt.Sprintf(`{"message_id":"%s-%d","timestamp":%q,%s`, prefix, i, begin.Add(time.Duration(i)*time.Minute).Format(time.RFC3339), e[1:])
	}
	return all
}

// othersEvents are of people who have to do with her: Bob, who gets the pad, and Carl, who says that her
// address is his.
var othersEvents = []string{
	`{"message_id":"b-1","anonymous_id":"pad","identity":"bob@example.com","event_type":"identify","payload":{"city":"Bonn"}}`,
	`{"message_id":"b-2","anonymous_id":"pad","event_type":"page","context":{"page":{"url":"https://shop.example/start"}}}`,
	`{"message_id":"c-1","identity":{"crm_id":"carl","email":"ann-zq7@example.com"},"event_type":"identify","payload":{"city":"Celle"}}`,
	`{"message_id":"c-2","identity":{"crm_id":"carl"},"event_type":"track","event_name":"Order Completed","payload":{"order_id":"C-1","total":1,"products":[{"product_id":"p-1"}]}}`,
}

// erase runs the command, and kills it when it says a word.
func (s *erasedShop) erase(stopAt string, args ...string) (out string, err error) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	defer cancel()
	cmd := s.command(append([]string{"erase"}, args...)...)
	var text bytes.Buffer
	errs := &stopper{word: stopAt, stop: cancel}
	if s.meanwhile != nil {
		errs.word, errs.stop = "waits for the sinks", s.meanwhile
	}
	cmd.Stdout, cmd.Stderr = &text, errs
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { <-ctx.Done(); _ = cmd.Process.Kill() }() // over already is fine
	if err = cmd.Wait(); err != nil {
		err = fmt.Errorf("%w: %s", err, errs.text.String())
	}
	return text.String(), err
}

// story is what Ann does, then the others, and Ann's at another tenant. It answers Ann's events.
func (s *erasedShop) story(other *erasedShop) []string {
	s.t.Helper()
	ann := annsEvents("a")
	s.send(ann[:8]...)
	s.run("lag", "--wait", "120s") // so that the pad is hers before it is Bob's
	s.send(ann[8])
	s.send(othersEvents...)
	other.send(ann...)
	s.run("lag", "--wait", "120s")
	return ann
}

type stopper struct {
	text bytes.Buffer
	word string
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	if s.word != "" && bytes.Contains(p, []byte(s.word)) {
		s.word = ""
		s.stop()
	}
	return s.text.Write(p)
}

// silent looks into every column of every table of both stores, of this tenant, for what only Ann said.
func (s *erasedShop) silent() {
	s.t.Helper()
	ctx := s.t.Context()
	conn, err := pgx.Connect(ctx, s.store)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT table_name, bool_or(column_name = 'tenant_id') FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1`)
	if err != nil {
		s.t.Fatal(err)
	}
	tables := map[string]bool{}
	for rows.Next() {
		var name string
		var own bool
		if err := rows.Scan(&name, &own); err != nil {
			s.t.Fatal(err)
		}
		tables[name] = own
	}
	if rows.Err() != nil || len(tables) < 10 {
		s.t.Fatal(tables, rows.Err())
	}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		query := "SELECT count(*) FROM " + name + " AS x WHERE x::text LIKE '%" + said + "%'"
		if tables[name] {
			query += " AND tenant_id = '" + s.id + "'"
		}
		var n int
		if err := conn.QueryRow(ctx, query).Scan(&n); err != nil {
			s.t.Fatal(err)
		}
		if n > 0 {
			s.t.Errorf("state store: %d rows of %s still say it", n, name)
		}
	}
	all := s.client.sql(s.t, `SELECT table, groupArray(name), has(groupArray(name), 'tenant_id') FROM system.columns
WHERE database = currentDatabase() AND default_kind NOT IN ('ALIAS') AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')
GROUP BY table FORMAT JSONCompactEachRow`)
	if len(all) < 10 {
		s.t.Fatal(all)
	}
	for _, line := range all {
		var table string
		var columns []string
		var own int
		if err := json.Unmarshal([]byte(line), &[]any{&table, &columns, &own}); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		for _, c := range columns {
			if c == "offsets" { // a bitmap
				continue
			}
			query := "SELECT count() FROM " + everywhere(table) + " WHERE toString(`" + c + "`) LIKE '%" + said + "%'"
			if own == 1 {
				query += " AND tenant_id = '" + s.id + "'"
			}
			if n := s.client.sql(s.t, query); n[0] != "0" {
				s.t.Errorf("clickhouse: %s rows of %s.%s still say it", n[0], table, c)
			}
		}
	}
}

// everywhere is a table with the rows that each shard has of it.
func everywhere(table string) string {
	if cluster := enginetest.ClickHouseCluster(); cluster != "" {
		return "clusterAllReplicas('" + cluster + "', currentDatabase(), " + table + ")"
	}
	return table
}

// people are what ClickHouse says of a tenant's people.
func (s *erasedShop) people() string {
	return strings.Join(s.client.sql(s.t, `SELECT p.attributes, p.event_count, count() FROM profiles AS p FINAL
LEFT JOIN events_resolved AS e ON e.tenant_id = p.tenant_id AND e.profile_id = p.profile_id
WHERE p.tenant_id = '`+s.id+`' GROUP BY ALL ORDER BY 1 SETTINGS distributed_product_mode = 'global' FORMAT TSV`), "|")
}

// TestErase erases a person in steps, each of which is killed; reads the log again into new stores, sends
// the past again as a backfill, and lets her come again.
func TestErase(t *testing.T) {
	drill(t)
	in := install(t)
	in.run("migrate")
	s, other := in.shop("shop"), in.shop("other")
	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	sink, processor := in.start("running", "sink"), in.start("running", "processor")
	in.client.EdgeURL = "http://" + edge.logged("address")

	ann := s.story(other)
	othersBefore := other.people()

	who := []string{"--tenant", "shop", "--who", "email:ann-zq7@example.com"}
	if out := in.run(append([]string{"erase", "--dry-run"}, who...)...); !strings.Contains(out, "state store  orders             1") || !strings.Contains(out, "clickhouse   events             10") {
		t.Errorf("a dry run says\n%s", out)
	}
	if _, err := s.erase("", who...); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("without --yes: %v", err)
	}
	receipt := filepath.Join(t.TempDir(), "receipt.json")
	args := append(who, "--yes", "--receipt", receipt)
	for _, word := range []string{"nobody of that name", "rows of events"} {
		if _, err := s.erase(word, args...); err == nil {
			t.Errorf("was not killed at %q", word)
		}
	}
	// She is there again before it is done, and is not its business.
	s.send(`{"message_id":"early","identity":"ann-zq7@example.com","event_type":"page"}`)
	in.run("lag", "--wait", "120s")
	out, err := s.erase("", args...)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.people(); !strings.HasSuffix(got, "|{}\t1\t1") {
		t.Errorf("she who came meanwhile: people are %q", got)
	}
	if _, err := s.erase("", append(who, "--yes")...); err != nil {
		t.Fatal(err)
	}
	var e store.Erasure
	if err := json.Unmarshal([]byte(out), &e); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, said) || e.State != store.ErasureDone || len(e.Remains) != 6 || e.StateStore["orders"] != 1 || e.StateStore["identity_conflicts"] != 1 ||
		e.ClickHouse["events"] != 10 || e.ClickHouse["page_days"] != 1 || e.ClickHouse["profiles"] == 0 || e.ClickHouse["touches"] != 1 {
		t.Errorf("the receipt is %s", out)
	}
	if again := in.run(append([]string{"erase"}, args...)...); again == out || !strings.Contains(again, `"state":"done"`) {
		t.Errorf("erased, by the latest erasure:\n%s\n%s", again, out)
	}
	if err := os.WriteFile(receipt, []byte(in.run("erase", "list", "--tenant", "shop", "--json")), 0o600); err != nil {
		t.Fatal(err)
	}
	if shown := in.run("erase", "show", "--tenant", "shop", e.ErasureID.String()); shown != out {
		t.Errorf("shown: %s", shown)
	}
	if list := in.run("erase", "list", "--tenant", "shop"); strings.Count(list, "\n") != 3 || !strings.Contains(list, e.ErasureID.String()) {
		t.Errorf("list: %s", list)
	}
	left := `{"city":"Bonn"}` + "\t2\t2|" + `{"city":"Celle"}` + "\t2\t1"
	check := func(what string) {
		t.Helper()
		s.silent()
		if got := s.people(); got != left {
			t.Errorf("%s: people are %q, want %q", what, got, left)
		}
	}
	check("erased")
	if got := other.people(); got != othersBefore || !strings.Contains(got, said) {
		t.Errorf("the other tenant: %q, before %q", got, othersBefore)
	}

	// The past once more, under other ids; and under the same, which the processor has forgotten nothing of.
	s.backfill(append(annsEvents("again"), ann...)...)
	check("after a backfill")

	// Her again: somebody new.
	reborn := `{"message_id":"new","anonymous_id":"zq7-phone","identity":"ann-zq7@example.com","event_type":"identify","payload":{"city":"Ahlen"}}`
	s.send(reborn)
	in.run("lag", "--wait", "120s")
	if got, want := s.people(), `{"city":"Ahlen"}`+"\t1\t1|"+left; got != want {
		t.Errorf("reborn: people are %q, want %q", got, want)
	}

	// The log from its start into a ClickHouse that knows nobody but by the receipt, the changes too.
	sink.stop()
	columns := func() {
		db := enginetest.ClickHouse(t)
		in.columns, in.client.ClickHouseURL = db.NativeDSN, columnsURL(t, db)
	}
	columns()
	in.run("migrate")
	in.run("erase", "again", receipt)
	sink = in.start("running", "sink")
	in.run("lag", "--wait", "120s")
	left = `{"city":"Ahlen"}` + "\t1\t1|" + left
	if got := s.people(); got != left {
		t.Errorf("in another clickhouse: people are %q, want %q", got, left)
	}
	if got := other.people(); got != othersBefore {
		t.Errorf("in another clickhouse, the other tenant: %q, before %q", got, othersBefore)
	}

	// And the state store too. The changes are made anew then.
	sink.stop()
	processor.stop()
	in.forget(event.TopicChanges)
	tenants, err := tenantsOf(t.Context(), in.store)
	if err != nil {
		t.Fatal(err)
	}
	in.store = enginetest.Store(t)
	columns()
	in.run("migrate")
	if err := putTenants(t.Context(), in.store, tenants); err != nil {
		t.Fatal(err)
	}
	in.run("erase", "again", receipt)
	in.run("recover", "--yes")
	sink, processor = in.start("running", "sink"), in.start("running", "processor")
	in.run("lag", "--wait", "120s")
	// c-1 is gone with her: it named her. That Carl lives in Celle was told by nothing else.
	left = `{"city":"Ahlen"}` + "\t1\t1|" + `{"city":"Bonn"}` + "\t2\t2|{}\t1\t1"
	if got := s.people(); got != left {
		t.Errorf("read again: people are %q, want %q", got, left)
	}
	if got := other.people(); got != othersBefore {
		t.Errorf("read again, the other tenant: %q, before %q", got, othersBefore)
	}
	if out, err := s.erase("", append(who, "--yes")...); err != nil {
		t.Error(err, out)
	}
	left = `{"city":"Bonn"}` + "\t2\t2|{}\t1\t1"
	check("read again, and erased again")
	edge.stop()
	sink.stop()
	processor.stop()
}

// TestEraseShardAway erases while a shard of ClickHouse is away: at first nothing is done, and later what was
// begun goes on once it is back.
func TestEraseShardAway(t *testing.T) {
	drill(t)
	if enginetest.ClickHouseCluster() == "" {
		t.Skip("a part of make test-shards")
	}
	in := install(t)
	_, servers := enginetest.Cluster(t, 2, nil)
	server := servers[0]
	in.columns = server.NativeDSN()
	in.client.ClickHouseURL = columnsURL(t, enginetest.ClickHouseDB{HTTPURL: server.HTTPURL(), User: server.User(), Password: server.Password(), Database: clickhouse.Database})
	in.run("migrate")
	s, other := in.shop("shop"), in.shop("other")
	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	sink, processor := in.start("running", "sink"), in.start("running", "processor")
	in.client.EdgeURL = "http://" + edge.logged("address")
	s.story(other)
	// Where her devices are goes by the tenant's id: she takes others until she is on both shards.
	hers := 10
	for ; in.client.sql(t, "SELECT uniqExact(_shard_num) FROM "+everywhere("events_local")+" WHERE tenant_id = '"+s.id+"' AND concat(anonymous_id, identity) LIKE '%"+said+"%'")[0] != "2"; hers++ {
		s.send(fmt.Sprintf(`{"message_id":"more-%[1]d","anonymous_id":"zq7-more-%[1]d","identity":"ann-zq7@example.com","event_type":"identify"}`, hers))
		in.run("lag", "--wait", "120s")
	}
	othersBefore := other.people()
	away := func(what string, words ...string) {
		t.Helper()
		_, err := s.erase("", "--tenant", "shop", "--who", "email:ann-zq7@example.com", "--yes", "--wait", "1m")
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s, without %q: %v", what, word, err)
			}
		}
	}

	if err := servers[1].Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	away("before", "shard 2 of 2 (127.0.0.1:", "this run did nothing")
	if list := in.run("erase", "list", "--tenant", "shop"); strings.Count(list, "\n") != 1 {
		t.Errorf("with a shard away there is an erasure: %s", list)
	}
	if err := servers[1].Start(t.Context()); err != nil {
		t.Fatal(err)
	}

	// It cannot get beyond a sink that stands still: the shard goes away while it waits.
	sink.signal(syscall.SIGSTOP)
	stopped := errors.New("it did not wait for the sinks")
	s.meanwhile = func() {
		stopped = servers[1].Stop(t.Context())
		sink.signal(syscall.SIGCONT)
	}
	away("in between", "shard 2 of 2 (127.0.0.1:", "is not done", "run it again once all shards")
	if stopped != nil {
		t.Fatal(stopped)
	}
	if list := in.run("erase", "list", "--tenant", "shop"); strings.Count(list, "\n") != 2 || strings.Contains(list, store.ErasureDone) {
		t.Errorf("with a shard away it is\n%s", list)
	}
	if err := servers[1].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.meanwhile = nil
	out, err := s.erase("", "--tenant", "shop", "--who", "email:ann-zq7@example.com", "--yes")
	var e store.Erasure
	if err == nil {
		err = json.Unmarshal([]byte(out), &e)
	}
	if err != nil || e.State != store.ErasureDone || e.ClickHouse["events"] != int64(hers) {
		t.Fatalf("%v: %s", err, out)
	}
	s.silent()
	if got, want := s.people(), `{"city":"Bonn"}`+"\t2\t2|"+`{"city":"Celle"}`+"\t2\t1"; got != want {
		t.Errorf("people are %q, want %q", got, want)
	}
	if got := other.people(); got != othersBefore || !strings.Contains(got, said) {
		t.Errorf("the other tenant: %q, before %q", got, othersBefore)
	}
	edge.stop()
	sink.stop()
	processor.stop()
}

// forget removes all records of a topic.
func (in *installation) forget(topic string) {
	in.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(in.brokers, ",")...))
	if err != nil {
		in.t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(in.t.Context(), topic)
	if err != nil {
		in.t.Fatal(err)
	}
	if deleted, err := admin.DeleteRecords(in.t.Context(), ends.Offsets()); err != nil || deleted.Error() != nil {
		in.t.Fatal(err, deleted.Error())
	}
}

func tenantsOf(ctx context.Context, dsn string) ([][]any, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT tenant_id, slug, name, settings, created_at FROM tenants")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
}

func putTenants(ctx context.Context, dsn string, tenants [][]any) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, row := range tenants {
		if _, err := conn.Exec(ctx, "INSERT INTO tenants (tenant_id, slug, name, settings, created_at) VALUES ($1, $2, $3, $4, $5)", row...); err != nil {
			return err
		}
	}
	return nil
}
