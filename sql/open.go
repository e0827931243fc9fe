package sql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystone-cdp/keystone/internal/secret"
)

// connectTimeout bounds one attempt to connect where the DSN sets none: a server that takes no
// connection must look like one that is down.
const connectTimeout = 5 * time.Second

// ErrFiles is wrapped by the error of a connection whose DSN's files could be read when the pool was opened, and cannot
// now: somebody is replacing them.
var ErrFiles = errors.New("the state store's certificates or password are not readable")

// Open makes a pool of at most maxConns connections. It does not connect yet. Times are read as UTC. The files
// that the DSN names (sslrootcert, sslcert, sslkey, passfile, password_file) are read again at each connection,
// so that certificates and passwords change without a restart.
func Open(ctx context.Context, dsn string, maxConns int) (*pgxpool.Pool, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = int32(maxConns)
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		now, err := parseDSN(dsn)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFiles, err)
		}
		c.Password, c.TLSConfig, c.Fallbacks = now.ConnConfig.Password, now.ConnConfig.TLSConfig, now.ConnConfig.Fallbacks
		return nil
	}
	cfg.AfterConnect = prepareSession
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the state store: %w", err)
	}
	return pool, nil
}

// parseDSN reads a DSN and the files it names.
func parseDSN(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// pgx quotes the DSN, and finds the password in some forms of it only.
		text := err.Error()
		return nil, errors.New("read the state store's DSN" + text[strings.LastIndexByte(text, '`')+1:])
	}
	path, ok := cfg.ConnConfig.RuntimeParams[secret.ParamPassword]
	if !ok {
		return cfg, nil
	}
	delete(cfg.ConnConfig.RuntimeParams, secret.ParamPassword)
	if cfg.ConnConfig.Password, err = secret.Password(path); err != nil {
		return nil, fmt.Errorf("read the state store's DSN: %w", err)
	}
	return cfg, nil
}

// Refused tells that the store does not let this account in: its password, its certificate, or no right to connect.
func Refused(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28")
}

// IsCockroach tells which of the two servers this is: CockroachDB announces its version.
func IsCockroach(c *pgx.Conn) bool { return c.PgConn().ParameterStatus("crdb_version") != "" }

// postgresSession makes PostgreSQL look up what is asked for, key by key. Its planner would rather read
// a small table, or all of an index, at once; under SERIALIZABLE that locks all of it, and every two
// workers conflict. A generic plan does not know how many keys there are.
//
// A process that is stopped in mid-transaction (a paused machine) would hold its partitions' rows for
// as long as its connection lives, and nobody could take them over. CockroachDB ends such a transaction
// by itself.
const postgresSession = `SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
SET enable_mergejoin = off; SET plan_cache_mode = force_custom_plan; SET jit = off;
SET idle_in_transaction_session_timeout = '60s'`

// prepareSession makes a new connection behave the same on both servers.
func prepareSession(ctx context.Context, c *pgx.Conn) error {
	c.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	if IsCockroach(c) {
		return nil
	}
	if _, err := c.Exec(ctx, postgresSession); err != nil {
		return fmt.Errorf("prepare a session: %w", err)
	}
	return nil
}

// Text is s as the state store can hold it: valid UTF-8, with U+FFFD for NUL.
func Text(s string) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
