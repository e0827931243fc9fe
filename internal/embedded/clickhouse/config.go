package clickhouse

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// Config says where the engine is, where its data live and what it may take.
type Config struct {
	// DataDir is the server's own folder, created with mode 0700. One server
	// per folder.
	DataDir string
	// Lib is the path of libchdb.so, Launcher that of keystone-clickhouse
	// (embedded.ClickHouseLib and embedded.Launcher find them).
	Lib      string
	Launcher string

	// HTTPPort and TCPPort are loopback ports; 0 is the port of the folder's
	// last start if it is still free, else any free one.
	HTTPPort int
	TCPPort  int

	// MaxMemoryBytes bounds the memory of all queries together, MarkCacheBytes
	// the cache of index marks within it.
	MaxMemoryBytes int64
	MarkCacheBytes int64
	// MaxConnections bounds the open connections of both ports together; the
	// engine gives each a thread and resets those beyond.
	MaxConnections int
	// MaxConcurrentQueries refuses queries beyond it (code 202).
	MaxConcurrentQueries int
	// QueryLogDays is how long system.query_log keeps a query.
	QueryLogDays int
	// FsyncInserts makes every insert durable against power loss, by default
	// of all MergeTree tables (a table may still say otherwise). Without it an
	// insert still survives kill -9.
	FsyncInserts bool

	// Users are logins besides the pipeline's own. The engine has no CREATE
	// USER: they are read at the start only.
	Users []User

	// Cluster makes the server one of the shards of a cluster. For trying out what is on several
	// servers in production; the pipeline's own grants then include other servers.
	Cluster Cluster
	// ColdDir is a second disk's folder, of the volume cold of the storage policy tiered. For trying
	// out tiering.
	ColdDir string

	// AnyLib accepts a libchdb.so this release was not tested with.
	AnyLib bool
	// VerifiedFile remembers that the library's 566 MB were hashed once
	// ("": in DataDir). Tests share one, as each has its own DataDir.
	VerifiedFile string

	// OnExit, when set, is told of every unexpected end of the engine, before
	// it is restarted. It must not block.
	OnExit func(error)
	Logger *slog.Logger
}

// Cluster is one-server shards.
type Cluster struct {
	Name   string
	Shards []string // host:port of the native interface
	// Secret is what the servers know each other by, so that each is asked in the name of who asked.
	Secret string
	// Password has them log in to each other as the pipeline instead.
	Password string
}

// User is a login for analysts. It sees what its grants say and nothing else.
type User struct {
	Name           string               // letters, digits and _
	PasswordSHA256 string               // 64 hex digits
	Grants         []string             // "GRANT SELECT ON keystone.events", one statement each
	RowFilters     []RowFilter          // rows of a table the user may see
	Settings       map[string]string    // of the user's profile, such as readonly or max_memory_usage
	Fixed          []string             // settings the user must not change
	Bounds         map[string][2]string // settings the user may change, from the first to the second value
	Quota          Quota
}

// RowFilter limits a table to the rows for which the SQL condition holds.
type RowFilter struct {
	Database, Table, Condition string
}

// Quota bounds what a user takes in every interval; a zero limit is none.
type Quota struct {
	Interval      time.Duration // whole seconds; 0: no quota
	Queries       int64
	ResultRows    int64
	ReadRows      int64
	ExecutionTime time.Duration
}

// DefaultConfig fits a laptop: 2 GiB for queries, durable inserts.
func DefaultConfig() Config {
	return Config{
		MaxMemoryBytes:       2 << 30,
		MarkCacheBytes:       256 << 20,
		MaxConnections:       512,
		MaxConcurrentQueries: 100,
		QueryLogDays:         7,
		FsyncInserts:         true,
	}
}

var (
	nameRule   = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	grantRule  = regexp.MustCompile(`(?i)^GRANT\s`)
	ownedNames = []string{"default", bootProfile, userName}
)

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	broken := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for name, path := range map[string]string{"data folder": c.DataDir, "library": c.Lib, "launcher": c.Launcher} {
		if path == "" {
			broken("%s is not set", name)
		}
	}
	for name, port := range map[string]int{"http port": c.HTTPPort, "tcp port": c.TCPPort} {
		if port != 0 && !embedded.ValidPort(port) {
			broken("%s %d is out of range", name, port)
		}
	}
	if c.HTTPPort != 0 && c.HTTPPort == c.TCPPort {
		broken("http port and tcp port are the same (%d)", c.HTTPPort)
	}
	if len(c.Cluster.Shards) > 0 && (!nameRule.MatchString(c.Cluster.Name) || (c.Cluster.Secret == "") == (c.Cluster.Password == "")) {
		broken("a cluster has a plain name, and a secret or a password")
	}
	for name, limit := range map[string]int64{
		"max_memory_bytes": c.MaxMemoryBytes, "mark_cache_bytes": c.MarkCacheBytes,
		"max_connections": int64(c.MaxConnections), "max_concurrent_queries": int64(c.MaxConcurrentQueries),
		"query_log_days": int64(c.QueryLogDays),
	} {
		if limit <= 0 {
			broken("%s must be positive", name)
		}
	}
	seen := map[string]bool{}
	for _, name := range ownedNames {
		seen[name] = true
	}
	for _, u := range c.Users {
		if seen[u.Name] {
			broken("user %q is defined already", u.Name)
		}
		seen[u.Name] = true
		errs = append(errs, u.validate())
	}
	return errors.Join(errs...)
}

func (u User) validate() error {
	var errs []error
	broken := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("user %q: "+format, append([]any{u.Name}, args...)...))
	}
	name := func(what, value string) {
		if !nameRule.MatchString(value) {
			broken("%s %q is not a plain name", what, value)
		}
	}
	name("name", u.Name)
	if sum, err := hex.DecodeString(u.PasswordSHA256); err != nil || len(sum) != 32 {
		broken("password_sha256 is not 64 hex digits")
	}
	if len(u.Grants) == 0 {
		broken("has no grants; the engine would grant everything")
	}
	for i, grant := range u.Grants {
		if !grantRule.MatchString(grant) || strings.ContainsAny(grant, ";") {
			broken("grant %d is not one GRANT statement", i+1)
		}
	}
	filtered := map[string]bool{}
	for _, f := range u.RowFilters {
		table := f.Database + "." + f.Table
		if filtered[table] {
			broken("has two row filters on %s", table)
		}
		filtered[table] = true
		name("row filter's database", f.Database)
		name("row filter's table", f.Table)
		if f.Condition == "" {
			broken("row filter on %s has no condition", table)
		}
	}
	for setting := range u.Settings {
		name("setting", setting)
	}
	for _, setting := range u.Fixed {
		name("fixed setting", setting)
	}
	for setting := range u.Bounds {
		name("bounded setting", setting)
	}
	if u.Quota.Interval < 0 || u.Quota.Interval%time.Second != 0 {
		broken("quota interval must be whole seconds")
	}
	return errors.Join(errs...)
}

// path is a file of the server's folder.
func (c Config) path(name string) string { return filepath.Join(c.DataDir, name) }
