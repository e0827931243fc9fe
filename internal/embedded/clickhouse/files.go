package clickhouse

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// BackupDir is where, within the data folder, BACKUP … TO File('name') puts its files.
const BackupDir = "backups"

const (
	logFileBytes = 20 << 20 // of one file of the engine's own log
	logFiles     = 3
	// temporaryPerMemory bounds what queries put on the disk while they run, as so many times what all may
	// have in memory.
	temporaryPerMemory = 16
	// queryLogFlush is how long a query may be absent from system.query_log.
	queryLogFlush = 5 * time.Second
)

// ownGrants are the pipeline's rights: everything on databases whose name
// begins with keystone, reading on system. No source (file, url, s3, remote …):
// the engine has no sandbox, and READ ON FILE would be the operating system's
// account. Table engines are named one by one for the same reason: the File
// and URL engines need no source grant.
var ownGrants = []string{
	"GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, BACKUP, dictGet, " +
		"SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM VIEWS ON " + Database + "*.*",
	"GRANT SHOW, SELECT ON system.*",
	"GRANT CREATE TEMPORARY TABLE, KILL QUERY, SYSTEM FLUSH LOGS, SYSTEM RELOAD DICTIONARY, " +
		"CREATE FUNCTION, DROP FUNCTION ON *.*",
	"GRANT TABLE ENGINE ON MergeTree, TABLE ENGINE ON ReplacingMergeTree, TABLE ENGINE ON SummingMergeTree, " +
		"TABLE ENGINE ON AggregatingMergeTree, TABLE ENGINE ON CollapsingMergeTree, " +
		"TABLE ENGINE ON VersionedCollapsingMergeTree, TABLE ENGINE ON Null, TABLE ENGINE ON Memory",
}

// serverXML is the engine's config.xml. The display name is how a probe tells
// this start of this server from anybody else on the port.
func serverXML(cfg Config, displayName string) []byte {
	var x xmlWriter
	x.open("clickhouse")
	x.text("display_name", displayName)
	x.text("users_config", cfg.path(usersFile))
	x.open("logger") // the level is a flag of the launcher
	x.text("console", "0")
	x.text("log", cfg.path("log/clickhouse.log"))
	x.text("errorlog", cfg.path("log/clickhouse.err.log"))
	x.text("size", strconv.Itoa(logFileBytes))
	x.text("count", strconv.Itoa(logFiles))
	x.close("logger")
	x.text("max_server_memory_usage", strconv.FormatInt(cfg.MaxMemoryBytes, 10))
	x.text("max_temporary_data_on_disk_size", strconv.FormatInt(temporaryPerMemory*cfg.MaxMemoryBytes, 10))
	x.text("mark_cache_size", strconv.FormatInt(cfg.MarkCacheBytes, 10))
	x.text("max_connections", strconv.Itoa(cfg.MaxConnections))
	x.text("max_concurrent_queries", strconv.Itoa(cfg.MaxConcurrentQueries))
	x.open("merge_tree")
	fsync := "0"
	if cfg.FsyncInserts {
		fsync = "1"
	}
	x.text("fsync_after_insert", fsync)
	x.text("fsync_part_directory", fsync)
	x.close("merge_tree")
	writeCluster(&x, cfg.Cluster)
	writeColdDisk(&x, cfg.ColdDir)
	x.open("backups")
	x.text("allowed_path", cfg.path(BackupDir))
	x.close("backups")
	x.open("query_log")
	x.text("database", "system")
	x.text("table", "query_log")
	x.text("partition_by", "event_date")
	x.text("ttl", fmt.Sprintf("event_date + INTERVAL %d DAY DELETE", cfg.QueryLogDays))
	x.text("flush_interval_milliseconds", strconv.FormatInt(queryLogFlush.Milliseconds(), 10))
	x.close("query_log")
	x.close("clickhouse")
	return x.bytes()
}

func writeCluster(x *xmlWriter, c Cluster) {
	if len(c.Shards) == 0 {
		return
	}
	x.open("remote_servers")
	x.open(c.Name)
	if c.Secret != "" {
		x.text("secret", c.Secret)
	}
	for _, address := range c.Shards {
		host, port, _ := net.SplitHostPort(address)
		x.open("shard")
		x.open("replica")
		x.text("host", host)
		x.text("port", port)
		if c.Password != "" {
			x.text("user", userName)
			x.text("password", c.Password)
		}
		x.close("replica")
		x.close("shard")
	}
	x.close(c.Name)
	x.close("remote_servers")
}

func writeColdDisk(x *xmlWriter, dir string) {
	if dir == "" {
		return
	}
	x.open("storage_configuration")
	x.open("disks")
	x.open("cold")
	x.text("path", strings.TrimSuffix(dir, "/")+"/")
	x.close("cold")
	x.close("disks")
	x.open("policies")
	x.open("tiered")
	x.open("volumes")
	for _, volume := range []string{"default", "cold"} { // the first as in the server's own policy
		x.open(volume)
		x.text("disk", volume)
		x.close(volume)
	}
	x.close("volumes")
	x.text("move_factor", "0") // by age alone: else what is new moves, too, once a disk is nine tenths full
	x.close("tiered")
	x.close("policies")
	x.close("storage_configuration")
}

