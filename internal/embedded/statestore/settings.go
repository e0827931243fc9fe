package statestore

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// hostRules let in whoever knows the password, from this machine.
const hostRules = `# Written at every start; edits are lost.
host all all 127.0.0.1/32 scram-sha-256
`

// writeSettings writes the server's configuration anew, so that what Config
// says holds from this start on.
func (p *postgres) writeSettings(port int) error {
	for name, text := range map[string]string{
		"postgresql.conf": settings(p.cfg, port),
		"pg_hba.conf":     hostRules,
	} {
		if err := p.writeFor(filepath.Join(p.dataDir(), name), text); err != nil {
			return fmt.Errorf("write server configuration: %w", err)
		}
	}
	return nil
}

// writeFor writes a file that only the account reads.
func (p *postgres) writeFor(path, text string) error {
	if err := embedded.WriteFile(path, []byte(text)); err != nil {
		return err
	}
	return p.account.own(path)
}

// settings is PostgreSQL's configuration file.
func settings(cfg Config, port int) string {
	var b strings.Builder
	b.WriteString("# Written at every start; edits are lost.\n")
	set := func(name, value string) { fmt.Fprintf(&b, "%s = '%s'\n", name, value) }
	onOff := map[bool]string{true: "on", false: "off"}

	set("listen_addresses", "127.0.0.1")
	set("port", strconv.Itoa(port))
	set("unix_socket_directories", "")
	set("max_connections", strconv.Itoa(cfg.MaxConnections))
	set("password_encryption", "scram-sha-256")
	set("timezone", "UTC")
	set("log_timezone", "UTC")

	set("fsync", onOff[cfg.Fsync])
	set("full_page_writes", onOff[cfg.Fsync])
	set("shared_buffers", strconv.Itoa(cfg.SharedBuffersMB)+"MB")
	set("max_wal_size", strconv.Itoa(cfg.MaxWALMB)+"MB")
	set("wal_compression", "on")
	set("wal_level", "minimal") // nobody replicates from here
	set("max_wal_senders", "0")
	set("jit", "off") // compiling costs more than our statements
	set("random_page_cost", "1.1")

	// What the code expects of CockroachDB.
	set("default_transaction_isolation", "serializable")
	set("max_pred_locks_per_transaction", "1024")
	set("deadlock_timeout", "100ms")
	if cfg.StandIn {
		// A sequential scan of a tiny table locks all of it, and every two
		// transactions conflict.
		set("enable_seqscan", "off")
		set("enable_bitmapscan", "off")
		set("plan_cache_mode", "force_custom_plan")
	}

	// No statements, which may carry personal data; the client gets every
	// error. LOG ranks above ERROR here.
	set("log_min_messages", "log")
	set("log_checkpoints", "off")
	return b.String()
}
