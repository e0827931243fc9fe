package sql

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

var n atomic.Int64

func freshStore(tb testing.TB) string {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, "postgres://keystone@127.0.0.1:55432/postgres")
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(ctx)
	name := fmt.Sprintf("sql_%d", n.Add(1))
	c.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return "postgres://keystone@127.0.0.1:55432/" + name
}
