package statestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	codeDuplicateDatabase = "42P04"
	probeTimeout          = 5 * time.Second
)

// waitReady returns once the server lets us in and the database exists. That we
// are let in proves that it is our server: the password is random, and SCRAM
// proves it to both sides.
func waitReady(ctx context.Context, child *embedded.Child, e engine, port int) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := createDatabase(ctx, e.dsn(port, e.maintenance()))
		if err == nil {
			return nil
		}
		select {
		case <-child.Done():
			return &exitError{end: endOf(child), output: e.lastWords()}
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w: %w: %s", ctx.Err(), err, e.lastWords())
		case <-tick.C: // refused, starting up or recovering
		}
	}
}

// exitError is a server that ended while it was awaited.
type exitError struct {
	end    error
	output string
}

func (e *exitError) Error() string { return fmt.Sprintf("server ended: %v: %s", e.end, e.output) }
func (e *exitError) Unwrap() error { return e.end }

func createDatabase(ctx context.Context, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE DATABASE "+Database)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == codeDuplicateDatabase {
		return nil
	}
	return err
}
