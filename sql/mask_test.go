package sql

import (
	"strings"
	"testing"
)

// Whatever is wrong with a DSN, the error has no password in it.
func TestErrorsOfDSNsHoldNoPassword(t *testing.T) {
	for _, dsn := range []string{
		"postgres://k:s3cret@db:port/keystone",
		"postgres://k:s3cret@db/keystone?sslmode=maybe",
		"postgres://k:s3cret@db/keystone?sslrootcert=/nowhere",
		"postgres://k:s3cret@db/keystone?password_file=/nowhere",
		"postgres://k:s3cret/x@db/keystone",
		"postgres://k:x/s3cret@db/keystone",
		"postgres://k:x#s3cret@db/keystone",
		"postgres://k:x?s3cret@db/keystone",
		"postgres://k:%zzs3cret@db/keystone",
		"postgres://db/keystone?password=s3cret&sslmode=maybe",
		"host=db password=s3cret sslmode=maybe",
		"host=db password='s3cret sslmode=maybe",
		"host=db password = 's3cret' sslmode=maybe",
		"password=s3cret host",
		"s3cret",
	} {
		if _, err := Open(t.Context(), dsn, 1); err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
		if err := Migrate(t.Context(), dsn, quiet); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}
