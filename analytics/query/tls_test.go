package query

import (
	"context"
	"crypto/tls"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// secured is a ClickHouse behind TLS: the engine's own listeners have none.
type secured struct {
	*enginetest.Authority
	right  url.Values // parameters that are let in
	db     enginetest.ClickHouseDB
	port   string
	config atomic.Pointer[tls.Config] // of the next connection
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{Authority: enginetest.NewAuthority(t), db: enginetest.ClickHouse(t)}
	config := s.Server("localhost")
	s.config.Store(config)
	front := config.Clone()
	front.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config.Load(), nil }
	plain, err := url.Parse(s.db.NativeDSN)
	if err != nil {
		t.Fatal(err)
	}
	s.port = enginetest.Front(t, front, plain.Host)
	cert, key := s.Issue("sink")
	s.right = url.Values{"secure": {"true"}, "sslrootcert": {s.CA}, "sslcert": {cert}, "sslkey": {key}, "password_file": {file(t, s.db.Password)}}
	return s
}

// dsn is the right one but for what is changed.
func (s *secured) dsn(host string, changed ...string) string {
	parameters := url.Values{}
	for name, values := range s.right {
		parameters[name] = values
	}
	for _, c := range changed {
		name, value, _ := strings.Cut(c, "=")
		parameters.Set(name, value)
		if value == "" {
			parameters.Del(name)
		}
	}
	return "clickhouse://" + s.db.User + "@" + host + ":" + s.port + "/" + s.db.Database + "?" + parameters.Encode()
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ping(t *testing.T, dsn string) error {
	t.Helper()
	conn, err := Open(dsn, 1)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was only read from
	return conn.Ping(t.Context())
}

// Only who has the authority, the name, a certificate and the password gets to ClickHouse.
func TestTLS(t *testing.T) {
	s := newSecured(t)
	if err := ping(t, s.dsn("localhost")); err != nil {
		t.Fatal(err)
	}
	other := enginetest.NewAuthority(t)
	otherCert, otherKey := other.Issue("sink")
	for name, refused := range map[string]struct {
		dsn, want string
	}{
		"another authority":                  {s.dsn("localhost", "sslrootcert="+other.CA), "unknown authority"},
		"the system's authorities":           {s.dsn("localhost", "sslrootcert="), "unknown authority"},
		"another name":                       {s.dsn("127.0.0.1"), "127.0.0.1"},
		"no certificate":                     {s.dsn("localhost", "sslcert=", "sslkey="), "certificate required"},
		"a certificate of another authority": {s.dsn("localhost", "sslcert="+otherCert, "sslkey="+otherKey), "certificate"},
		"no TLS":                             {s.dsn("localhost", "secure=", "sslrootcert=", "sslcert=", "sslkey="), ""},
		"files without TLS":                  {s.dsn("localhost", "secure="), "without secure=true"},
		"no verification":                    {s.dsn("localhost", "skip_verify=true"), "always verified"},
		"another password":                   {s.dsn("localhost", "password_file="+file(t, "guess")), "Authentication failed"},
		"an empty password":                  {s.dsn("localhost", "password_file="+file(t, "\n")), "is empty"},
		"a key without its certificate":      {s.dsn("localhost", "sslcert="), "belong together"},
		"an authority without a certificate": {s.dsn("localhost", "sslrootcert="+file(t, "nothing")), "has no certificate"},
	} {
		if err := ping(t, refused.dsn); err == nil || !strings.Contains(err.Error(), refused.want) || strings.Contains(err.Error(), s.db.Password) {
			t.Errorf("%s: %v, without %q", name, err, refused.want)
		}
	}
	if err := ping(t, s.dsn("localhost", "password_file=", "password="+s.db.Password)); err != nil {
		t.Errorf("a password in the DSN: %v", err)
	}
}

// Certificates, authorities and passwords hold from the next connection on.
func TestRotation(t *testing.T) {
	s := newSecured(t)
	files := t.TempDir()
	put := func(name, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(files, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name := range s.right {
		if name != "secure" {
			put(name, s.right.Get(name))
			s.right.Set(name, filepath.Join(files, name))
		}
	}
	conn, err := Open(s.dsn("localhost"), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it was only read from
	// again is whether two queries at a time work: one has the connection there is, the other needs another.
	again := func() error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rows, err := conn.Query(ctx, "SELECT number FROM system.numbers LIMIT 1000000")
		if err != nil {
			return err
		}
		defer rows.Close() //nolint:errcheck // given up
		return conn.Ping(ctx)
	}
	if err := conn.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := enginetest.NewAuthority(t)
	s.config.Store(next.Server("localhost"))
	if err := again(); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Fatalf("a server of another authority: %v", err)
	}
	cert, key := next.Issue("sink")
	put("sslrootcert", next.CA)
	put("sslcert", cert)
	put("sslkey", key)
	if err := again(); err != nil {
		t.Errorf("the new files: %v", err)
	}
	put("password_file", file(t, "guess"))
	late, err := Open(s.dsn("localhost"), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close() //nolint:errcheck // it was only read from
	if err := late.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "Authentication failed") {
		t.Errorf("another password: %v", err)
	}
	put("password_file", file(t, s.db.Password))
	if err := late.Ping(t.Context()); err != nil {
		t.Errorf("the new password: %v", err)
	}
}
