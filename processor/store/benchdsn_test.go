package store

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/keystone-cdp/keystone/sql"
)

func benchDSN(b *testing.B) string {
	if d := os.Getenv("KS_PG"); d != "" {
		c, err := pgx.Connect(context.Background(), d+"/postgres")
		if err != nil {
			b.Fatal(err)
		}
		c.Exec(context.Background(), "DROP DATABASE IF EXISTS bench WITH (FORCE)")
		if _, err := c.Exec(context.Background(), "CREATE DATABASE bench"); err != nil {
			b.Fatal(err)
		}
		c.Close(context.Background())
		if err := sql.Migrate(context.Background(), d+"/bench", slog.New(slog.DiscardHandler)); err != nil {
			b.Fatal(err)
		}
		return d + "/bench"
	}
	return newDSN(b)
}
