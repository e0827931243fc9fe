package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/sql"
)

type devCmd struct {
	DataDir string `help:"Where everything is kept, over restarts." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	roleFlags
	edgeFlags
	engineFlags
	topicFlags
}

// Help is shown below the usage.
func (devCmd) Help() string {
	return `Edge, processor and sink in this process; the log in it too; the state store and ClickHouse as child
processes. All on loopback, all data in one folder. Ctrl-C ends everything.

Examples:
  keystone dev
  keystone dev --data-dir /tmp/k1 --listen 127.0.0.1:9000 --admin-listen 127.0.0.1:9001`
}

// engineStartTimeout is for a first start on a slow machine, or a recovery after kill -9.
const engineStartTimeout = 2 * time.Minute

// Run starts everything in the order of the flow against it, so that nothing is taken before it
// can be handled, and stops it the other way round.
func (c *devCmd) Run(a *app) (err error) {
	// The state store's account must be able to pass through: it never runs as root.
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := embedded.LockFolder(c.DataDir)
	if errors.Is(err, embedded.ErrFolderInUse) {
		return fmt.Errorf("%w: it has a running keystone already; stop that one, or choose another folder with --data-dir", err)
	}
	if err != nil {
		return err
	}
	defer lock.Release()
	infoPath := filepath.Join(c.DataDir, devInfoFile)
	if err := os.Remove(infoPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.checkPorts(a.ctx); err != nil {
		return err
	}

	// Before dev.json names us: nobody sends it earlier.
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	defer signal.Stop(asked)

	fmt.Fprintf(a.stderr, "starting keystone on %s ...\n", c.DataDir)
	group := service.NewGroup(a.log)
	defer func() { err = errors.Join(err, group.Stop()) }()
	servers, r, err := c.start(a, group)
	if err != nil && a.ctx.Err() != nil { // what was being started says so in many ways
		a.log.Debug("the start was interrupted", "error", err)
		fmt.Fprintln(a.stderr, "stopping, before it was up ...")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(infoPath)) }()
	defer c.followAnalysts(a, asked, servers.clickhouse)()
	select {
	case <-a.ctx.Done():
		fmt.Fprintln(a.stderr, "stopping ...")
		return nil
	case err := <-r.failed:
		return err
	case err := <-servers.store.Failed():
		return fmt.Errorf("the state store ended: %w", err)
	case err := <-servers.clickhouse.Failed(): // after its supervisor has tried to bring it back
		return fmt.Errorf("ClickHouse ended: %w", err)
	}
}

// checkPorts finds a taken port before anything is started.
func (c *devCmd) checkPorts(ctx context.Context) error {
	for _, addr := range []string{c.Listen, c.AdminListen} {
		l, err := service.Listen(ctx, addr)
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (c *devCmd) start(a *app, group *service.Group) (*engines, *roles, error) {
	begin := time.Now()
	servers, err := newEngines(c.engineFlags, c.DataDir, a.log)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, engineStartTimeout)
	defer cancel()
	if err := servers.start(ctx, group); err != nil {
		return nil, nil, err
	}
	to := target{StoreDSN: servers.store.DSN(), ClickhouseDSN: servers.clickhouse.NativeDSN(), Brokers: servers.broker.Addrs()}
	if err := migrate(ctx, a.log, &to, c.topics(), clickhouseFlags{}); err != nil {
		return nil, nil, err
	}
	if err := refreshAnalysts(ctx, c.DataDir, servers.clickhouse); err != nil {
		return nil, nil, err
	}
	info, err := c.demoTenant(ctx, to.StoreDSN)
	if err != nil {
		return nil, nil, fmt.Errorf("make the demo tenant: %w", err)
	}

	r := newRoles(a, group, c.roleFlags)
	if err := r.startProcessor(ctx, &to); err != nil {
		return nil, nil, err
	}
	if err := r.startSink(ctx, &to); err != nil {
		return nil, nil, err
	}
	if c.SpoolDir == "" {
		c.SpoolDir = filepath.Join(c.DataDir, "spool")
	}
	edge, err := r.startEdge(ctx, &to, c.edgeFlags)
	if err != nil {
		return nil, nil, err
	}
	if err := r.startAdmin(ctx); err != nil {
		return nil, nil, err
	}

	info.EdgeURL, info.AdminURL = "http://"+edge, "http://"+r.admin.Addr()
	info.Brokers, info.SQLDSN, info.ClickHouseDSN = to.Brokers, to.StoreDSN, to.ClickhouseDSN
	info.Pid = os.Getpid()
	info.ClickHouseURL = servers.clickhouse.HTTPDSN()
	if info.Analysts, err = analystsSum(c.DataDir); err != nil {
		return nil, nil, err
	}
	if err := writeDevInfo(c.DataDir, info); err != nil {
		return nil, nil, err
	}
	c.banner(a, info, time.Since(begin))
	return servers, r, nil
}

// demoTenant makes the demo tenant with its two keys, or finds those of the last start.
func (c *devCmd) demoTenant(ctx context.Context, dsn string) (*devInfo, error) {
	pool, err := sql.Open(ctx, dsn, commandConns)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	tenant, keys, err := ensureKeys(ctx, control.New(pool), keysWanted{slug: "demo", name: "Demo", label: "keystone dev", file: filepath.Join(c.DataDir, "keys.json")})
	if err != nil {
		return nil, err
	}
	return &devInfo{Tenant: tenant.ID.String(), TrackerKey: keys.TrackerKey, IntegrationKey: keys.IntegrationKey}, nil
}

func (c *devCmd) banner(a *app, info *devInfo, took time.Duration) {
	bin := os.Args[0]
	dir := ""
	if wd, err := os.Getwd(); err != nil || c.DataDir != filepath.Join(wd, ".keystone") {
		dir = " --data-dir " + c.DataDir
	}
	clickhouse, err := url.Parse(info.ClickHouseURL)
	if err != nil {
		clickhouse = &url.URL{}
	}
	host, port, _ := net.SplitHostPort(clickhouse.Host) // ours: always host and port
	fmt.Fprintf(a.stdout, `
keystone is up after %s. Ctrl-C stops it; the data stay in %s.

  edge             %s
  admin            %s   (/readyz, /metrics)
  ClickHouse       http://%s:%s/play   (user and password in %s)
  tracker key      %s
  integration key  %s

Send an event:

  curl -sS %s/ingest -H 'X-API-Key: %s' -H 'Content-Type: application/json' \
    -d '{"anonymous_id":"device-1","identity":"ann@example.com","event_type":"track","event_name":"Product Added","payload":{"product_id":"P-1","price":100.00}}'

See it:

  %s clickhouse client%s -q "SELECT timestamp, event_name, profile_id FROM events_resolved ORDER BY timestamp DESC LIMIT 10"

Replay a shop's traffic:  %s demo%s
`, took.Round(100*time.Millisecond), c.DataDir, info.EdgeURL, info.AdminURL, host, port, filepath.Join(c.DataDir, devInfoFile),
		info.TrackerKey, info.IntegrationKey, info.EdgeURL, info.TrackerKey, bin, dir, bin, dir)
}
