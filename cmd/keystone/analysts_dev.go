package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/keystone-cdp/keystone/analytics/access"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/secret"
)

// The engine of `keystone dev` is another process's child, and reads its users at its start. A command
// writes analysts.json, sends dev a SIGUSR1, and waits until dev.json says that the engine runs with
// that file.
const (
	analystsTimeout = time.Minute // the engine's end takes up to 17 s, its start up to 30 s
	analystsPoll    = 50 * time.Millisecond
)

// analystsSum names what analysts.json holds; empty where there is none.
func analystsSum(dataDir string) (string, error) {
	_, text, err := access.Read(dataDir)
	return sumOf(text), err
}

func sumOf(text []byte) string {
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// askDev makes a running dev take analysts.json over.
func askDev(ctx context.Context, dataDir string) error {
	want, err := analystsSum(dataDir)
	if err != nil {
		return err
	}
	info, err := readDevInfo(dataDir)
	if err != nil {
		return err
	}
	if err := syscall.Kill(info.Pid, syscall.SIGUSR1); err != nil {
		return fmt.Errorf("tell keystone dev (pid %d): %w", info.Pid, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, analystsTimeout,
		fmt.Errorf("keystone dev did not start ClickHouse again within %s; its log says why", analystsTimeout))
	defer cancel()
	tick := time.NewTicker(analystsPoll)
	defer tick.Stop()
	for {
		if info, err = readDevInfo(dataDir); err != nil {
			return err
		}
		if info.Analysts == want {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// followAnalysts takes analysts.json over whenever the process gets a SIGUSR1, until stop. A file that
// cannot be used is logged, and the engine goes on with the users it has.
func (c *devCmd) followAnalysts(a *app, signals <-chan os.Signal, server *clickhouse.Server) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			if err := c.takeAnalysts(a.ctx, server); err != nil {
				a.log.Error("cannot take the analysts over", "error", err)
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

func (c *devCmd) takeAnalysts(ctx context.Context, server *clickhouse.Server) error {
	analysts, text, err := access.Read(c.DataDir)
	if err != nil {
		return err
	}
	if err := server.SetUsers(ctx, analysts.Users(clickhouse.Database)); err != nil {
		return err
	}
	info, err := readDevInfo(c.DataDir)
	if err != nil {
		return err
	}
	info.Analysts = sumOf(text)
	return writeDevInfo(c.DataDir, info)
}

// refreshAnalysts lets the analysts read what migrations have added since.
func refreshAnalysts(ctx context.Context, dataDir string, server *clickhouse.Server) error {
	conn, err := query.Open(server.NativeDSN(), commandConns)
	if err != nil {
		return err
	}
	file := access.File{
		Dir:    dataDir,
		Tables: func(ctx context.Context) ([]access.Table, error) { return access.Tables(ctx, conn) },
		Apply: func(ctx context.Context) error {
			analysts, _, err := access.Read(dataDir)
			if err != nil {
				return err
			}
			return server.SetUsers(ctx, analysts.Users(clickhouse.Database))
		},
	}
	return errors.Join(file.Refresh(ctx), conn.Close())
}

func parseDSN(dsn string) (*url.URL, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		return nil, errors.New("the ClickHouse DSN must look like clickhouse://user:password@host:9000/keystone") // the cause may quote the password
	}
	return u, nil
}

// withLogin is a DSN with another user.
func withLogin(dsn, user, password string) (string, error) {
	u, err := parseDSN(dsn)
	if err != nil {
		return "", err
	}
	query := u.Query()
	query.Del(secret.ParamPassword) // it is another's
	u.User, u.RawQuery = url.UserPassword(user, password), query.Encode()
	return u.String(), nil
}
