package sql

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

const secretWord = "s3cret-of-the-store"

// with adds parameters, name=value, to a DSN, or changes its host.
func with(t *testing.T, dsn string, parameters ...string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	for _, p := range parameters {
		name, value, _ := strings.Cut(p, "=")
		switch {
		case name == "host":
			u.Host = value + ":" + u.Port()
		case value == "":
			query.Del(name)
		default:
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func ping(t *testing.T, dsn string) error {
	t.Helper()
	pool, err := Open(t.Context(), dsn, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	return pool.Ping(t.Context())
}

func passwordFile(t *testing.T, password string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Only who has the authority, the name, a certificate and the password gets to the store.
func TestTLS(t *testing.T) {
	s := enginetest.NewSecureStore(t, secretWord)
	cert, key := s.Issue("processor")
	other := enginetest.NewAuthority(t)
	otherCert, otherKey := other.Issue("processor")
	right := with(t, s.DSN, "sslmode=verify-full", "sslrootcert="+s.CA, "sslcert="+cert, "sslkey="+key, "password_file="+passwordFile(t, secretWord))
	if err := ping(t, right); err != nil {
		t.Fatal(err)
	}
	pool := open(t, right)
	var version string
	if err := pool.QueryRow(t.Context(), "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl").Scan(&version); err != nil || !strings.HasPrefix(version, "TLSv1.") {
		t.Errorf("the connection is of %q, %v", version, err)
	}
	if err := Migrate(t.Context(), right, quiet); err != nil { // through database/sql
		t.Error(err)
	}
	for name, refused := range map[string]struct {
		parameters []string
		want       string
	}{
		"another authority":                   {[]string{"sslrootcert=" + other.CA}, "unknown authority"},
		"another name":                        {[]string{"host=127.0.0.1"}, "127.0.0.1"},
		"no certificate":                      {[]string{"sslcert=", "sslkey="}, "certificate"},
		"a certificate of another authority":  {[]string{"sslcert=" + otherCert, "sslkey=" + otherKey}, "certificate"},
		"a key of another certificate":        {[]string{"sslkey=" + otherKey}, "private key does not match"},
		"no TLS":                              {[]string{"sslmode=disable", "sslrootcert=", "sslcert=", "sslkey="}, "pg_hba.conf"},
		"another password":                    {[]string{"password_file=" + passwordFile(t, "guess")}, "password authentication failed"},
		"no password":                         {[]string{"password_file="}, "password"},
		"a password's file that is not there": {[]string{"password_file=/nowhere"}, "no such file"},
		"an empty one":                        {[]string{"password_file=" + passwordFile(t, "")}, "is empty"},
		"an authority's file without any":     {[]string{"sslrootcert=" + passwordFile(t, "nothing")}, "CA"},
	} {
		err := ping(t, with(t, right, refused.parameters...))
		if err == nil || !strings.Contains(err.Error(), refused.want) || strings.Contains(err.Error(), secretWord) {
			t.Errorf("%s: %v, without %q", name, err, refused.want)
		}
	}
}

// backend is the server's process behind a pool's connection.
func backend(t *testing.T, pool *pgxpool.Pool) (pid int64, err error) {
	t.Helper()
	err = pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid)
	return pid, err
}

// A password that is changed in the store and in its file, and an authority with its certificates, hold from the
// next connection on: nothing is started again.
func TestRotation(t *testing.T) {
	s := enginetest.NewSecureStore(t, secretWord)
	files := t.TempDir()
	at := func(name string) string { return filepath.Join(files, name) }
	put := func(name, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(at(name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cert, key := s.Issue("processor")
	put("ca", s.CA)
	put("cert", cert)
	put("key", key)
	put("password", passwordFile(t, secretWord))
	pool := open(t, with(t, s.DSN, "sslmode=verify-full", "sslrootcert="+at("ca"), "sslcert="+at("cert"), "sslkey="+at("key"), "password_file="+at("password")))
	first, err := backend(t, pool)
	if err != nil {
		t.Fatal(err)
	}

	s.SetPassword("another")
	if pid, err := backend(t, pool); err != nil || pid != first {
		t.Errorf("who was in is out: %d, %v", pid, err)
	}
	s.Disconnect()
	pool.Reset()
	if _, err := backend(t, pool); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("the old password: %v", err)
	}
	put("password", passwordFile(t, "another"))
	if _, err := backend(t, pool); err != nil {
		t.Errorf("the new password: %v", err)
	}

	next := enginetest.NewAuthority(t)
	s.Trust(next)
	s.Disconnect()
	pool.Reset()
	if _, err := backend(t, pool); err == nil {
		t.Error("a certificate of the authority that is gone was taken")
	}
	cert, key = next.Issue("processor")
	put("cert", cert)
	if _, err := backend(t, pool); err == nil || !strings.Contains(err.Error(), "private key does not match") {
		t.Errorf("half a change: %v", err)
	}
	put("key", key)
	if _, err := backend(t, pool); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
}
