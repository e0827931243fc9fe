package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5"
)

// Tx is one attempt at a transaction. Its statements go in batches; BEGIN travels with the first.
type Tx struct {
	conn *pgx.Conn
	open pgx.Tx // nil before the first batch
}

// serializable is said, not assumed: the servers' defaults differ.
var serializable = pgx.TxOptions{IsoLevel: pgx.Serializable}

// Batch is an empty batch for Send; its results go to the callbacks of what is queued.
func (tx *Tx) Batch() *pgx.Batch {
	b := &pgx.Batch{}
	if tx.open == nil {
		b.BeginTx(serializable)
	}
	return b
}

// Send runs a batch in one round trip. After an error the attempt is lost.
func (tx *Tx) Send(ctx context.Context, b *pgx.Batch) error {
	results := tx.conn.SendBatch(ctx, b)
	if tx.open == nil {
		tx.open = results.Tx()
	}
	return results.Close()
}

// read runs a batch before the transaction begins: its statements may each see another state.
func (tx *Tx) read(ctx context.Context, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return tx.conn.SendBatch(ctx, b).Close()
}

// InTx runs fn in a serializable transaction, again and again while it meets others', at most
// Config.Attempts times. fn may run several times: it must compute everything from scratch and have
// no effect but through tx. The same code path is right on CockroachDB and on PostgreSQL.
func (s *Store) InTx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) (retries int, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return 0, fmt.Errorf("connect to the state store: %w", err)
	}
	defer conn.Release()
	a := &attempts{tx: Tx{conn: conn.Conn()}, timeout: s.cfg.Timeout}
	defer a.end()
	err = crdb.ExecuteInTx(crdb.WithMaxRetries(ctx, s.cfg.Attempts-1), a, func() error {
		return retryable(fn(a.begin(ctx), &a.tx))
	})
	return a.retries, err
}

// attempts is what crdb.ExecuteInTx takes for a transaction. The loop speaks in retry savepoints;
// this says BEGIN … COMMIT for them, which both servers understand alike. (On PostgreSQL, RELEASE
// SAVEPOINT commits nothing, and the loop ignores the error of the COMMIT that does; and ROLLBACK TO
// keeps the snapshot that the retry is to get rid of.)
type attempts struct {
	tx      Tx
	timeout time.Duration
	ctx     context.Context // of the attempt at hand
	cancel  context.CancelFunc
	retries int
}

func (a *attempts) begin(ctx context.Context) context.Context {
	a.end()
	a.ctx, a.cancel = context.WithTimeout(ctx, a.timeout)
	return a.ctx
}

func (a *attempts) end() {
	if a.cancel != nil {
		a.cancel()
	}
}

// maxBackoff bounds the wait between two attempts. The loop itself does not wait.
const maxBackoff = 200 * time.Millisecond

func (a *attempts) Exec(ctx context.Context, statement string, _ ...any) error {
	switch {
	case strings.HasPrefix(statement, "SAVEPOINT "):
		return nil
	case strings.HasPrefix(statement, "RELEASE SAVEPOINT "):
		return retryable(a.tx.open.Commit(a.ctx))
	case strings.HasPrefix(statement, "ROLLBACK TO SAVEPOINT "):
		if err := a.Rollback(ctx); err != nil {
			return err
		}
		a.retries++
		return sleep(ctx, rand.N(min(maxBackoff, time.Millisecond<<min(a.retries, 8))))
	}
	return fmt.Errorf("unexpected statement %q of the retry loop", statement)
}

// Commit is what the loop calls after RELEASE: it is done.
func (a *attempts) Commit(context.Context) error { return nil }

// Rollback ends the attempt. A connection that is lost has rolled back.
func (a *attempts) Rollback(ctx context.Context) error {
	open := a.tx.open
	a.tx.open = nil
	if open == nil || a.tx.conn.PgConn().TxStatus() == 'I' || a.tx.conn.IsClosed() {
		return nil
	}
	return open.Rollback(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
