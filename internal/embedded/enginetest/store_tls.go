package enginetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
)

// SecureStore is an empty database on the shared PostgreSQL, whose account is let in with TLS, a certificate and a
// password only. The server's own certificate is for the name localhost, not for the address.
type SecureStore struct {
	*Authority        // of the server's certificate, and of those it takes at first
	DSN        string // postgres://secured@localhost:port/t<n>: without password and parameters

	tb    testing.TB
	admin string // DSN of the server's owner, without TLS
	dir   string // of its data
}

const (
	secureAccount  = "secured"
	authoritiesFor = "clients.pem" // file of those whose certificates the server takes
	// The first rule that fits decides: TLS and a certificate are asked of this account, and of nobody else.
	secureRules = `hostssl all ` + secureAccount + ` 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostnossl all ` + secureAccount + ` 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
`
)

// NewSecureStore turns TLS on, and makes the account with a password.
func NewSecureStore(tb testing.TB, password string) *SecureStore {
	tb.Helper()
	server, err := storeServer.get(startStore)
	Need(tb, err)
	if server.Kind() != statestore.Postgres {
		tb.Skip("the certificates of a CockroachDB are given at its start")
	}
	s := &SecureStore{Authority: NewAuthority(tb), tb: tb, admin: server.DSN()}
	tb.Cleanup(func() { // after the database, which is the account's
		if err := execStore(context.Background(), s.admin, "DROP ROLE IF EXISTS "+secureAccount); err != nil {
			tb.Errorf("drop the test's account: %v", err)
		}
	})
	dsn := Store(tb)
	s.must(s.ask("SHOW data_directory", &s.dir))
	cert, key := s.Issue("server", "localhost")
	s.put("server.crt", cert)
	s.put("server.key", key)
	s.put(authoritiesFor, s.CA)
	s.must(os.WriteFile(filepath.Join(s.dir, "pg_hba.conf"), []byte(secureRules), 0o600))
	for _, statement := range []string{
		"ALTER SYSTEM SET ssl = on",
		"ALTER SYSTEM SET ssl_ca_file = '" + authoritiesFor + "'",
		"CREATE ROLE " + secureAccount + " LOGIN",
	} {
		s.must(execStore(tb.Context(), s.admin, statement))
	}
	s.SetPassword(password)
	s.reload()
	u, err := url.Parse(dsn)
	s.must(err)
	database := strings.Trim(u.Path, "/")
	s.must(execStore(tb.Context(), s.admin, "ALTER DATABASE "+database+" OWNER TO "+secureAccount))
	u.User, u.Host, u.RawQuery = url.User(secureAccount), "localhost:"+u.Port(), ""
	s.DSN = u.String()
	return s
}

// SetPassword changes the account's; those who are in stay in.
func (s *SecureStore) SetPassword(password string) {
	s.tb.Helper()
	s.must(execStore(s.tb.Context(), s.admin, "ALTER ROLE "+secureAccount+" PASSWORD '"+password+"'"))
}

// Trust makes the server take certificates of another authority's only.
func (s *SecureStore) Trust(other *Authority) {
	s.tb.Helper()
	s.put(authoritiesFor, other.CA)
	s.reload()
}

// Disconnect ends the account's connections, as a server does that is started again.
func (s *SecureStore) Disconnect() {
	s.tb.Helper()
	s.must(execStore(s.tb.Context(), s.admin, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '"+secureAccount+"'"))
}

func (s *SecureStore) ask(query string, to any) error {
	conn, err := pgx.Connect(s.tb.Context(), s.admin)
	if err != nil {
		return err
	}
	defer conn.Close(s.tb.Context()) //nolint:errcheck // it was only read from
	return conn.QueryRow(s.tb.Context(), query).Scan(to)
}

// put copies a file into the server's folder, for its account.
func (s *SecureStore) put(name, from string) {
	s.tb.Helper()
	text, err := os.ReadFile(from)
	s.must(err)
	path := filepath.Join(s.dir, name)
	s.must(os.WriteFile(path, text, 0o600))
	info, err := os.Stat(s.dir)
	s.must(err)
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		s.must(os.Lchown(path, int(owner.Uid), int(owner.Gid)))
	}
}

// reload lets the server read its files again, and waits until new connections are by them.
func (s *SecureStore) reload() {
	s.tb.Helper()
	var before, now time.Time
	s.must(s.ask("SELECT pg_conf_load_time()", &before))
	s.must(execStore(s.tb.Context(), s.admin, "SELECT pg_reload_conf()"))
	for deadline := time.Now().Add(startTimeout); !now.After(before); time.Sleep(gonePoll) {
		s.must(s.ask("SELECT pg_conf_load_time()", &now))
		if time.Now().After(deadline) {
			s.tb.Fatal(fmt.Errorf("the state store does not read its configuration again after %s", startTimeout))
		}
	}
}
