package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/sql"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// rig is an installation without roles.
type rig struct {
	*testing.T
	Config
	admin *kadm.Client
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, Config: Config{Version: "v1", Timeout: 2 * time.Minute, StoreDSN: enginetest.Store(t),
		ClickHouseDSN: enginetest.ClickHouse(t).NativeDSN, Brokers: enginetest.Broker(t)}}
	r.check(sql.Migrate(t.Context(), r.StoreDSN, slog.New(slog.DiscardHandler)))
	m, err := schema.New(r.ClickHouseDSN, schema.Engines{})
	r.check(err)
	defer m.Close()
	_, err = m.Up(t.Context())
	r.check(err)
	r.check(service.DefaultTopics().Ensure(t.Context(), r.Brokers))
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...), kgo.MetadataMinAge(10*time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	r.check(err)
	t.Cleanup(client.Close)
	r.admin = kadm.NewClient(client)
	return r
}

func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) store(statement string, args ...any) {
	r.Helper()
	conn, err := pgx.Connect(r.Context(), r.StoreDSN)
	r.check(err)
	defer func() { r.check(conn.Close(context.Background())) }()
	_, err = conn.Exec(r.Context(), statement, args...)
	r.check(err)
}

func (r *rig) alter(topic, setting, value string) {
	r.Helper()
	_, err := r.admin.AlterTopicConfigs(r.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: setting, Value: &value}}, topic)
	r.check(err)
}

// finds wants a finding of a level that holds the text, and an advice with it.
func (r *rig) finds(check string, level Level, text string) {
	r.Helper()
	report, err := Examine(r.Context(), r.Config)
	r.check(err)
	for _, f := range report.Findings {
		if f.Check == check && f.Level == level && strings.Contains(f.Found, text) {
			if f.Do == "" && level != OK && level != Skipped {
				r.Errorf("nobody is told what to do about it: %+v", f)
			}
			return
		}
	}
	r.Errorf("no finding %s %s %q in\n%s", check, level, text, show(report))
}

func show(report *Report) string {
	var lines []string
	for _, f := range report.Findings {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Level, f.Check, f.Found))
	}
	return strings.Join(lines, "\n")
}

func TestHealthy(t *testing.T) {
	r := newRig(t)
	r.SpoolDir, r.SpoolBytes = t.TempDir(), 1<<20
	report, err := Examine(t.Context(), r.Config)
	r.check(err)
	if report.Count(Stops) > 0 {
		t.Error(show(report))
	}
	want := map[string]bool{"log": true, "topics": true, "state_store": true, "clickhouse": true, "migrations": true, "permissions": true,
		"retention": true, "clocks": true, "disk": true, "spool": true, "dead_letters": true, "parts": true}
	for _, f := range report.Findings {
		delete(want, f.Check)
	}
	if len(want) > 0 {
		t.Errorf("not looked at: %v", want)
	}
}

func TestServersDown(t *testing.T) {
	r := &rig{T: t, Config: Config{Timeout: 5 * time.Second, StoreDSN: "postgres://keystone:s3cret@127.0.0.1:1/keystone",
		ClickHouseDSN: "clickhouse://keystone:s3cret@127.0.0.1:1/keystone", Brokers: []string{"127.0.0.1:1"},
		EdgeURL: "http://127.0.0.1:1", AdminURLs: []string{"http://127.0.0.1:1"}, ProbeTimeout: time.Second}}
	for _, check := range []string{"log", "state_store", "clickhouse", "edge", "roles"} {
		r.finds(check, Stops, "refused")
	}
	r.finds("probe", Skipped, "")
	report, err := Examine(t.Context(), r.Config)
	r.check(err)
	if strings.Contains(show(report), "s3cret") {
		t.Error("a password is in the report")
	}
}

