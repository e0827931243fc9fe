package doctor

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestExposed(t *testing.T) {
	for dsn, want := range map[string]bool{
		"postgres://db/k":                                  true, // prefer: without TLS where the server wants none
		"postgres://db/k?sslmode=disable":                  true,
		"postgres://db/k?sslmode=require":                  true,
		"postgres://db/k?sslmode=verify-full":              false,
		"postgres://localhost,db/k?sslmode=disable":        true,
		"postgres://localhost/k?sslmode=disable":           false,
		"postgres://127.0.0.1:26257/k":                     false,
		"postgres://[::1]/k":                               false,
		"postgres:///k?host=/var/run/postgresql":           false,
		"postgres://a:26257,b:26257/k?sslmode=verify-full": false,
		"host=db dbname=k sslmode=verify-full":             false,
		"postgres://127.0.0.2,10.0.0.1/k?sslmode=require":  true,
	} {
		c, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if got := exposed(c); got != want {
			t.Errorf("%s: %v", dsn, got)
		}
	}
}
