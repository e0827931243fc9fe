package main

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/simulate"
)

type identityCmd struct {
	Simulate simulateCmd `cmd:"" help:"Tell which profiles would merge or split under other settings, without changing anything."`
}

type simulateCmd struct {
	target
	Tenant    string `required:"" help:"Slug or id." placeholder:"TENANT"`
	Settings  string `required:"" help:"JSON file with the settings to try, or - for standard input. What it leaves out stays as it is." placeholder:"FILE"`
	Since     string `default:"24h" help:"Which part of the log, by the time it was received: a duration (24h, 7d), a time (RFC 3339), or all." placeholder:"24h"`
	History   string `help:"Read this much of the log before --since first, under the current settings on both sides: a duration, a time, or all." placeholder:"30d"`
	MaxEvents int    `default:"${simulate_max_events}" help:"Stop after so many distinct events, and say so. They bound memory."`
	Limit     int    `default:"10" help:"How many differences, and how many conflicts, are shown; --json shows all."`
	JSON      bool   `name:"json" help:"Print NDJSON: a summary, then every difference and conflict."`
	ExitCode  bool   `help:"Fail if anything differs, or if not all of the window was read."`
}

// Help is shown below the usage.
func (simulateCmd) Help() string {
	return `Replays events of the log twice in memory, under the tenant's current settings and under the new ones,
by the processor's own rules, and compares whose the identifiers are in the end. It reads the log and the
tenant's settings, and writes nothing: no store, no topic, no consumer group.

What it assumes:
  - Both sides start from nothing, so that what differs is due to the rules. What was known before --since
    is not known to the run; --since all takes the whole log. With --history, both sides first read what
    came before under the current settings: so it would be if the settings were set at --since.
  - "Current" is the settings as they are now, whatever they were when the events were processed.
  - Events the edge refused because they named nobody are not in the log, even if the new settings would
    find a name in them.
  - Partitions are interleaved by the time events were received. In a processor that catches up they may
    go in another order.

keystone tenants set takes the same file. The summary of --json has, as new_settings, all that would be in force.

Examples:
  echo '{"limits":{"email":2}}' | keystone identity simulate --tenant demo --settings -
  keystone identity simulate --tenant demo --settings new.json --since 7d --history all
  keystone identity simulate --tenant demo --settings new.json --json | jq 'select(.type == "difference" and .kind == "merge")'
  keystone identity simulate --tenant demo --settings new.json && keystone tenants set demo new.json`
}

// Run rehearses and reports.
func (c *simulateCmd) Run(a *app) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	text, err := readSettings(a, c.Settings)
	if err != nil {
		return err
	}
	if err := c.resolve(needStore | needBrokers); err != nil {
		return err
	}
	var tenant control.Tenant
	if err := c.withControl(a, func(plane *control.Plane) error {
		tenant, err = plane.Tenant(a.ctx, c.Tenant)
		return err
	}); err != nil {
		return err
	}
	cfg.Brokers, cfg.Access, cfg.Tenant, cfg.Current = c.Brokers, c.Broker.options, tenant.ID, tenant.Settings
	if cfg.New, err = tenant.Settings.Overlay(text); err != nil {
		return fmt.Errorf("new settings: %w", err)
	}
	bar := newProgress(a.stderr, "records")
	cfg.Progress = bar.set
	report, err := simulate.Run(a.ctx, cfg)
	bar.end()
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeSimulationLines(a, report)
	} else {
		err = writeSimulation(a.stdout, report, tenant.Slug, c.Limit)
	}
	return errors.Join(err, c.verdict(report))
}

// config is what the flags say without a server.
func (c *simulateCmd) config() (simulate.Config, error) {
	cfg, now := simulate.DefaultConfig(), time.Now().Truncate(time.Second)
	cfg.MaxEvents = c.MaxEvents
	var err error
	if c.Limit < 0 {
		return cfg, errors.New("--limit: it cannot be negative")
	}
	if cfg.Since, err = begins(c.Since, now); err != nil {
		return cfg, fmt.Errorf("--since: %w", err)
	}
	cfg.From = cfg.Since
	if c.History != "" {
		if cfg.Since.IsZero() {
			return cfg, errors.New("--history: there is none before the whole log")
		}
		if cfg.From, err = begins(c.History, cfg.Since); err != nil {
			return cfg, fmt.Errorf("--history: %w", err)
		}
		if cfg.From.After(cfg.Since) {
			return cfg, errors.New("--history: it must begin before --since")
		}
	}
	return cfg, nil
}

// begins reads a beginning: so long before a time, a time of its own, or zero for the log's beginning.
func begins(text string, before time.Time) (time.Time, error) {
	if text == "all" || text == "0" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d <= 0 {
		return time.Time{}, fmt.Errorf("%q is no duration such as 24h or 7d, no time such as %s, and not all", text, "2026-11-01T00:00:00Z")
	}
	return before.Add(-d), nil
}

// verdict is what --exit-code makes of the report.
func (c *simulateCmd) verdict(r *simulate.Report) error {
	switch {
	case !c.ExitCode:
		return nil
	case r.Reading.Truncated:
		return fmt.Errorf("not all of the window was read: there are more than %d events", c.MaxEvents)
	case !r.Same():
		return fmt.Errorf("the rules make a difference: %d among profiles, %d among conflicts", len(r.Differences), len(r.Comparison.Conflicts))
	}
	return nil
}

// Lines of --json tell by type what they are.
type (
	summaryLine struct {
		Type string `json:"type"`
		*simulate.Report
	}
	differenceLine struct {
		Type string `json:"type"`
		*simulate.Difference
	}
	conflictLine struct {
		Type string `json:"type"`
		*simulate.ConflictChange
	}
)

func writeSimulationLines(a *app, r *simulate.Report) error {
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(summaryLine{"summary", r}); err != nil {
		return err
	}
	for i := range r.Differences {
		if err := enc.Encode(differenceLine{"difference", &r.Differences[i]}); err != nil {
			return err
		}
	}
	for i := range r.Comparison.Conflicts {
		if err := enc.Encode(conflictLine{"conflict", &r.Comparison.Conflicts[i]}); err != nil {
			return err
		}
	}
	return out.Flush()
}
