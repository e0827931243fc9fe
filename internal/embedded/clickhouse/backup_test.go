package clickhouse_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// BACKUP and RESTORE are the engine's own: into a folder below the data folder, and nowhere else; and from
// there into another server, which has nothing.
func TestBackup(t *testing.T) {
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	conn := open(t, start(t, cfg).NativeDSN())
	for _, statement := range []string{
		"CREATE TABLE keystone.t (a UInt64) ENGINE = MergeTree ORDER BY a",
		"INSERT INTO keystone.t SELECT number FROM numbers(100000)",
		"CREATE TABLE keystone.u (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a",
		"INSERT INTO keystone.u VALUES (7)",
		"BACKUP TABLE keystone.u TO File('one/first')",
		"BACKUP DATABASE keystone EXCEPT TABLES keystone.u TO File('one/rest')",
	} {
		if err := conn.Exec(testContext(t), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := conn.Exec(testContext(t), "BACKUP DATABASE keystone TO File('/tmp/keystone-elsewhere')"); err == nil {
		t.Error("a backup was written outside of the data folder")
	}

	other := enginetest.ClickHouseConfig(t, t.TempDir())
	restored := open(t, start(t, other).NativeDSN())
	if err := os.CopyFS(filepath.Join(other.DataDir, clickhouse.BackupDir), os.DirFS(filepath.Join(cfg.DataDir, clickhouse.BackupDir))); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"RESTORE DATABASE keystone FROM File('one/rest')", "RESTORE TABLE keystone.u FROM File('one/first')"} {
		if err := restored.Exec(testContext(t), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	var rows, sum uint64
	if err := restored.QueryRow(testContext(t), "SELECT (SELECT count() FROM keystone.t), (SELECT sum(a) FROM keystone.u)").Scan(&rows, &sum); err != nil || rows != 100_000 || sum != 7 {
		t.Errorf("restored %d rows and %d: %v", rows, sum, err)
	}
}