func TestMigrationsBehind(t *testing.T) {
	r := newRig(t)
	m, err := schema.New(r.ClickHouseDSN, schema.Engines{})
	r.check(err)
	defer m.Close()
	have, _, err := m.Version(t.Context())
	r.check(err)
	r.check(m.DownTo(t.Context(), have-1))
	left, _, err := m.Version(t.Context()) // numbers have gaps
	r.check(err)
	r.finds("migrations", Stops, fmt.Sprintf("ClickHouse's schema is not this build's: it has version %d, this build needs %d", left, have))
	r.check(m.DownTo(t.Context(), 0))
	r.finds("migrations", Stops, "ClickHouse's schema is not this build's: it has version 0")
	r.check(sql.Drop(t.Context(), r.StoreDSN, slog.New(slog.DiscardHandler)))
	r.finds("migrations", Stops, "the state store's schema")
	r.finds("migrations", Stops, "ClickHouse") // both are told at once
}

func TestTopics(t *testing.T) {
	r := newRig(t)
	r.Topics = service.Topics{Events: 8}
	r.finds("topics", Stops, "keystone.events has 4 partitions, not 8")
	r.Topics = service.Topics{Events: 4}
	r.finds("topics", OK, "keystone.events: 4 partitions")
	r.alter(event.TopicChanges, "max.message.bytes", "1048588")
	r.finds("topics", Stops, "keystone.changes: max.message.bytes is 1048588")
	r.alter(event.TopicEvents, "max.message.bytes", "1000")
	r.finds("topics", Stops, "edge's spool")
	r.alter(event.TopicEvents, "retention.ms", "3600000")
	r.finds("topics", Warning, "keeps records for 1h0m0s")
	r.alter(event.TopicBackfill, "cleanup.policy", "compact")
	r.finds("topics", Stops, "cleanup.policy is compact")
	_, err := r.admin.DeleteTopics(t.Context(), event.TopicDLQ)
	r.check(err)
	r.finds("topics", Stops, "keystone.dlq is not there")
}