// usersXML is the engine's users.xml: the locked-down default user, ours, and
// the analysts.
func usersXML(cfg Config, password string) []byte {
	sum := sha256.Sum256([]byte(password))
	own := User{Name: userName, PasswordSHA256: hex.EncodeToString(sum[:]), Grants: ownGrants}
	if len(cfg.Cluster.Shards) > 0 {
		own.Grants = append(slices.Clone(ownGrants), "GRANT REMOTE ON *.*", "GRANT TABLE ENGINE ON Distributed")
	}

	var x xmlWriter
	x.open("clickhouse")
	x.open("profiles")
	writeProfile(&x, "default", User{Settings: defaultSettings})
	// The launcher's session holds the only slot of the default user.
	writeProfile(&x, bootProfile, User{Settings: map[string]string{"max_sessions_for_user": "1"}})
	for _, u := range cfg.Users {
		writeProfile(&x, u.Name, u)
	}
	x.close("profiles")

	x.open("quotas")
	x.text("default", "")
	for _, u := range cfg.Users {
		writeQuota(&x, u.Name, u.Quota)
	}
	x.close("quotas")

	x.open("users")
	writeBootUser(&x)
	writeUser(&x, own, "default")
	for _, u := range cfg.Users {
		writeUser(&x, u, u.Name)
	}
	x.close("users")
	x.close("clickhouse")
	return x.bytes()
}

const bootProfile = "boot"

// defaultSettings undo what the engine, as a command-line tool, sets otherwise
// than a server, and turn off what it only pretends to do (async inserts).
var defaultSettings = map[string]string{
	"async_insert":                  "0",
	"implicit_select":               "0",
	"allow_introspection_functions": "0",
}

// writeBootUser writes the user default. The launcher's session logs in as it,
// with an empty password and no way to say otherwise; so it may do nothing but
// start the listeners, and its profile admits no second session.
func writeBootUser(x *xmlWriter) {
	x.open("default")
	x.text("password", "")
	writeLoopback(x)
	x.text("profile", bootProfile)
	x.text("quota", "default")
	writeGrants(x, []string{"GRANT SYSTEM LISTEN ON *.*"})
	x.close("default")
}

func writeUser(x *xmlWriter, u User, profile string) {
	x.open(u.Name)
	x.text("password_sha256_hex", strings.ToLower(u.PasswordSHA256))
	writeLoopback(x)
	x.text("profile", profile)
	x.text("quota", profile)
	writeGrants(x, u.Grants)
	writeRowFilters(x, u.RowFilters)
	x.close(u.Name)
}

// writeRowFilters groups by database: a second element of the same name would
// be read as another database.
func writeRowFilters(x *xmlWriter, filters []RowFilter) {
	if len(filters) == 0 {
		return
	}
	byDatabase := map[string][]RowFilter{}
	for _, f := range filters {
		byDatabase[f.Database] = append(byDatabase[f.Database], f)
	}
	x.open("databases")
	for _, database := range slices.Sorted(maps.Keys(byDatabase)) {
		x.open(database)
		for _, f := range byDatabase[database] {
			x.open(f.Table)
			x.text("filter", f.Condition)
			x.close(f.Table)
		}
		x.close(database)
	}
	x.close("databases")
}

func writeLoopback(x *xmlWriter) {
	x.open("networks")
	x.text("ip", "127.0.0.1")
	x.text("ip", "::1")
	x.close("networks")
}

func writeGrants(x *xmlWriter, grants []string) {
	x.open("grants")
	for _, grant := range grants {
		x.text("query", grant)
	}
	x.close("grants")
}

func writeProfile(x *xmlWriter, name string, u User) {
	merged := maps.Clone(defaultSettings)
	maps.Copy(merged, u.Settings)
	x.open(name)
	for _, setting := range slices.Sorted(maps.Keys(merged)) {
		x.text(setting, merged[setting])
	}
	if len(u.Fixed)+len(u.Bounds) > 0 {
		x.open("constraints")
		for _, setting := range u.Fixed {
			x.open(setting)
			x.text("const", "")
			x.close(setting)
		}
		for _, setting := range slices.Sorted(maps.Keys(u.Bounds)) {
			x.open(setting)
			x.text("min", u.Bounds[setting][0])
			x.text("max", u.Bounds[setting][1])
			x.close(setting)
		}
		x.close("constraints")
	}
	x.close(name)
}

func writeQuota(x *xmlWriter, name string, q Quota) {
	x.open(name)
	if q.Interval > 0 {
		x.open("interval")
		x.text("duration", strconv.FormatInt(int64(q.Interval.Seconds()), 10))
		x.text("queries", strconv.FormatInt(q.Queries, 10))
		x.text("result_rows", strconv.FormatInt(q.ResultRows, 10))
		x.text("read_rows", strconv.FormatInt(q.ReadRows, 10))
		x.text("execution_time", strconv.FormatInt(int64(q.ExecutionTime.Seconds()), 10))
		x.close("interval")
	}
	x.close(name)
}

// xmlWriter writes elements without attributes. Element names are the caller's
// duty (Validate checks the user's); text is escaped.
type xmlWriter struct{ b strings.Builder }

func (x *xmlWriter) open(name string)  { x.b.WriteString("<" + name + ">\n") }
func (x *xmlWriter) close(name string) { x.b.WriteString("</" + name + ">\n") }

func (x *xmlWriter) text(name, value string) {
	x.b.WriteString("<" + name + ">")
	_ = xml.EscapeText(&x.b, []byte(value)) // a Builder does not fail
	x.b.WriteString("</" + name + ">\n")
}

func (x *xmlWriter) bytes() []byte { return []byte(x.b.String()) }
