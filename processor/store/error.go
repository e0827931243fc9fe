package store

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/sql"
)

// ErrFenced says that the partition has another owner: the batch was dropped whole.
var ErrFenced = errors.New("the partition was claimed by another owner")

// Class is what to do about an error.
type Class int

// The classes. What is not known for certain to be something else is Poison, which costs nothing but
// attempts: a record is given up only after it has failed alone, several times.
const (
	Retry  Class = iota // the store is down, busy or moving: wait, and do the same again
	Poison              // this input cannot be stored: find the record that is to blame
	Fatal               // a wrong set-up: schema, rights. Only a person can help
)

func (c Class) String() string { return [...]string{"retry", "poison", "fatal"}[c] }

// Classify tells what to do about an error of this package, by SQLSTATE and type, never by text.
func Classify(err error) Class {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return classOf(pg.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, pgx.ErrTxClosed), errors.Is(err, errUncertain), errors.Is(err, sql.ErrFiles),
		errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err):
		return Retry
	}
	return Poison
}

func classOf(sqlstate string) Class {
	if len(sqlstate) != 5 {
		return Retry
	}
	switch sqlstate[:2] {
	case "21", "22", "23", "54": // cardinality, data, constraints, program limits
		return Poison
	case "3D", "3F", "42": // no such database, schema, table, column
		return Fatal
	}
	// 08 connection, 25 read-only, 28 authorization (a password or certificate that is being changed: a wrong one is
	// found when the processor starts), 40 rollback, 53 resources, 57 operator, 58 system, …
	return Retry
}

// Contended tells that a batch was given up because it met others every time: a smaller one may not.
func Contended(err error) bool {
	var exceeded *crdb.MaxRetriesExceededError
	return errors.As(err, &exceeded)
}

// errUncertain: a commit was not acknowledged, and the store could not be asked in time.
var errUncertain = errors.New("it is not known whether the batch was committed")

// ambiguous tells that a commit may have happened although it failed. A server's plain refusal of the
// COMMIT is not ambiguous, whatever its error's type.
func ambiguous(err error) bool {
	var amb *crdb.AmbiguousCommitError
	if !errors.As(err, &amb) {
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40003" || strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P")
	}
	return !errors.Is(err, pgx.ErrTxCommitRollback)
}

// deadlock is a transaction the server killed because it and another waited for each other.
// PostgreSQL has a code of its own for it; CockroachDB says 40001, and so does this.
type deadlock struct{ error }

func (deadlock) SQLState() string { return "40001" }
func (d deadlock) Unwrap() error  { return d.error }

// retryable makes every error that a transaction should be run again for one that ExecuteInTx
// knows. 0A000 comes once from a plan that was cached before a migration.
func retryable(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "40P01" || pg.Code == "0A000" && pg.Routine == "RevalidateCachedQuery") {
		return deadlock{err}
	}
	return err
}
