package enginetest

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
)

const (
	shardsVariable = "KEYSTONE_TEST_SHARDS"
	clusterName    = "shop"
	clusterSecret  = "the secret of the tests' cluster" // and the pipeline's password, for one login on all
)

// shards is how many KEYSTONE_TEST_SHARDS wants; 0 is one server that knows of no cluster.
func shards() (int, error) {
	text := os.Getenv(shardsVariable)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 2 {
		return 0, fmt.Errorf("%s is %q: it must be a number from 2 on", shardsVariable, text)
	}
	return n, nil
}

// ClickHouseCluster is the name of the cluster that ClickHouse's databases are of; empty without shards.
func ClickHouseCluster() string {
	if n, err := shards(); err != nil || n == 0 {
		return "" // whoever asks for a database is told of the error
	}
	return clusterName
}

// ShardDSNs are the DSNs of one of ClickHouse's databases on all shards; without shards, its own.
func ShardDSNs(tb testing.TB, dsn string) (all []string) {
	tb.Helper()
	if ClickHouseCluster() == "" {
		return []string{dsn}
	}
	servers, err := clickhouseServers.get(startClickHouse)
	Need(tb, err)
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	for _, server := range servers {
		all = append(all, server.NativeDSNFor(strings.TrimPrefix(u.Path, "/")))
	}
	return all
}

// OneServer skips a test that is about how one server does what it does.
func OneServer(tb testing.TB, why string) {
	tb.Helper()
	if ClickHouseCluster() != "" {
		tb.Skip("not on shards: " + why)
	}
}

// cluster makes of a configuration those of so many shards without replicas.
func cluster(cfg clickhouse.Config, n int) ([]clickhouse.Config, error) {
	cfg.Cluster = clickhouse.Cluster{Name: clusterName, Secret: clusterSecret}
	all := make([]clickhouse.Config, n)
	for range all {
		port, err := embedded.FreePort()
		if err != nil {
			return nil, err
		}
		cfg.Cluster.Shards = append(cfg.Cluster.Shards, fmt.Sprintf("127.0.0.1:%d", port))
	}
	for i := range all {
		all[i] = cfg
		all[i].DataDir = fmt.Sprintf("%s-%d", cfg.DataDir, i+1)
		if _, err := fmt.Sscanf(cfg.Cluster.Shards[i], "127.0.0.1:%d", &all[i].TCPPort); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(all[i].DataDir, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(all[i].DataDir, "password"), []byte(clusterSecret), 0o600); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Cluster starts servers of the test's own that are the shards of a cluster, whatever the environment
// says. configure changes their configurations; nil does not.
func Cluster(tb testing.TB, n int, configure func(*clickhouse.Config)) (name string, servers []*clickhouse.Server) {
	tb.Helper()
	configs, err := cluster(ClickHouseConfig(tb, filepath.Join(tb.TempDir(), "clickhouse")), n)
	if err != nil {
		tb.Fatal(err)
	}
	for _, cfg := range configs {
		if configure != nil {
			configure(&cfg)
		}
		servers = append(servers, ServeClickHouse(tb, cfg))
	}
	return clusterName, servers
}
