package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics"
	"github.com/keystone-cdp/keystone/ingest"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/internal/trace"
	"github.com/keystone-cdp/keystone/processor"
	"github.com/keystone-cdp/keystone/sql"
)

// How long each role may take to stop gracefully. An orchestrator should wait longer than that.
const (
	edgeStopTimeout      = 15 * time.Second // and the drain delay
	processorStopTimeout = 15 * time.Second
	sinkStopTimeout      = 15 * time.Second
	adminStopTimeout     = 2 * time.Second
)

// roleFlags are what every role has.
type roleFlags struct {
	AdminListen string `help:"Address of /healthz, /readyz and /metrics; not for the public." default:"127.0.0.1:8081" env:"KEYSTONE_ADMIN_LISTEN" placeholder:"ADDR"`
	traceFlags
}

type edgeFlags struct {
	Listen         string        `help:"Address of the edge." default:"127.0.0.1:8080" env:"KEYSTONE_EDGE_LISTEN" placeholder:"ADDR"`
	ReusePort      bool          `help:"SO_REUSEPORT: a new edge may listen before the old one has stopped." env:"KEYSTONE_EDGE_REUSE_PORT"`
	PublicURL      string        `name:"public-url" help:"Where browsers reach the edge, if not by the host they name." env:"KEYSTONE_EDGE_PUBLIC_URL" placeholder:"URL"`
	RenewCookie    bool          `help:"Set the tracker's cookie again, for pages of the edge's own site that ask for it (data-cookie=server)." env:"KEYSTONE_EDGE_RENEW_COOKIE"`
	TrustedProxies []string      `help:"Networks whose X-Forwarded-For is believed." env:"KEYSTONE_EDGE_TRUSTED_PROXIES" placeholder:"10.0.0.0/8"`
	ProxyProtocol  []string      `help:"Networks whose connections begin with a PROXY header, version 1 or 2." env:"KEYSTONE_EDGE_PROXY_PROTOCOL" placeholder:"10.0.0.0/8"`
	TLSCert        string        `name:"tls-cert" help:"File of the TLS certificate and its chain, PEM; read again when it changes." env:"KEYSTONE_EDGE_TLS_CERT" type:"path" placeholder:"FILE"`
	TLSKey         string        `name:"tls-key" help:"File of the certificate's key, PEM." env:"KEYSTONE_EDGE_TLS_KEY" type:"path" placeholder:"FILE"`
	SpoolDir       string        `help:"Folder of the spool: events wait here while the log does not answer." env:"KEYSTONE_SPOOL_DIR" type:"path" placeholder:"DIR"`
	SpoolBytes     int64         `help:"Bytes of disk each of the spool's two lanes may take." default:"1073741824" env:"KEYSTONE_SPOOL_BYTES"`
	DrainDelay     time.Duration `help:"How long the edge accepts connections after it stopped being ready, for load balancers to notice." default:"0s" env:"KEYSTONE_EDGE_DRAIN_DELAY"`
	samplingFlags
}

func (f *edgeFlags) config(brokers []string, access []kgo.Opt) (ingest.Config, error) {
	c := ingest.DefaultConfig()
	c.Edge.Listen, c.Edge.ReusePort, c.Edge.PublicURL, c.Edge.DrainDelay = f.Listen, f.ReusePort, f.PublicURL, f.DrainDelay
	c.Edge.RenewCookie = f.RenewCookie
	c.Spool.Dir, c.Spool.MaxBytes = f.SpoolDir, f.SpoolBytes
	c.Log.Brokers, c.Log.Options = brokers, access
	c.Edge.TLSCert, c.Edge.TLSKey = f.TLSCert, f.TLSKey
	var missing, trusted, proxied error
	c.Edge.TrustedProxies, trusted = networks("trusted-proxies", f.TrustedProxies)
	c.Edge.ProxyProtocol, proxied = networks("proxy-protocol", f.ProxyProtocol)
	checked := c
	if f.SpoolDir == "" {
		missing = errors.New("--spool-dir is missing: the folder where events wait while the log does not answer")
		checked.Spool.Dir = "-" // said once is enough
	}
	return c, errors.Join(missing, trusted, proxied, checked.Validate())
}

