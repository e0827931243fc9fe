package statestore

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// drainTimeout is given to CockroachDB to end its sessions.
const drainTimeout = 20 * time.Second

// cockroach is a single CockroachDB node without TLS and passwords, on loopback.
type cockroach struct {
	cfg    Config
	binary string
	output *embedded.Tail
}

func newCockroach(cfg Config, binary string) *cockroach {
	return &cockroach{cfg: cfg, binary: binary, output: &embedded.Tail{}}
}

// findCockroach is the explicit binary, else the one on $PATH.
func findCockroach(explicit string) (string, error) {
	name := explicit
	if name == "" {
		name = "cockroach"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("cockroach binary %s %w", name, embedded.ErrNotInstalled)
	}
	return filepath.Abs(path)
}

func (c *cockroach) start(_ context.Context, port int) (*embedded.Child, error) {
	if err := embedded.WriteFile(c.cfg.path(marker(Cockroach)), nil); err != nil {
		return nil, fmt.Errorf("mark data folder: %w", err)
	}
	cmd := embedded.Command(c.binary, c.args(port)...)
	cmd.Dir = c.cfg.DataDir
	cmd.Stdout, cmd.Stderr = c.output, c.output
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + c.cfg.DataDir, "TZ=UTC",
		"COCKROACH_SKIP_ENABLING_DIAGNOSTIC_REPORTING=true"}
	// Draining would keep a successor waiting; its log is synced, a kill is safe.
	return embedded.StartChild(cmd, syscall.SIGKILL)
}

func (c *cockroach) args(port int) []string {
	return []string{
		"start-single-node",
		"--insecure",
		"--listen-addr=127.0.0.1:" + strconv.Itoa(port),
		"--http-addr=127.0.0.1:0",
		"--store=" + c.cfg.path("cockroach"),
		"--cache=" + strconv.Itoa(c.cfg.SharedBuffersMB) + "MiB",
		"--log=sinks: {stderr: {filter: ERROR}}",
	}
}

func (c *cockroach) dsn(port int, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User("root"),
		Host:     "127.0.0.1:" + strconv.Itoa(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (c *cockroach) maintenance() string { return "defaultdb" }

func (c *cockroach) signals() []stopSignal {
	return []stopSignal{{syscall.SIGTERM, drainTimeout}}
}

func (c *cockroach) lastWords() string { return c.output.String() }
