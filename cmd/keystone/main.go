// Command keystone is the whole product in one binary: each role of the pipeline is a subcommand,
// and `keystone dev` runs all of them in one process on embedded engines. This package is wiring
// only: it reads flags and environment, and hands configurations to the stages.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/processor/simulate"
)

type cli struct {
	Dev        devCmd        `cmd:"" help:"Run the whole pipeline in one process, on embedded engines."`
	Edge       edgeCmd       `cmd:"" help:"Run the HTTP edge: takes events and writes them to the log."`
	Processor  processorCmd  `cmd:"" help:"Run the processor: identity, attributes and orders, into the state store."`
	Sink       sinkCmd       `cmd:"" help:"Run the sink: events and changes, into ClickHouse."`
	Migrate    migrateCmd    `cmd:"" help:"Bring the state store, ClickHouse and the topics up to date."`
	Tenants    tenantsCmd    `cmd:"" help:"Create and list tenants, and set their rules of identity."`
	Keys       keysCmd       `cmd:"" help:"Create, list and revoke API keys."`
	Analysts   analystsCmd   `cmd:"" help:"Create, list and drop ClickHouse logins that read one tenant's rows."`
	Export     exportCmd     `cmd:"" help:"Print profiles, identifiers, merges, lineage, orders, products, conflicts, dead letters or one person, as NDJSON."`
	Erase      eraseRootCmd  `cmd:"" help:"Erase a person from every store, for good, with a receipt."`
	Explain    explainCmd    `cmd:"" help:"Tell why a profile is what it is: by which events, merges and rules."`
	Unmerge    unmergeCmd    `cmd:"" help:"Take a collapse or merge of profiles back."`
	Dlq        dlqCmd        `cmd:"" help:"Look at records that could not be processed, replay or drop them."`
	Identity   identityCmd   `cmd:"" help:"Rehearse a change of the rules of identity."`
	Lag        lagCmd        `cmd:"" help:"Show what processor and sink have yet to do."`
	Doctor     doctorCmd     `cmd:"" help:"Send an event through every stage, and tell what keeps events from coming through."`
	Recover    recoverCmd    `cmd:"" help:"Bring log, state store and ClickHouse together again after one was restored from a backup."`
	Ready      readyCmd      `cmd:"" help:"Ask a role whether it is ready: for health checks in images without a shell."`
	Topics     topicsCmd     `cmd:"" help:"List, create or check the topics of the log."`
	Clickhouse clickhouseCmd `cmd:"" help:"Run the embedded ClickHouse alone, or open an SQL prompt."`
	Demo       demoRootCmd   `cmd:"" help:"Replay a shop's traffic and show what came out, or serve a shop with the tracker in it."`
	Config     configCmd     `cmd:"" help:"Print or check a role's configuration."`
	Version    versionCmd    `cmd:"" help:"Print the version."`

	ConfigFile configFlag `name:"config" help:"JSON file with values for flags, by their names; flags and environment come first." placeholder:"FILE"`
	LogLevel   string     `help:"debug, info, warn or error." default:"info" env:"KEYSTONE_LOG_LEVEL"`
	LogFormat  string     `help:"text or json." default:"text" env:"KEYSTONE_LOG_FORMAT"`
}

// app is what every command gets: where to write, and when to stop.
type app struct {
	ctx    context.Context
	log    *slog.Logger
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	role   string // the last word of the command: what `config print edge` is about
}

func main() {
	// The first SIGINT or SIGTERM asks for a graceful end; a second one kills.
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "keystone:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	c, parser, err := newParser(stdout, stderr)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(commented(args))
	if err != nil {
		if parse := new(kong.ParseError); errors.As(err, &parse) {
			return fmt.Errorf("%w; see %s --help", err, helpful(parse.Context))
		}
		return err
	}
	log, err := service.NewLogger(stderr, c.LogFormat, c.LogLevel)
	if err != nil {
		return err
	}
	return command.Run(&app{ctx: ctx, log: log, stdin: stdin, stdout: stdout, stderr: stderr, role: command.Selected().Name})
}

// commented joins -q to a statement that begins with a comment, "-- …", which looks like a flag.
func commented(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		if (args[i] == "-q" || args[i] == "--query") && i+1 < len(args) && strings.HasPrefix(args[i+1], "--") && strings.ContainsAny(args[i+1], " \n") {
			i++
			out = append(out, "--query="+args[i])
		} else {
			out = append(out, args[i])
		}
	}
	return out
}

// helpful is the command whose help tells what was wrong: as much of it as was understood.
func helpful(c *kong.Context) string {
	if c == nil || c.Selected() == nil {
		return "keystone"
	}
	return c.Selected().FullPath()
}

func newParser(stdout, stderr io.Writer) (*cli, *kong.Kong, error) {
	c := new(cli)
	parser, err := kong.New(c,
		kong.Name("keystone"),
		kong.Description("The ingestion and identity pipeline of a customer data platform."),
		kong.Groups{"servers": "Servers:\nThose of the keystone dev of --data-dir, where no DSN is given."}, // last, or a command's own flags drown
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr),
		kong.Vars{"default_data_dir": ".keystone", "simulate_max_events": strconv.Itoa(simulate.DefaultMaxEvents)},
	)
	return c, parser, err
}