// networks reads a flag's list of networks.
func networks(flag string, list []string) ([]netip.Prefix, error) {
	out := []netip.Prefix{}
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return out, fmt.Errorf("--%s: %q is no network like 10.0.0.0/8", flag, text)
		}
		out = append(out, prefix)
	}
	return out, nil
}

func (t *target) processorConfig() (processor.Config, error) {
	c := processor.DefaultConfig()
	c.DSN, c.Brokers, c.Access = t.StoreDSN, t.Brokers, t.Broker.options
	return c, c.Validate()
}

func (t *target) sinkConfig() (analytics.Config, error) {
	c := analytics.DefaultConfig()
	c.ClickHouseDSN, c.Sink.Brokers, c.Sink.Access = t.ClickhouseDSN, t.Brokers, t.Broker.options
	return c, c.Validate()
}

// roles starts stages into a group, with one admin listener for all of them.
type roles struct {
	app      *app
	group    *service.Group
	registry *prometheus.Registry
	admin    *service.Admin
	flags    traceFlags
	traces   *trace.Metrics // nil: none so far
	failed   chan error     // a stage met something that only a person can mend
}

func newRoles(a *app, group *service.Group, f roleFlags) *roles {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(buildInfo())
	return &roles{app: a, group: group, registry: registry, flags: f.traceFlags, admin: service.NewAdmin(f.AdminListen, registry), failed: make(chan error, 1)}
}

// buildInfo tells which build runs, as is usual.
func buildInfo() prometheus.Gauge {
	version, commit := build()
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "keystone_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit}})
	info.Set(1)
	return info
}

func (r *roles) startAdmin(ctx context.Context) error {
	return r.group.Start(ctx, "admin", r.admin, adminStopTimeout)
}

func (r *roles) startProcessor(ctx context.Context, t *target) error {
	config, err := t.processorConfig()
	if err != nil {
		return err
	}
	if config.Tracer, err = r.startTracer(ctx, "processor", samplingFlags{}); err != nil {
		return err
	}
	p, err := processor.New(config, r.app.log, r.registry)
	if err != nil {
		return err
	}
	r.admin.Check("processor", p.Ready)
	if err := r.group.Start(ctx, "processor", p, processorStopTimeout); err != nil {
		return err
	}
	go r.watch(p)
	return nil
}

// watch passes a processor's failure on; it ends with the command.
func (r *roles) watch(p *processor.Processor) {
	select {
	case <-p.Failed():
		r.failed <- fmt.Errorf("the processor cannot go on: %w", p.Err())
	case <-r.app.ctx.Done():
	}
}

func (r *roles) startSink(ctx context.Context, t *target) error {
	config, err := t.sinkConfig()
	if err != nil {
		return err
	}
	if config.Sink.Tracer, err = r.startTracer(ctx, "sink", samplingFlags{}); err != nil {
		return err
	}
	s, err := analytics.New(config, r.app.log, r.registry)
	if err != nil {
		return err
	}
	r.admin.Check("sink", s.Ready)
	return r.group.Start(ctx, "sink", s, sinkStopTimeout)
}

// startEdge answers where the edge listens.
func (r *roles) startEdge(ctx context.Context, t *target, f edgeFlags) (addr string, err error) {
	config, err := f.config(t.Brokers, t.Broker.options)
	if err != nil {
		return "", err
	}
	e := &edgePart{dsn: t.StoreDSN, config: config, roles: r}
	if e.tracer, err = r.startTracer(ctx, "edge", f.samplingFlags); err != nil {
		return "", err
	}
	r.admin.Check("edge", e.ready)
	if err := r.group.Start(ctx, "edge", e, f.DrainDelay+edgeStopTimeout); err != nil {
		return "", err
	}
	return e.ingest.Addr().String(), nil
}

// edgePart is the edge with the pool under it.
type edgePart struct {
	dsn    string
	config ingest.Config
	roles  *roles
	tracer *trace.Tracer
	pool   *pgxpool.Pool
	ingest *ingest.Ingest
}

