package check

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// clickhouseConfig is what the files of the cluster say that they must agree on.
type clickhouseConfig struct {
	Keepers []struct {
		Host string `xml:"host"`
		Port string `xml:"port"`
	} `xml:"zookeeper>node"`
	Macros struct {
		Shard   fromEnv `xml:"shard"`
		Replica fromEnv `xml:"replica"`
	} `xml:"macros"`
	Clusters struct {
		Keystone struct {
			Secret fromEnv `xml:"secret"`
			Shards []struct {
				Internal bool `xml:"internal_replication"`
				Replicas []struct {
					Host string `xml:"host"`
					Port string `xml:"port"`
				} `xml:"replica"`
			} `xml:"shard"`
		} `xml:"keystone"`
	} `xml:"remote_servers"`
	DDL        string `xml:"distributed_ddl>path"`
	Replicated string `xml:"user_directories>replicated>zookeeper_path"`
	Raft       []struct {
		ID   string `xml:"id"`
		Host string `xml:"hostname"`
	} `xml:"keeper_server>raft_configuration>server"`
	KeeperPort string `xml:"keeper_server>tcp_port"`
}

type fromEnv struct {
	Name string `xml:"from_env,attr"`
}

func readConfig(t *testing.T, name string) (c clickhouseConfig) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, "clickhouse", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, &c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// The servers' configuration, the services and the settings of keystone are of one cluster.
func TestComposeShards(t *testing.T) {
	project := load(t, "cluster.yaml")
	c, keeper := readConfig(t, "cluster.xml"), readConfig(t, "keeper.xml")
	cluster := c.Clusters.Keystone
	if len(cluster.Shards) != 2 || cluster.Secret.Name == "" || c.DDL == "" || c.Replicated == "" {
		t.Fatalf("the cluster is %+v", c)
	}
	var names []string
	for i, shard := range cluster.Shards {
		if !shard.Internal || len(shard.Replicas) != 2 {
			t.Errorf("shard %d: %+v", i+1, shard)
		}
		for _, replica := range shard.Replicas {
			names = append(names, replica.Host)
			service, ok := project.Services[replica.Host]
			if !ok {
				t.Errorf("there is no service %s", replica.Host)
				continue
			}
			env := func(name string) string {
				if v := service.Environment[name]; v != nil {
					return *v
				}
				return ""
			}
			// Databases and tables find their places in the Keepers by these.
			if env(c.Macros.Shard.Name) != strconv.Itoa(i+1) || env(c.Macros.Replica.Name) != replica.Host || service.Hostname != replica.Host || replica.Port != "9000" {
				t.Errorf("%s: shard %q, replica %q, host %q", replica.Host, env(c.Macros.Shard.Name), env(c.Macros.Replica.Name), service.Hostname)
			}
			if env(cluster.Secret.Name) == "" {
				t.Errorf("%s has no secret", replica.Host)
			}
		}
	}
	for name, service := range project.Services {
		if strings.HasPrefix(service.Image, "clickhouse/clickhouse-server:") && !slices.Contains(names, name) {
			t.Errorf("%s is in no shard", name)
		}
	}
	if len(keeper.Raft) != 3 || len(c.Keepers) != 3 {
		t.Fatalf("%d and %d Keepers", len(keeper.Raft), len(c.Keepers))
	}
	for i, node := range c.Keepers {
		service := project.Services[node.Host]
		id := service.Environment["KEEPER_ID"]
		if node.Host != keeper.Raft[i].Host || node.Port != keeper.KeeperPort || id == nil || *id != keeper.Raft[i].ID {
			t.Errorf("Keeper %d: %+v, %+v, %v", i+1, node, keeper.Raft[i], id)
		}
	}
	// Each partition of the log is one shard's, and both lanes agree on which.
	migrate := project.Services["migrate"]
	for _, name := range []string{"KEYSTONE_EVENTS_PARTITIONS", "KEYSTONE_BACKFILL_PARTITIONS"} {
		n, err := strconv.Atoi(*migrate.Environment[name])
		if err != nil || n%len(cluster.Shards) != 0 {
			t.Errorf("%s is %d, of %d shards: %v", name, n, len(cluster.Shards), err)
		}
	}
	if dsn := *project.Services["sink"].Environment["KEYSTONE_CLICKHOUSE_DSN"]; !strings.Contains(dsn, "@"+names[0]+":") {
		t.Errorf("the sink's DSN is %s", dsn)
	}
	if name := *migrate.Environment["KEYSTONE_CLICKHOUSE_CLUSTER"]; name != "keystone" {
		t.Errorf("migrate is told of cluster %q", name)
	}
}
