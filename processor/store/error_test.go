package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keystone-cdp/keystone/processor/outbox"
	"github.com/keystone-cdp/keystone/sql"
)

func TestClassify(t *testing.T) {
	state := func(code string) error { return fmt.Errorf("apply: %w", &pgconn.PgError{Code: code}) }
	for name, x := range map[string]struct {
		err  error
		want Class
	}{
		"serialization failure":  {state("40001"), Retry},
		"out of shared memory":   {state("53200"), Retry},
		"too many connections":   {state("53300"), Retry},
		"shut down":              {state("57P01"), Retry},
		"statement timeout":      {state("57014"), Retry},
		"read only":              {state("25006"), Retry},
		"connection exception":   {state("08006"), Retry},
		"internal error":         {state("XX000"), Retry},
		"invalid text":           {state("22021"), Poison},
		"numeric overflow":       {state("22003"), Poison},
		"constraint":             {state("23514"), Poison},
		"row too large":          {state("54000"), Poison},
		"no such table":          {state("42P01"), Fatal},
		"no such column":         {state("42703"), Fatal},
		"password is changed":    {state("28P01"), Retry},
		"certificate is changed": {fmt.Errorf("x: %w", sql.ErrFiles), Retry},
		"no such database":       {state("3D000"), Fatal},
		"wrong password, dialed": {&pgconn.ConnectError{}, Retry},
		"end of stream":          {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), Retry},
		"refused":                {&net.OpError{Op: "dial", Err: errors.New("refused")}, Retry},
		"canceled":               {context.Canceled, Retry},
		"too late":               {fmt.Errorf("x: %w", context.DeadlineExceeded), Retry},
		"not known to commit":    {errors.Join(errUncertain, errors.New("x")), Retry},
		"a panic":                {&PanicError{}, Poison},
		"too large":              {fmt.Errorf("x: %w", ErrTooLarge), Poison},
		"records too large":      {outbox.ErrTooLarge, Poison},
		"anything else":          {errors.New("read counts of identifiers: malformed"), Poison},
	} {
		if got := Classify(x.err); got != x.want {
			t.Errorf("%s is %v, not %v", name, got, x.want)
		}
	}
}