// edgeConns is enough: keys are cached, and jobs are written in the background.
const edgeConns = 8

// edgeSchemaTimeout is short: an edge starts without the state store too.
const edgeSchemaTimeout = 3 * time.Second

func (e *edgePart) Start(ctx context.Context) (err error) {
	if e.pool, err = sql.Open(context.WithoutCancel(ctx), e.dsn, edgeConns); err != nil {
		return err
	}
	checking, cancel := context.WithTimeout(ctx, edgeSchemaTimeout)
	err = sql.CheckSchema(checking, e.pool)
	cancel()
	if errors.Is(err, sql.ErrSchema) {
		return err
	}
	if err != nil {
		e.roles.app.log.Warn("state store does not answer yet", "error", err)
	}
	plane := edgePlane{control.New(e.pool)}
	e.ingest, err = ingest.New(e.config, ingest.Deps{Keys: plane, Jobs: plane, Log: e.roles.app.log, Registry: e.roles.registry, Tracer: e.tracer})
	if err != nil {
		return err
	}
	return e.ingest.Start(ctx)
}

func (e *edgePart) ready(ctx context.Context) error {
	if e.ingest == nil {
		return errors.New("not started")
	}
	return e.ingest.Ready(ctx)
}

func (e *edgePart) Stop(ctx context.Context) (err error) {
	if e.ingest != nil {
		err = e.ingest.Stop(ctx)
	}
	if e.pool != nil {
		e.pool.Close()
	}
	return err
}

// serve runs one role until the end is asked for.
func serve(a *app, f roleFlags, start func(ctx context.Context, r *roles) error) (err error) {
	group := service.NewGroup(a.log)
	defer func() { err = errors.Join(err, group.Stop()) }()
	r := newRoles(a, group, f)
	if err := r.startAdmin(a.ctx); err != nil {
		return err
	}
	if err := start(a.ctx, r); err != nil {
		return err
	}
	a.log.Info("running", "admin", r.admin.Addr())
	select {
	case <-a.ctx.Done():
		a.log.Info("stopping")
		return nil
	case err := <-r.failed:
		return err
	}
}

type edgeCmd struct {
	target
	roleFlags
	edgeFlags
}

// Help is shown below the usage.
func (edgeCmd) Help() string {
	return `Example:
  keystone edge --brokers a:9092,b:9092 --store-dsn "$STORE" --listen :8080 --spool-dir /var/lib/keystone/spool`
}

// Run runs the role.
func (c *edgeCmd) Run(a *app) error {
	if err := c.resolve(needStore | needBrokers); err != nil {
		return err
	}
	ingest.TuneRuntime()
	return serve(a, c.roleFlags, func(ctx context.Context, r *roles) error {
		addr, err := r.startEdge(ctx, &c.target, c.edgeFlags)
		if err == nil {
			a.log.Info("edge listens", "address", addr)
		}
		return err
	})
}

type processorCmd struct {
	target
	roleFlags
}

// Help is shown below the usage.
func (processorCmd) Help() string {
	return `Example:
  keystone processor --brokers a:9092,b:9092 --store-dsn "$STORE"`
}

// Run runs the role.
func (c *processorCmd) Run(a *app) error {
	if err := c.resolve(needStore | needBrokers); err != nil {
		return err
	}
	return serve(a, c.roleFlags, func(ctx context.Context, r *roles) error { return r.startProcessor(ctx, &c.target) })
}

type sinkCmd struct {
	target
	roleFlags
}

// Help is shown below the usage.
func (sinkCmd) Help() string {
	return `Example:
  keystone sink --brokers a:9092,b:9092 --clickhouse-dsn "$CLICKHOUSE"`
}

// Run runs the role.
func (c *sinkCmd) Run(a *app) error {
	if err := c.resolve(needClickHouse | needBrokers); err != nil {
		return err
	}
	return serve(a, c.roleFlags, func(ctx context.Context, r *roles) error { return r.startSink(ctx, &c.target) })
}
