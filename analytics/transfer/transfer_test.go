package transfer_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/analytics/transfer"
	"github.com/keystone-cdp/keystone/bench/fill"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func address(db enginetest.ClickHouseDB) string {
	u, _ := url.Parse(db.HTTPURL) // enginetest made it
	u.User, u.RawQuery = url.UserPassword(db.User, db.Password), "database="+db.Database
	return u.String()
}

// secure is an address that is reached over TLS only, with a certificate, and its password in a file.
func secure(t *testing.T, plain string) string {
	t.Helper()
	u, err := url.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	authority := enginetest.NewAuthority(t)
	cert, key := authority.Issue("transfer")
	password, _ := u.User.Password()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for name, value := range map[string]string{"sslrootcert": authority.CA, "sslcert": cert, "sslkey": key, "password_file": file} {
		query.Set(name, value)
	}
	u.Scheme, u.User, u.Host, u.RawQuery = "https", url.User(u.User.Username()), "localhost:"+enginetest.Front(t, authority.Server("localhost"), u.Host), query.Encode()
	return u.String()
}

// source is a database with a shop's events and all that comes of them.
func source(t *testing.T) enginetest.ClickHouseDB {
	t.Helper()
	db := enginetest.ClickHouse(t)
	schematest.Migrate(t, db.NativeDSN)
	fill.Shop(t, db.NativeDSN, uuid.New(), 8_000, shop.DefaultConfig())
	return db
}

// answers are what analysts would see.
func answers(t *testing.T, dsn string) (all []string) {
	t.Helper()
	conn, err := query.Open(dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{
		`SELECT toString((count(), uniqExact(profile_id), uniqExact(message_id), sum(revenue), sum(cityHash64(payload, context, extra)))) FROM events_resolved`,
		`SELECT toString((count(), sum(events), sum(orders), sum(revenue))) FROM sessions`,
		`SELECT toString((count(), sum(cityHash64(attributes)))) FROM profiles FINAL`,
		`SELECT toString((count(), uniqExact(loser_id))) FROM profile_merges`,
		`SELECT toString((count(), sum(cityHash64(path)))) FROM attribute_changes`,
		`SELECT toString((count(), sum(total))) FROM orders FINAL`,
		`SELECT toString((count(), sum(cityHash64(name)))) FROM products FINAL`,
		`SELECT toString(groupArray((topic, partition, next_offset, marks))) FROM (SELECT * FROM sink_positions FINAL ORDER BY topic, partition)`,
	} {
		var text string
		if err := conn.QueryRow(t.Context(), q).Scan(&text); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		all = append(all, text)
	}
	return all
}

func exec(t *testing.T, dsn, statement string) {
	t.Helper()
	conn, err := query.Open(dsn, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func copied(r transfer.Report) (n int64) {
	for _, table := range r {
		n += table.Copied
	}
	return n
}

// Between two servers, and interrupted on the way: in the end analysts see the same on both, and what
// was there already is not copied again.
func TestTransfer(t *testing.T) {
	db := source(t)
	server := enginetest.ServeClickHouse(t, enginetest.ClickHouseConfig(t, t.TempDir()))
	cfg := transfer.DefaultConfig()
	cfg.From, cfg.To, cfg.ChunkRows = secure(t, address(db)), secure(t, server.HTTPDSN()), 500
	want := answers(t, db.NativeDSN)

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	cfg.Progress = func(done, total int64) {
		if done > total/2 {
			interrupt()
		}
	}
	first, err := transfer.Run(ctx, cfg)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%+v, %v", first, err)
	}

	var last, all int64
	cfg.Progress = func(done, total int64) { last, all = done, total }
	second, err := transfer.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var rows int64
	for _, table := range second {
		rows += table.Rows
	}
	if n := copied(second); n == 0 || n > rows*2/3 || last != all || all != rows {
		t.Errorf("copied %d of %d rows after half was there; progress %d of %d", n, rows, last, all)
	}
	if got := answers(t, server.NativeDSN()); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the destination answers\n%s\nand the source\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	third, err := transfer.Run(t.Context(), cfg)
	if err != nil || copied(third) != 0 {
		t.Errorf("run again it copied %d rows: %v", copied(third), err)
	}

	// A chunk that was damaged is made anew, and no other.
	exec(t, server.NativeDSN(), `ALTER TABLE events UPDATE payload = '{"damaged":true}' WHERE message_id = (SELECT max(message_id) FROM events) SETTINGS mutations_sync = 2`)
	fourth, err := transfer.Run(t.Context(), cfg)
	if n := copied(fourth); err != nil || n == 0 || n > 4*cfg.ChunkRows {
		t.Errorf("%d rows: %v", n, err)
	}
	if got := answers(t, server.NativeDSN()); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("after the damage the destination answers %v", got)
	}
}

// What is at the destination and not at the source is somebody else's: it is neither kept nor removed
// in silence.
func TestTransferIntoAnothersTables(t *testing.T) {
	from, to := source(t), enginetest.ClickHouse(t)
	cfg := transfer.DefaultConfig()
	cfg.From, cfg.To = address(from), address(to)
	if _, err := transfer.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	exec(t, to.NativeDSN, "INSERT INTO events (message_id, topic, partition, offset) VALUES ('foreign', 'other', 0, 7)")
	if _, err := transfer.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "other/0/0") {
		t.Errorf("%v", err)
	}
	cfg.From = strings.Replace(cfg.From, from.Password, "secret-and-wrong", 1)
	if _, err := transfer.Run(t.Context(), cfg); err == nil || strings.Contains(err.Error(), "secret-and-wrong") {
		t.Errorf("%v", err)
	}
}

// To the shards of a cluster, one after the other: each gets its part, and together they say what the server said.
func TestTransferToShards(t *testing.T) {
	db := source(t)
	want := answers(t, db.NativeDSN)
	name, servers := enginetest.Cluster(t, 2, nil)
	cfg := transfer.DefaultConfig()
	cfg.From, cfg.ChunkRows = address(db), 1000
	for _, server := range servers {
		schematest.MigrateTo(t, schema.Engines{Cluster: name}, server.NativeDSN())
	}
	for i, server := range servers {
		cfg.To = server.HTTPDSN()
		first, err := transfer.Run(t.Context(), cfg)
		if err != nil || copied(first) == 0 {
			t.Fatalf("shard %d: %+v, %v", i+1, first, err)
		}
		second, err := transfer.Run(t.Context(), cfg)
		if err != nil || copied(second) != 0 {
			t.Errorf("shard %d, again: copied %d rows: %v", i+1, copied(second), err)
		}
	}
	for i, server := range servers {
		if got := answers(t, server.NativeDSN()); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("shard %d answers\n%s\nand the source\n%s", i+1, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// A row that is another shard's is found, though the chunk is there.
	exec(t, servers[0].NativeDSN(), "INSERT INTO orders_local (tenant_id, order_id) SELECT toUUID('6ba7b810-9dad-11d1-80b4-00c04fd430c8'), 'foreign' || toString(number) FROM numbers(10)")
	cfg.To = servers[0].HTTPDSN()
	if _, err := transfer.Run(t.Context(), cfg); err == nil {
		t.Error("rows of nobody are taken for the source's")
	}
	cfg.From, cfg.To = servers[0].HTTPDSN(), address(db)
	if _, err := transfer.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "the source is a cluster of shards") {
		t.Errorf("%v", err)
	}
}
