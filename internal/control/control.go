// Package control is the control plane: tenants and their settings, API keys, ingest jobs, and how
// far the processor has come. It needs the state store and nothing else.
//
// It caches nothing: the edge and the processor have caches of their own, each with the staleness it
// can afford. The pool belongs to the caller, who closes it.
package control

import (
	"context"
	"errors"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The errors that callers tell apart.
var (
	ErrExists        = errors.New("exists already")
	ErrUnknownTenant = errors.New("unknown tenant")
	ErrUnknownKey    = errors.New("unknown key") // revoked keys are unknown
	ErrUnknownJob    = errors.New("unknown job")
	ErrInvalid       = errors.New("invalid")
)

// maxRetries bounds how often a statement or a transaction that met another's transaction is run again.
const maxRetries = 10

// Plane is the control plane of one state store. It is safe for concurrent use.
type Plane struct {
	pool *pgxpool.Pool
}

// New makes a control plane over a pool of package sql's Open.
func New(pool *pgxpool.Pool) *Plane { return &Plane{pool: pool} }

// query collects the rows of one statement.
func query[T any](ctx context.Context, p *Plane, scan pgx.RowToFunc[T], text string, args ...any) (out []T, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		rows, err := p.pool.Query(ctx, text, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scan)
		return err
	})
	return out, err
}

// exec tells how many rows a statement touched.
func (p *Plane) exec(ctx context.Context, text string, args ...any) (n int64, err error) {
	err = retry(ctx, func(ctx context.Context) error {
		tag, err := p.pool.Exec(ctx, text, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// inTx runs fn in a serializable transaction, again where it met others': it must have no effect but through tx.
func (p *Plane) inTx(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return retry(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, p.pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error { return fn(ctx, tx) })
	})
}

func retry(ctx context.Context, fn func(context.Context) error) error {
	return crdb.ExecuteCtx(crdb.WithMaxRetries(ctx, maxRetries), func(ctx context.Context, _ ...any) error { return fn(ctx) })
}

const uniqueViolation = "23505"

func isDuplicate(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == uniqueViolation
}
