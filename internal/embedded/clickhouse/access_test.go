package clickhouse_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const (
	codeAuthenticationFailed = 516
	codeSessionLimit         = 700
	codeNotEnoughPrivileges  = 497
	codeQuotaExceeded        = 201
	codeReadonly             = 164
	codeNoPlace              = 1001 // the engine runs in a folder that is no more: no path leads anywhere
)

// post sends a query to the HTTP port and returns status and body.
func post(t *testing.T, address, user, password, query string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(testContext(t), http.MethodPost, address, strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	req.Close = true // an idle connection would make the server's stop wait
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func login(t *testing.T, server *clickhouse.Server, user, password string) driver.Conn {
	t.Helper()
	opt, err := chgo.ParseDSN(server.NativeDSN())
	if err != nil {
		t.Fatal(err)
	}
	opt.Auth.Username, opt.Auth.Password = user, password
	conn, err := chgo.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// wantCode fails unless err carries one of the ClickHouse error codes.
func wantCode(t *testing.T, what string, err error, codes ...int32) {
	t.Helper()
	var exception *chgo.Exception
	if !errors.As(err, &exception) {
		t.Errorf("%s: %v, want one of the codes %v", what, err, codes)
		return
	}
	for _, code := range codes {
		if exception.Code == code {
			return
		}
	}
	t.Errorf("%s: code %d, want one of %v: %s", what, exception.Code, codes, exception.Message)
}

func TestDefaultUserCannotLogIn(t *testing.T) {
	server := start(t, enginetest.ClickHouseConfig(t, t.TempDir()))
	for name, user := range map[string]string{"nobody named": "", "default named": "default"} {
		for _, query := range []string{"SELECT 1", "SYSTEM STOP LISTEN HTTP"} {
			if status, body := post(t, server.HTTPURL(), user, "", query); status == http.StatusOK {
				t.Errorf("http, %s: %s answered %q", name, query, body)
			}
		}
	}
	if status, body := post(t, server.HTTPURL()+"/?user=default&password=", "", "", "SELECT 1"); status == http.StatusOK {
		t.Errorf("http, default in the address: answered %q", body)
	}
	wantCode(t, "native, default", login(t, server, "default", "").Ping(testContext(t)), codeSessionLimit)
	wantCode(t, "native, wrong password", login(t, server, server.User(), "wrong").Ping(testContext(t)), codeAuthenticationFailed)
	exec(t, open(t, server.NativeDSN()), "SELECT 1")
}

func TestOwnUserHasWhatThePipelineNeedsAndNoMore(t *testing.T) {
	server := start(t, enginetest.ClickHouseConfig(t, t.TempDir()))
	conn := open(t, server.NativeDSN())
	exec(t, conn,
		"CREATE TABLE events (day Date, id UInt64, n UInt64) ENGINE = ReplacingMergeTree ORDER BY id PARTITION BY day TTL day + INTERVAL 10 YEAR",
		"CREATE TABLE totals (id UInt64, n SimpleAggregateFunction(sum, UInt64)) ENGINE = AggregatingMergeTree ORDER BY id",
		"CREATE MATERIALIZED VIEW totals_mv TO totals AS SELECT id, sum(n) AS n FROM events GROUP BY id",
		"CREATE VIEW resolved AS SELECT id, n FROM events FINAL",
		"INSERT INTO events SELECT today(), number % 10, 1 FROM numbers(100)",
		"CREATE DICTIONARY d (id UInt64, n UInt64) PRIMARY KEY id SOURCE(CLICKHOUSE(DB 'keystone' TABLE 'totals' USER 'keystone' PASSWORD '"+
			server.Password()+"')) LAYOUT(FLAT()) LIFETIME(60)",
		"SELECT dictGet('keystone.d', 'n', toUInt64(1))",
		"ALTER TABLE events ADD COLUMN extra String",
		"ALTER TABLE events DELETE WHERE id = 3 SETTINGS mutations_sync = 1",
		"DELETE FROM events WHERE id = 4",
		"OPTIMIZE TABLE events FINAL",
		"CREATE TABLE events2 AS events",
		"EXCHANGE TABLES events AND events2",
		"ALTER TABLE events ATTACH PARTITION ID '20200101' FROM events2",
		"CREATE DATABASE keystone_scratch",
		"DROP DATABASE keystone_scratch SYNC",
		"CREATE TEMPORARY TABLE staging (x UInt8)",
		"SYSTEM FLUSH LOGS",
		"SYSTEM STOP MERGES events", "SYSTEM START MERGES events",
		"KILL QUERY WHERE query_id = 'none'",
	)
	if n := count(t, conn, "SELECT sum(n) FROM totals"); n != 100 {
		t.Errorf("the materialized view counted %d of 100", n)
	}
	if n := count(t, conn, "SELECT count() FROM system.parts WHERE database = 'keystone'"); n == 0 {
		t.Error("system.parts shows nothing")
	}
	for _, query := range []string{
		"SELECT * FROM file('/etc/passwd', LineAsString)",
		"SELECT file('/etc/passwd')",
		"INSERT INTO FUNCTION file('/tmp/never', LineAsString) SELECT 'x'",
		"SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
		"CREATE TABLE f (x String) ENGINE = File(LineAsString, '/etc/passwd')",
		"CREATE DATABASE other",
		"CREATE TABLE default.t (x UInt8) ENGINE = Memory",
		"SELECT * FROM default.`/etc/passwd`",
		"CREATE USER somebody",
		"SYSTEM STOP LISTEN HTTP",
		"SYSTEM SHUTDOWN",
	} {
		wantCode(t, query, conn.Exec(testContext(t), query), codeNotEnoughPrivileges, codeNoPlace)
	}
}

func TestAnalystsSeeTheirRowsOnly(t *testing.T) {
	sum := sha256.Sum256([]byte("her password"))
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	cfg.Users = []clickhouse.User{{
		Name:           "analyst",
		PasswordSHA256: hex.EncodeToString(sum[:]),
		Grants:         []string{"GRANT SELECT ON keystone.events", "GRANT SELECT ON keystone.orders"},
		RowFilters: []clickhouse.RowFilter{
			{Database: "keystone", Table: "events", Condition: "tenant = 'a' AND n < 100"},
			{Database: "keystone", Table: "orders", Condition: "tenant = 'a'"},
		},
		Settings: map[string]string{"readonly": "2", "max_memory_usage": "100000000"},
		Fixed:    []string{"max_memory_usage"},
		Quota:    clickhouse.Quota{Interval: time.Hour, Queries: 4},
	}}
	server := start(t, cfg)
	exec(t, open(t, server.NativeDSN()),
		"CREATE TABLE events (tenant String, n UInt64) ENGINE = MergeTree ORDER BY tenant",
		"CREATE TABLE orders AS events",
		"CREATE TABLE secret AS events",
		"INSERT INTO events VALUES ('a', 1), ('a', 2), ('a', 1000), ('b', 3)",
		"INSERT INTO orders VALUES ('a', 1), ('b', 1)",
	)
	analyst := login(t, server, "analyst", "her password")
	if n := count(t, analyst, "SELECT count() FROM keystone.events"); n != 2 {
		t.Errorf("she sees %d events, want 2", n)
	}
	if n := count(t, analyst, "SELECT count() FROM keystone.orders"); n != 1 {
		t.Errorf("she sees %d orders, want 1", n)
	}
	wantCode(t, "another table", analyst.Exec(testContext(t), "SELECT * FROM keystone.secret"), codeNotEnoughPrivileges)
	wantCode(t, "an insert", analyst.Exec(testContext(t), "INSERT INTO keystone.events SELECT 'a', 1"), codeNotEnoughPrivileges, codeReadonly)
	if err := analyst.Exec(testContext(t), "SELECT count() FROM keystone.events SETTINGS max_memory_usage = 0"); err == nil {
		t.Error("she may change a fixed setting")
	}
	var err error
	for range 10 {
		if err = analyst.Exec(testContext(t), "SELECT count() FROM keystone.events"); err != nil {
			break
		}
	}
	wantCode(t, "beyond the quota", err, codeQuotaExceeded)
}

func TestFilesAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, enginetest.ClickHouseConfig(t, dir))
	for _, name := range []string{".", "password", "users.xml", "config.xml", "store", "status", "history", "log/clickhouse.log"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
	}
	users, err := os.ReadFile(filepath.Join(dir, "users.xml"))
	if err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(users), strings.TrimSpace(string(password))) {
		t.Error("users.xml holds the password itself")
	}
}
