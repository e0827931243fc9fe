// Package doctor examines an installation and says what keeps events from coming through: the servers,
// their versions, the topics and their settings, the migrations, permissions, clocks and disks, the
// roles by their admin listeners, the keys; and it sends an event through all of it and says where that
// stopped (probe.go).
//
// It starts and mends nothing. All that it writes is the probe, under a tenant of its own. A server that
// does not answer is one finding, and what else can be asked is asked all the same.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/sql"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Skipped Level = "skipped" // could not be examined, for a reason that is a finding of its own or is no fault
	Warning Level = "warning" // events come through; something will stop them, or loses safety
	Stops   Level = "stops"   // events do not come through, or are lost
)

// Finding is one thing that was looked at.
type Finding struct {
	Check string `json:"check"` // what was looked at: log, topics, state_store, …
	Level Level  `json:"level"`
	Found string `json:"found"`
	Do    string `json:"do,omitempty"` // what to do; always there for a warning and for what stops
}

// Config says what there is. What is empty is not looked at.
type Config struct {
	Version       string // of this build
	Brokers       []string
	Access        []kgo.Opt // to the log: TLS, SASL
	StoreDSN      string
	ClickHouseDSN string
	EdgeURL       string
	AdminURLs     []string // of the roles
	SpoolDir      string   // on this machine
	SpoolBytes    int64    // that each of its two lanes may take
	Keys          []string // API keys that should work
	Topics        service.Topics
	Timeout       time.Duration // of each look
	ProbeTimeout  time.Duration // for a probe to come through; 0: none is sent
	KeepProbe     bool          // leave the probe's rows in ClickHouse
}

const (
	// conns is enough for one question after the other, and the probe's beside them.
	conns = 2
	// maxAnswer bounds what is read of an HTTP answer.
	maxAnswer = 4 << 20
)

// Report is what was found.
type Report struct {
	Findings []Finding `json:"findings"`
	Probe    *Probe    `json:"probe,omitempty"`
}

// Count tells how many findings are of a level.
func (r *Report) Count(level Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

func (r *Report) add(check string, level Level, do, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Check: check, Level: level, Found: fmt.Sprintf(format, args...), Do: do})
}

func (r *Report) ok(check, format string, args ...any) { r.add(check, OK, "", format, args...) }

// Doctor holds the connections of one examination.
type Doctor struct {
	cfg     Config
	report  *Report
	log     *kgo.Client
	admin   *kadm.Client
	pool    *pgxpool.Pool
	columns driver.Conn
	missing bool // a topic is not there
}

// Examine looks at everything.
func Examine(ctx context.Context, cfg Config) (*Report, error) {
	d, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer d.close()
	d.checkTLS()
	for _, look := range []func(context.Context){
		d.checkStore, d.checkColumns, d.checkLog, d.checkRetention, d.checkRestored, d.checkRoles, d.checkEdge, d.checkKeys, d.checkSpool,
	} {
		d.within(ctx, look)
	}
	if cfg.ProbeTimeout > 0 {
		d.probe(ctx)
	}
	return d.report, ctx.Err()
}

// Topics looks at the log only.
func Topics(ctx context.Context, cfg Config) (*Report, error) {
	d, err := open(ctx, Config{Brokers: cfg.Brokers, Access: cfg.Access, Topics: cfg.Topics, Timeout: cfg.Timeout})
	if err != nil {
		return nil, err
	}
	defer d.close()
	d.within(ctx, d.checkLog)
	return d.report, ctx.Err()
}

func open(ctx context.Context, cfg Config) (d *Doctor, err error) {
	d = &Doctor{cfg: cfg, report: new(Report)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if len(cfg.Brokers) > 0 {
		// Without a bound the client asks a broker that is down for as long as the look lasts, and says nothing why.
		if d.log, err = kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(cfg.Brokers...), kgo.RequestRetries(1), kgo.DialTimeout(cfg.Timeout)}, cfg.Access...)...); err != nil {
			return d, fmt.Errorf("connect to the log: %w", err)
		}
		d.admin = kadm.NewClient(d.log)
	}
	if cfg.StoreDSN != "" {
		if d.pool, err = sql.Open(ctx, cfg.StoreDSN, conns); err != nil {
			return d, err
		}
	}
	if cfg.ClickHouseDSN != "" {
		d.columns, err = query.Open(cfg.ClickHouseDSN, conns)
	}
	return d, err
}

func (d *Doctor) close() {
	if d.log != nil {
		d.log.Close()
	}
	if d.pool != nil {
		d.pool.Close()
	}
	if d.columns != nil {
		_ = d.columns.Close() // nothing is under way
	}
}

func (d *Doctor) within(ctx context.Context, look func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	look(ctx)
}

// broken tells whether something stopped in one of the checks.
func (d *Doctor) broken(checks ...string) bool {
	return slices.ContainsFunc(d.report.Findings, func(f Finding) bool { return f.Level == Stops && slices.Contains(checks, f.Check) })
}
