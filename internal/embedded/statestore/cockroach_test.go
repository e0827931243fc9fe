package statestore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/statestore"
)

const cockroachVariable = "KEYSTONE_TEST_COCKROACH"

// TestHelperCockroach takes CockroachDB's command line and answers as it would
// to a login and to statements without results. The real one is used where
// COCKROACH_BINARY leads to it; this shows how it is run.
func TestHelperCockroach(t *testing.T) {
	args := os.Getenv(cockroachVariable)
	if args == "" {
		t.Skip("run by other tests")
	}
	_, address, _ := strings.Cut(args, "--listen-addr=")
	address, _, _ = strings.Cut(address, " ")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go serveCockroach(conn)
	}
}

func serveCockroach(conn net.Conn) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "crdb_version", Value: "CockroachDB CCL v25.2.0"})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		message, err := backend.Receive()
		if err != nil {
			return
		}
		if _, ok := message.(*pgproto3.Query); !ok {
			return
		}
		backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("CREATE DATABASE")})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// fakeCockroach is a program that runs TestHelperCockroach with its arguments,
// and writes them to the file.
func fakeCockroach(t *testing.T) (binary, argsFile string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := enginetest.Folder(t)
	binary, argsFile = filepath.Join(dir, "cockroach"), filepath.Join(dir, "args")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" > %s\n%s=\"$*\" exec %s -test.run='^TestHelperCockroach$'\n", argsFile, cockroachVariable, self)
	if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return binary, argsFile
}

func TestCockroachIsUsedWhereItIsFound(t *testing.T) {
	binary, argsFile := fakeCockroach(t)
	cfg := statestore.DefaultConfig()
	cfg.DataDir, cfg.CockroachBinary = filepath.Join(enginetest.Folder(t), "statestore"), binary
	server := start(t, cfg)
	if server.Kind() != statestore.Cockroach {
		t.Fatalf("kind is %s", server.Kind())
	}
	if dsn := server.DSN(); !strings.HasPrefix(dsn, "postgres://root@127.0.0.1:") || !strings.HasSuffix(dsn, "/keystone?sslmode=disable") {
		t.Errorf("address is %s", dsn)
	}
	args, err := os.ReadFile(argsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"start-single-node\n--insecure\n--listen-addr=127.0.0.1:", "--http-addr=127.0.0.1:", "--store=" + cfg.DataDir} {
		if !strings.Contains(string(args), want) {
			t.Errorf("arguments lack %q: %s", want, args)
		}
	}
	pid := server.Pid()
	stop(t, server)
	enginetest.WaitGone(t, pid)

	// The folder's data are CockroachDB's from now on.
	cfg.CockroachBinary = filepath.Join(cfg.DataDir, "absent")
	wantStartError(t, cfg, embedded.ErrNotInstalled, "absent")
	cfg.Kind = statestore.Postgres
	wantStartError(t, cfg, nil, "holds cockroach data")
}

func wantStartError(t *testing.T, cfg statestore.Config, target error, text string) {
	t.Helper()
	server, err := statestore.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	err = server.Start(testContext(t))
	if err == nil {
		_ = server.Stop(context.Background())
	}
	if err == nil || (target != nil && !errors.Is(err, target)) || !strings.Contains(err.Error(), text) {
		t.Errorf("start: %v, want %v with %q", err, target, text)
	}
}

func TestValidateListsEveryBrokenRule(t *testing.T) {
	err := statestore.Config{Kind: "mysql", Port: 70000}.Validate()
	if err == nil {
		t.Fatal("a broken configuration is valid")
	}
	for _, want := range []string{"data folder", `kind "mysql"`, "port 70000", "shared_buffers_mb", "max_wal_mb", "max_connections"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s", want)
		}
	}
}
