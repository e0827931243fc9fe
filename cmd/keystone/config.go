package main

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/secret"
	"github.com/keystone-cdp/keystone/internal/trace"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Check a role's flags and environment, every broken rule at once."`
	Line  configLineCmd  `cmd:"" help:"Check a whole command line, as a unit or a manifest has it, without running it."`
	Print configPrintCmd `cmd:"" help:"Print a role's effective configuration as JSON, secrets masked."`
}

// Help is shown below the usage.
func (configCmd) Help() string {
	return `Give the flags and the environment that the role would get.

Examples:
  keystone config print edge --listen :8080 --spool-dir /var/lib/keystone/spool
  KEYSTONE_SPOOL_BYTES=1 keystone config check edge
  keystone config line migrate --replication 3`
}

// roleConfigs are the roles' flags, without running them.
type roleConfigs struct {
	Edge struct {
		target
		roleFlags
		edgeFlags
	} `cmd:"" help:"Of the edge."`
	Processor struct {
		target
		roleFlags
	} `cmd:"" help:"Of the processor."`
	Sink struct {
		target
		roleFlags
	} `cmd:"" help:"Of the sink."`
}

// traces are the flags of the role's traces.
func (c *roleConfigs) traces(role string) (traceFlags, samplingFlags) {
	switch role {
	case "edge":
		return c.Edge.traceFlags, c.Edge.samplingFlags
	case "processor":
		return c.Processor.traceFlags, samplingFlags{}
	}
	return c.Sink.traceFlags, samplingFlags{}
}

// config is what the role named by the chosen command would run with. The second is of its traces.
func (c *roleConfigs) config(role string) (any, trace.Config, error) {
	if role != "edge" && role != "processor" && role != "sink" {
		return nil, trace.Config{}, errors.New("say of which role: edge, processor or sink")
	}
	flags, sampling := c.traces(role)
	traces, _, wrong := flags.config(role, sampling)
	config, err := c.stage(role)
	return config, traces, errors.Join(err, wrong)
}

func (c *roleConfigs) stage(role string) (any, error) {
	switch role {
	case "edge":
		if err := c.Edge.resolve(needStore | needBrokers); err != nil {
			return nil, err
		}
		return c.Edge.config(c.Edge.Brokers, c.Edge.Broker.options)
	case "processor":
		if err := c.Processor.resolve(needStore | needBrokers); err != nil {
			return nil, err
		}
		return c.Processor.processorConfig()
	}
	if err := c.Sink.resolve(needClickHouse | needBrokers); err != nil {
		return nil, err
	}
	return c.Sink.sinkConfig()
}

type configCheckCmd struct{ roleConfigs }

type configLineCmd struct {
	Args []string `arg:"" passthrough:"" help:"The line, with or without \"keystone\" before it."`
}

// Run reads the line as main would, and runs nothing.
func (c *configLineCmd) Run(a *app) error {
	chosen, parser, err := newParser(a.stderr, a.stderr)
	if err != nil {
		return err
	}
	if len(c.Args) > 0 && filepath.Base(c.Args[0]) == "keystone" {
		c.Args = c.Args[1:] // a unit's whole line
	}
	command, err := parser.Parse(c.Args)
	if err != nil {
		return fmt.Errorf("keystone %s: %w", strings.Join(c.Args, " "), err)
	}
	roles := roleConfigs{}
	roles.Edge.target, roles.Edge.roleFlags, roles.Edge.edgeFlags = chosen.Edge.target, chosen.Edge.roleFlags, chosen.Edge.edgeFlags
	roles.Processor.target, roles.Processor.roleFlags = chosen.Processor.target, chosen.Processor.roleFlags
	roles.Sink.target, roles.Sink.roleFlags = chosen.Sink.target, chosen.Sink.roleFlags
	switch role := command.Selected().Name; role {
	case "edge", "processor", "sink":
		if _, _, err := roles.config(role); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(a.stdout, "ok")
	return err
}

// Run says what is wrong, or that nothing is.
func (c *configCheckCmd) Run(a *app) error {
	if _, _, err := c.config(a.role); err != nil {
		return err
	}
	_, err := fmt.Fprintln(a.stdout, "ok")
	return err
}

type configPrintCmd struct{ roleConfigs }

// Run prints the configuration, also a broken one.
func (c *configPrintCmd) Run(a *app) error {
	config, traces, broken := c.config(a.role)
	if config != nil {
		out := masked(reflect.ValueOf(config))
		if all, ok := out.(map[string]any); ok {
			all["trace"] = masked(reflect.ValueOf(traces))
		}
		text, err := json.MarshalIndent(out, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(a.stdout, string(text))
	}
	return broken
}

// masked copies a configuration into plain maps under the names errors use, with passwords in
// addresses and everything that is no setting (loggers, functions) left out.
func masked(v reflect.Value) any {
	if s, ok := v.Interface().(fmt.Stringer); ok { // durations, networks
		return s.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Type.Kind() != reflect.Func && f.Type.Kind() != reflect.Pointer && !isOptions(f.Type) {
				out[snake(f.Name)] = masked(v.Field(i))
			}
		}
		return out
	case reflect.Slice:
		out := []any{}
		for i := range v.Len() {
			out = append(out, masked(v.Index(i)))
		}
		return out
	case reflect.String:
		return maskAddress(v.String())
	}
	return v.Interface()
}

// isOptions tells a list of a library's options, which no text can show.
func isOptions(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Interface
}

// keywordPassword is a password in a DSN of keywords and values: host=db password='it is secret'.
var keywordPassword = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'?|(?:[^\s\\]|\\.)+)`)

// plainURL is a URL whose parts are surely what they seem, of one or several hosts, which net/url does not read.
var plainURL = regexp.MustCompile(`^([a-z]+://)(?:([^:@/?#]*)(:[^@/?#]*)?@)?([^@/?#\s]*(?:/[^?#@]*)?)(?:\?([^#@]*))?$`)

func maskAddress(s string) string {
	if !strings.Contains(s, "://") {
		return keywordPassword.ReplaceAllString(s, "${1}xxxxx")
	}
	parts := plainURL.FindStringSubmatch(s)
	if parts == nil {
		return "(an address that cannot be read)"
	}
	scheme, user, password, rest, query := parts[1], parts[2], parts[3], parts[4], parts[5]
	if password != "" {
		password = ":xxxxx"
	}
	if user+password != "" {
		rest = user + password + "@" + rest
	}
	parameters, err := url.ParseQuery(query)
	switch {
	case query == "":
		return scheme + rest
	case err != nil:
		return scheme + rest + "?(parameters that cannot be read)"
	}
	for name := range parameters {
		if strings.Contains(strings.ToLower(name), "password") && name != secret.ParamPassword {
			parameters.Set(name, "xxxxx")
		}
	}
	return scheme + rest + "?" + parameters.Encode()
}

// snake is a Go name as flags and errors write it: SpoolDir is spool_dir, DSN is dsn.
func snake(name string) string {
	var out strings.Builder
	for i, c := range name {
		upper := c >= 'A' && c <= 'Z'
		if upper && i > 0 {
			after := i+1 < len(name) && name[i+1] >= 'a' && name[i+1] <= 'z'
			before := name[i-1] >= 'a' && name[i-1] <= 'z' || name[i-1] >= '0' && name[i-1] <= '9'
			if after || before {
				out.WriteByte('_')
			}
		}
		out.WriteString(strings.ToLower(string(c)))
	}
	return out.String()
}
