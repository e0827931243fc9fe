package schema

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/internal/secret"
)

// compressBytes is how much of a block is compressed and sent at once, or one column of it. The driver would
// gather 10 MiB, which by then are in no cache.
const compressBytes = 128 << 10

// Options reads a clickhouse:// DSN. Beside the driver's parameters it may name files: sslrootcert, sslcert and
// sslkey with secure=true, and password_file. Over the native protocol they are read again at each connection,
// so that certificates and passwords change without a restart; over HTTP, and by what goes through database/sql,
// they are read once.
func Options(dsn string) (*clickhouse.Options, error) {
	address, query, _ := strings.Cut(dsn, "?") // not by net/url: there may be several hosts
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("parse clickhouse dsn: its parameters cannot be read") // the cause may quote a password
	}
	access := secret.Take(parameters)
	if parameters.Has("skip_verify") {
		return nil, errors.New("parse clickhouse dsn: skip_verify is of no use: certificates are always verified; name the authority with sslrootcert")
	}
	if len(parameters) > 0 {
		address += "?" + parameters.Encode()
	}
	opt, err := clickhouse.ParseDSN(address)
	if err != nil {
		return nil, errors.New("parse clickhouse dsn: it is not a clickhouse:// address, or one of its parameters is wrong") // the cause may quote the password
	}
	if access.Named() && opt.TLS == nil {
		return nil, errors.New("parse clickhouse dsn: sslrootcert, sslcert and sslkey are of no use without secure=true")
	}
	if err := access.Check(); err != nil {
		return nil, fmt.Errorf("parse clickhouse dsn: %w", err)
	}
	if opt.MaxCompressionBuffer == 0 {
		opt.MaxCompressionBuffer = compressBytes
	}
	return opt, secure(opt, access)
}

// secure makes connections by what the files hold.
func secure(opt *clickhouse.Options, access secret.Access) (err error) {
	if access.PasswordFile != "" {
		if opt.Auth.Password, err = secret.Password(access.PasswordFile); err != nil {
			return err
		}
		opt.DialStrategy = func(ctx context.Context, id int, opt *clickhouse.Options, dial clickhouse.Dial) (result clickhouse.DialResult, err error) {
			now := *opt // the pool's connections share the other
			if now.Auth.Password, err = secret.Password(access.PasswordFile); err != nil {
				return result, err
			}
			return clickhouse.DefaultDialStrategy(ctx, id, &now, dial)
		}
	}
	if opt.TLS == nil {
		return nil
	}
	access.Name, access.Timeout = opt.TLS.ServerName, opt.DialTimeout
	if opt.TLS, err = access.Config(); err != nil || opt.Protocol == clickhouse.HTTP {
		return err
	}
	opt.DialContext = func(ctx context.Context, addr string) (net.Conn, error) {
		return access.Dial(ctx, "tcp", addr)
	}
	return nil
}
