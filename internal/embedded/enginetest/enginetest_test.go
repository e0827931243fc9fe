package enginetest_test

import (
	"context"
	"os"
	"testing"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

func TestEveryTestHasAStoreOfItsOwn(t *testing.T) {
	var dsn string
	for range 2 { // the second finds nothing of the first
		t.Run("", func(t *testing.T) {
			previous := dsn
			dsn = enginetest.Store(t)
			if dsn == previous {
				t.Error("the same database twice")
			}
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			if _, err := conn.Exec(t.Context(), "CREATE TABLE t (x INT8 PRIMARY KEY)"); err != nil {
				t.Error(err)
			}
		})
	}
	if conn, err := pgx.Connect(t.Context(), dsn); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the database outlives its test")
	}
}

func TestEveryTestHasAClickHouseDatabaseOfItsOwn(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			db := enginetest.ClickHouse(t)
			opt, err := chgo.ParseDSN(db.NativeDSN)
			if err != nil {
				t.Fatal(err)
			}
			if opt.Auth.Database != db.Database || opt.Auth.Username != db.User || opt.Auth.Password != db.Password {
				t.Error("address and fields differ")
			}
			conn, err := chgo.Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Exec(t.Context(), "CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryTestHasABrokerOfItsOwn(t *testing.T) {
	for range 2 {
		seeds := enginetest.Broker(t, enginetest.Topic{Name: "events", Partitions: 3})
		client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic("events"))
		if err != nil {
			t.Fatal(err)
		}
		record, err := client.ProduceSync(t.Context(), kgo.StringRecord("x")).First()
		if err != nil || record.Offset != 0 {
			t.Errorf("first record: offset %d, %v", record.Offset, err)
		}
		client.Close()
	}
}