// A topic on one broker of three.
func TestReplication(t *testing.T) {
	d := &Doctor{report: new(Report)}
	detail := kadm.TopicDetail{Topic: event.TopicEvents, Partitions: kadm.PartitionDetails{
		0: {Partition: 0, Leader: 1, Replicas: []int32{1}, ISR: []int32{1}},
		1: {Partition: 1, Leader: -1, Replicas: []int32{1, 2, 3}, ISR: []int32{1}},
		2: {Partition: 2, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}},
	}}
	d.checkTopic(service.Topic{Name: event.TopicEvents, Partitions: 3}, detail, 3, topicSettings{})
	d.checkSettings(service.Topic{Name: event.TopicEvents}, 3, topicSettings{"min.insync.replicas": "1"})
	got := show(d.report)
	for _, want := range []string{"stops topics: keystone.events: partitions 1 have no leader", "warning topics: keystone.events: partitions 2 are not on all",
		"warning topics: keystone.events has 1 replicas on 3 brokers", "warning topics: keystone.events: min.insync.replicas is 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// The log removes what a stage has not had yet, or is about to.
func TestRetention(t *testing.T) {
	r := newRig(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(r.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	r.check(err)
	defer client.Close()
	old := time.Now().Add(-5 * 24 * time.Hour)
	for i := range 10 {
		r.check(client.ProduceSync(t.Context(), &kgo.Record{Topic: event.TopicEvents, Partition: 0, Value: []byte("x"), Timestamp: old.Add(time.Duration(i) * time.Second)}).FirstErr())
	}
	r.store(`INSERT INTO processor_offsets (topic, part, next_offset, epoch, owner, last_created_at, updated_at)
		VALUES ('keystone.events', 0, 3, 1, 'p', now(), now())`)
	r.finds("retention", Warning, "keystone.events/0: the processor's next record is older than half of the retention")
	_, err = r.admin.DeleteRecords(t.Context(), kadm.Offsets{event.TopicEvents: {0: {Topic: event.TopicEvents, Partition: 0, At: 7}}})
	r.check(err)
	r.finds("retention", Stops, "keystone.events/0: the log has removed 4 records before the processor had them")
	r.finds("retention", OK, "keystone.changes")
}

func TestKeys(t *testing.T) {
	r := newRig(t)
	pool, err := sql.Open(t.Context(), r.StoreDSN, 2)
	r.check(err)
	defer pool.Close()
	plane := control.New(pool)
	tenant, err := plane.CreateTenant(t.Context(), "shop", "Shop")
	r.check(err)
	secret, key, err := plane.CreateKey(t.Context(), control.KeySpec{Tenant: tenant.ID, Scope: control.Tracker})
	r.check(err)
	r.Keys = []string{secret}
	r.finds("keys", OK, key.KeyID+" is known")
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.HasPrefix(q.URL.Path, "/v1/projects/") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer edge.Close()
	r.EdgeURL = edge.URL
	r.finds("keys", Stops, "the edge does not know it")
	r.check(plane.RevokeKey(t.Context(), tenant.ID, key.KeyID))
	r.finds("keys", Stops, "unknown or revoked")
	report, err := Examine(t.Context(), r.Config)
	r.check(err)
	if strings.Contains(show(report), secret) {
		t.Error("a key is in the report")
	}
}

func TestSpool(t *testing.T) {
	r := &rig{T: t, Config: Config{Timeout: time.Minute, SpoolBytes: 1 << 20}}
	r.SpoolDir = filepath.Join(t.TempDir(), "absent")
	r.finds("spool", Stops, "no such file or directory")
	r.SpoolDir = t.TempDir()
	r.finds("spool", OK, "can be written to")
	if left, err := os.ReadDir(r.SpoolDir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	r.SpoolBytes = 1 << 60
	r.finds("disk", Warning, "the spool may take")
	d := &Doctor{report: new(Report)}
	d.space("a disk", 1, 100, 0)
	d.space("a disk", 10, 100, 0)
	d.space("a disk", 50, 100, 0)
	if d.report.Count(Stops) != 1 || d.report.Count(Warning) != 1 || d.report.Count(OK) != 1 {
		t.Error(show(d.report))
	}
}

func TestPermissionsAndDeadLetters(t *testing.T) {
	r := newRig(t)
	r.store(`INSERT INTO dead_letters (tenant_id, topic, part, source_offset, job_id, reason, detail, created_at)
		VALUES (gen_random_uuid(), 'keystone.events', 0, 1, '', 'poison', '', now())`)
	r.finds("dead_letters", Warning, "1 records could not be processed")
	r.store(`CREATE ROLE watcher LOGIN PASSWORD 'pw'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO watcher`)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), r.StoreDSN)
		if err == nil {
			_, err = conn.Exec(context.Background(), `DROP OWNED BY watcher; DROP ROLE watcher`)
			_ = conn.Close(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
	})
	dsn, err := url.Parse(r.StoreDSN)
	r.check(err)
	owner := r.StoreDSN
	dsn.User = url.UserPassword("watcher", "pw")
	r.StoreDSN = dsn.String()
	r.finds("permissions", Stops, "watcher may not read and write api_keys")
	r.StoreDSN = owner
	r.finds("permissions", OK, "state store")
}

func TestRoles(t *testing.T) {
	metrics := `# TYPE keystone_build_info gauge
keystone_build_info{version="v0",commit="x"} 1
# TYPE keystone_produce_spooling gauge
keystone_produce_spooling{topic="keystone.events"} 1
# TYPE keystone_spool_size_bytes gauge
keystone_spool_size_bytes{spool="live"} 600
# TYPE keystone_spool_limit_bytes gauge
keystone_spool_limit_bytes{spool="live"} 1000
`
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
		if q.URL.Path == "/metrics" {
			fmt.Fprint(w, metrics)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"status":"unavailable","failed":[{"dependency":"sink","error":"clickhouse: connection refused"}]}`)
	}))
	defer admin.Close()
	r := &rig{T: t, Config: Config{Version: "v1", Timeout: time.Minute, AdminURLs: []string{admin.URL}}}
	r.finds("versions", Warning, "runs v0, this is v1")
	r.finds("roles", Stops, "the sink is not ready: clickhouse: connection refused")
	r.finds("roles", Stops, "the edge spools instead of writing to keystone.events")
	r.finds("roles", Warning, "the lane live is more than half full")
	r.finds("clocks", Warning, "off this machine's")
}

func TestSkew(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	for _, c := range []struct{ before, after, from, to, want int }{
		{0, 10, 5, 5, 0}, {0, 10, 15, 15, 5}, {100, 110, 40, 40, -60}, {100, 110, 0, 1000, 0}, {500, 510, 0, 400, -100},
	} {
		if got := skew(at(c.before), at(c.after), at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%v: %s", c, got)
		}
	}
}
