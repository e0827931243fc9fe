package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/secret"
	"github.com/keystone-cdp/keystone/internal/service"
)

type clickhouseCmd struct {
	Serve   clickhouseServeCmd   `cmd:"" help:"Run the embedded ClickHouse alone, until Ctrl-C."`
	Client  clickhouseClientCmd  `cmd:"" help:"Open an SQL prompt on ClickHouse, or run the SQL of --query or of standard input."`
	Migrate clickhouseMigrateCmd `cmd:"" help:"Copy everything to another ClickHouse, and compare."`
}

type clickhouseClientCmd struct {
	DataDir string `help:"Folder of a running keystone dev." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	URL     string `help:"ClickHouse over HTTP, with credentials; else that of --data-dir." env:"KEYSTONE_CLICKHOUSE_URL" placeholder:"URL"`
	Query   string `short:"q" help:"Run this and leave."`
	Format  string `help:"Output format; ClickHouse's names." placeholder:"FORMAT"`

	Param map[string]string `help:"A parameter of the statements, for {NAME:Type} in them. With --data-dir, tenant is the dev's." mapsep:"none" placeholder:"NAME=VALUE"`
}

// Help is shown below the usage.
func (clickhouseClientCmd) Help() string {
	return `Examples:
  keystone clickhouse client
  keystone clickhouse client -q 'SELECT event_type, count() FROM events GROUP BY 1'
  keystone clickhouse client --param days=7 -q 'SELECT count() FROM events WHERE tenant_id = {tenant:UUID} AND timestamp > now() - toIntervalDay({days:UInt8})'
  keystone clickhouse client --format CSVWithNames < report.sql > report.csv`
}

// Run asks for statements until the input ends. On a terminal there is a prompt with history.
func (c *clickhouseClientCmd) Run(a *app) error {
	parameters := map[string]string{}
	if c.URL == "" {
		info, err := readDevInfo(c.DataDir)
		if err != nil {
			return err
		}
		c.URL = info.ClickHouseURL
		parameters["tenant"] = info.Tenant
	}
	session, err := newSQLSession(c.URL, c.Format)
	if err != nil {
		return err
	}
	maps.Copy(parameters, c.Param)
	session.parameters = parameters
	if c.Query != "" {
		return session.run(a.ctx, c.Query, a.stdout)
	}
	if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return session.prompt(a.ctx, f, a.stdout)
	}
	return session.script(a.ctx, a.stdin, a.stdout)
}

type sqlSession struct {
	endpoint   *url.URL
	http       *http.Client
	format     string
	parameters map[string]string // of the statements: {tenant:UUID}
}

func newSQLSession(endpoint, format string) (*sqlSession, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, errors.New("the ClickHouse URL must look like http://user:password@host:8123/?database=keystone")
	}
	query := u.Query()
	access := secret.Take(query)
	if err := access.Check(); err != nil {
		return nil, fmt.Errorf("the ClickHouse URL: %w", err)
	}
	u.RawQuery = query.Encode()
	if access.PasswordFile != "" {
		password, err := secret.Password(access.PasswordFile)
		if err != nil {
			return nil, err
		}
		u.User = url.UserPassword(u.User.Username(), password)
	}
	return &sqlSession{endpoint: u, http: access.Client(), format: format}, nil
}

// run executes one statement and writes its result.
func (s *sqlSession) run(ctx context.Context, sql string, out io.Writer) error {
	u := *s.endpoint
	query := u.Query()
	format := s.format
	if format == "" {
		format = "PrettyCompactMonoBlock"
	}
	query.Set("default_format", format)
	for name, value := range s.parameters {
		query.Set("param_"+name, value)
	}
	u.RawQuery, u.User = query.Encode(), nil
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(sql))
	if err != nil {
		return err
	}
	if s.endpoint.User != nil {
		password, _ := s.endpoint.User.Password()
		req.SetBasicAuth(s.endpoint.User.Username(), password)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask ClickHouse: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return errors.New(strings.TrimSpace(string(text)))
	}
	_, err = io.Copy(out, resp.Body)
	return err
}

// maxScript bounds the statements read from standard input.
const maxScript = 16 << 20

func (s *sqlSession) script(ctx context.Context, in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(in, maxScript))
	if err != nil {
		return err
	}
	for _, statement := range splitSQL(string(text)) {
		if err := s.run(ctx, statement, out); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqlSession) prompt(ctx context.Context, tty *os.File, out io.Writer) error {
	old, err := term.MakeRaw(int(tty.Fd()))
	if err != nil {
		return err
	}
	defer func() { _ = term.Restore(int(tty.Fd()), old) }() // the terminal's own trouble
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{tty, out}, "sql> ")
	if width, height, err := term.GetSize(int(tty.Fd())); err == nil {
		_ = t.SetSize(width, height) // a guess is good enough for a prompt
	}
	fmt.Fprintln(t, "End a statement with a semicolon. Leave with Ctrl-D.")
	var pending strings.Builder
	for ctx.Err() == nil {
		line, err := t.ReadLine()
		if err != nil {
			return nil //nolint:nilerr // Ctrl-D and Ctrl-C end the prompt
		}
		pending.WriteString(line + "\n")
		t.SetPrompt("  -> ")
		if !strings.HasSuffix(strings.TrimSpace(line), ";") {
			continue
		}
		for _, statement := range splitSQL(pending.String()) {
			if err := s.run(ctx, statement, t); err != nil {
				fmt.Fprintln(t, err)
			}
		}
		pending.Reset()
		t.SetPrompt("sql> ")
	}
	return nil
}

// splitSQL cuts a script at the semicolons outside quotes and line comments.
func splitSQL(script string) []string {
	var out []string
	var quote, previous rune
	var comment, escaped bool
	start := 0
	cut := func(end int) {
		if s := strings.TrimSpace(script[start:end]); s != "" {
			out = append(out, s)
		}
	}
	for i, c := range script {
		switch {
		case comment:
			comment = c != '\n'
		case escaped:
			escaped = false
		case quote != 0:
			escaped = c == '\\'
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"' || c == '`':
			quote = c
		case c == '-' && previous == '-':
			comment = true
		case c == ';':
			cut(i)
			start = i + 1
		}
		previous = c
	}
	cut(len(script))
	return out
}

type clickhouseServeCmd struct {
	DataDir string `help:"The server's data are in the folder clickhouse within it." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	engineFlags
}

// Run runs the engine until the end is asked for.
func (c *clickhouseServeCmd) Run(a *app) (err error) {
	if err := os.MkdirAll(c.DataDir, 0o711); err != nil {
		return err
	}
	dir, err := embedded.EnginesDir(c.EnginesDir)
	if err != nil {
		return err
	}
	server, err := newClickHouse(c.engineFlags, dir, c.DataDir, a.log)
	if err != nil {
		return err
	}
	group := service.NewGroup(a.log)
	defer func() { err = errors.Join(err, group.Stop()) }()
	if err := group.Start(a.ctx, "ClickHouse", server, engineStopTimeout); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "ClickHouse is up. Ctrl-C stops it.\n\n  HTTP    %s\n  native  %s\n", server.HTTPDSN(), server.NativeDSN())
	select {
	case <-a.ctx.Done():
		return nil
	case err := <-server.Failed():
		return fmt.Errorf("ClickHouse ended: %w", err)
	}
}
