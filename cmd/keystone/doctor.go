package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/service"
)

type doctorCmd struct {
	target
	expectedTopics
	Edge         string        `help:"Where the edge takes events: http://host:port. Without it no event is sent." env:"KEYSTONE_EDGE_URL" placeholder:"URL"`
	Admin        []string      `help:"Admin listeners of the roles: http://host:port,…" env:"KEYSTONE_ADMIN_URLS" placeholder:"URL"`
	SpoolDir     string        `help:"Folder of an edge's spool, where it is on this machine." env:"KEYSTONE_SPOOL_DIR" type:"path" placeholder:"DIR"`
	SpoolBytes   int64         `help:"What each of its two lanes may take." default:"1073741824" env:"KEYSTONE_SPOOL_BYTES"`
	Key          []string      `help:"API keys that should work. Better in the environment: others see flags." env:"KEYSTONE_DOCTOR_KEYS" placeholder:"KEY"`
	KeysFile     string        `help:"File of two that should, as keys init writes it." env:"KEYSTONE_DOCTOR_KEYS_FILE" type:"path" placeholder:"FILE"`
	Timeout      time.Duration `help:"For each look at a server." default:"10s"`
	ProbeTimeout time.Duration `help:"For the event to come through." default:"30s"`
	NoProbe      bool          `help:"Look only: send no event, write nothing."`
	KeepProbe    bool          `help:"Leave the event in ClickHouse."`
	JSON         bool          `name:"json" help:"Print one JSON object."`
}

// expectedTopics are the numbers that the topics should have. Unlike those of migrate they have no
// default: an installation that was set up with others is not wrong.
type expectedTopics struct {
	EventsPartitions   int32 `help:"Partitions that keystone.events should have; 0: any." env:"KEYSTONE_EVENTS_PARTITIONS"`
	BackfillPartitions int32 `help:"Partitions that keystone.backfill should have; 0: any." env:"KEYSTONE_BACKFILL_PARTITIONS"`
	ChangesPartitions  int32 `help:"Partitions that keystone.changes should have; 0: any." env:"KEYSTONE_CHANGES_PARTITIONS"`
}

func (f expectedTopics) topics() service.Topics {
	return service.Topics{Events: f.EventsPartitions, Backfill: f.BackfillPartitions, Changes: f.ChangesPartitions}
}

// Help is shown below the usage.
func (doctorCmd) Help() string {
	return `Without flags it examines the keystone dev of --data-dir. The exit status is 1 where events do not come
through, or are lost; warnings alone are 0.

The event is one for each partition, "Keystone Probe" of the tenant keystone-doctor, whose rows are
removed from ClickHouse when it has come through: nobody's numbers change.

Examples:
  keystone doctor
  keystone doctor --edge http://edge:8080 --admin http://edge:8081,http://processor:8081,http://sink:8081 \
    --brokers a:9092,b:9092 --store-dsn "$STORE" --clickhouse-dsn "$CLICKHOUSE" --json`
}

// Run prints the report, and fails where something stops events.
func (c *doctorCmd) Run(a *app) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	report, err := doctor.Examine(a.ctx, cfg)
	if err != nil {
		return err
	}
	return printReport(a, report, c.JSON)
}

// config takes what flags do not say from a running dev. With one server named by a flag the others are
// not the dev's: a mixture would be nobody's installation.
func (c *doctorCmd) config() (doctor.Config, error) {
	version, _ := build()
	cfg := doctor.Config{Version: version, SpoolBytes: c.SpoolBytes, Topics: c.topics(), Timeout: c.Timeout, KeepProbe: c.KeepProbe}
	if c.StoreDSN == "" && c.ClickhouseDSN == "" && len(c.Brokers) == 0 {
		info, err := readDevInfo(c.DataDir)
		if err != nil {
			return cfg, err
		}
		c.StoreDSN, c.ClickhouseDSN, c.Brokers = info.SQLDSN, info.ClickHouseDSN, info.Brokers
		if c.Edge == "" {
			c.Edge = info.EdgeURL
		}
		if len(c.Admin) == 0 {
			c.Admin = []string{info.AdminURL}
		}
		if len(c.Key) == 0 {
			c.Key = []string{info.TrackerKey, info.IntegrationKey}
		}
		if c.SpoolDir == "" {
			c.SpoolDir = filepath.Join(c.DataDir, "spool")
		}
	}
	if err := c.access(needStore | needClickHouse | needBrokers); err != nil {
		return cfg, err
	}
	if c.KeysFile != "" {
		keys, err := readKeys(c.KeysFile)
		if err != nil {
			return cfg, fmt.Errorf("--keys-file: %w", err)
		}
		c.Key = append(c.Key, keys.TrackerKey, keys.IntegrationKey)
	}
	if !c.NoProbe {
		cfg.ProbeTimeout = c.ProbeTimeout
	}
	cfg.StoreDSN, cfg.ClickHouseDSN, cfg.Brokers, cfg.Access = c.StoreDSN, c.ClickhouseDSN, c.Brokers, c.Broker.options
	cfg.EdgeURL, cfg.AdminURLs, cfg.Keys, cfg.SpoolDir = strings.TrimSuffix(c.Edge, "/"), c.Admin, c.Key, c.SpoolDir
	return cfg, nil
}

var levelMarks = map[doctor.Level]string{doctor.OK: "ok", doctor.Skipped: "-", doctor.Warning: "WARNING", doctor.Stops: "STOPS"}

// printReport prints the findings, the worst last: there a terminal's reader is.
func printReport(a *app, report *doctor.Report, asJSON bool) error {
	stops, warnings := report.Count(doctor.Stops), report.Count(doctor.Warning)
	if asJSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, string(text))
	} else {
		for _, level := range []doctor.Level{doctor.OK, doctor.Skipped, doctor.Warning, doctor.Stops} {
			for _, f := range report.Findings {
				if f.Level != level {
					continue
				}
				fmt.Fprintf(a.stdout, "%-8s %-13s %s\n", levelMarks[level], f.Check, f.Found)
				if f.Do != "" {
					fmt.Fprintf(a.stdout, "%22s → %s\n", "", f.Do)
				}
			}
		}
	}
	switch {
	case stops > 0:
		return fmt.Errorf("%d findings stop events, %d are warnings", stops, warnings)
	case !asJSON:
		fmt.Fprintf(a.stdout, "\nNothing stops events; %d warnings.\n", warnings)
	}
	return nil
}
