package access

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema/schematest"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// Two tenants have the same shop, but that everything the other has says secretb.
var (
	tenantA = uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	tenantB = uuid.MustParse("99999999-9dad-11d1-80b4-00c04fd430c8")
)

// rig is an engine of the test's own: it is started again for every analyst.
type rig struct {
	t      *testing.T
	server *clickhouse.Server
	dir    string // the server's
	own    driver.Conn
	file   File
}

func newRig(t *testing.T) *rig {
	t.Helper()
	cfg := enginetest.ClickHouseConfig(t, t.TempDir())
	server := enginetest.ServeClickHouse(t, cfg)
	schematest.Migrate(t, server.NativeDSN())
	own, err := query.Open(server.NativeDSN(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	r := &rig{t: t, server: server, dir: cfg.DataDir, own: own}
	r.file = File{
		Dir:    t.TempDir(),
		Tables: func(ctx context.Context) ([]Table, error) { return Tables(ctx, own) },
		Apply: func(ctx context.Context) error {
			c, _, err := Read(r.file.Dir)
			if err != nil {
				return err
			}
			return server.SetUsers(ctx, c.Users(clickhouse.Database))
		},
	}
	r.fill()
	return r
}

func (r *rig) fill() {
	r.t.Helper()
	text, err := os.ReadFile("../testdata/cookbook.sql")
	if err != nil {
		r.t.Fatal(err)
	}
	secret := strings.NewReplacer(tenantA.String(), tenantB.String(), "dev-", "secretb-", "example", "secretb", "'page'", "'secretb-page'",
		"'Home'", "'secretb home'", "Shoe", "secretb shoe", "Hat", "secretb hat", "Chicago", "secretb", "Miami", "secretb", "'O-", "'secretb-O-",
		"'P-", "'secretb-P-", "fall", "secretb-fall", "collapse", "secretb")
	for _, text := range []string{string(text), secret.Replace(string(text))} {
		for statement := range strings.SplitSeq(text, ";\n") {
			if strings.TrimSpace(statement) != "" {
				r.exec(statement)
			}
		}
	}
}

func (r *rig) exec(statement string) {
	r.t.Helper()
	if err := r.own.Exec(r.t.Context(), statement); err != nil {
		r.t.Fatalf("%.80s: %v", statement, err)
	}
}

// analyst makes a login for tenant A.
func (r *rig) analyst(name string, limits Limits) (Analyst, string) {
	r.t.Helper()
	a, password, err := New(name, tenantA, limits)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.file.Create(r.t.Context(), a); err != nil {
		r.t.Fatal(err)
	}
	return a, password
}

func (r *rig) login(name, password string) driver.Conn {
	r.t.Helper()
	opt, err := chgo.ParseDSN(r.server.NativeDSN())
	if err != nil {
		r.t.Fatal(err)
	}
	opt.Auth.Username, opt.Auth.Password = name, password
	conn, err := chgo.Open(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// http asks over HTTP, in a format that hides nothing.
func (r *rig) http(name, password, sql string, parameters map[string]string) (string, bool) {
	r.t.Helper()
	values := url.Values{"database": {clickhouse.Database}, "default_format": {"TSVWithNames"}}
	for k, v := range parameters {
		values.Set("param_"+k, v)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.server.HTTPURL()+"/?"+values.Encode(), strings.NewReader(sql))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth(name, password)
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(body), resp.StatusCode == http.StatusOK
}

// foreign tells whether a text holds anything of tenant B.
func foreign(text string) bool {
	return strings.Contains(text, "secretb") || strings.Contains(text, tenantB.String())
}
