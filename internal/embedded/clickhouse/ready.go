package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	chgo "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const probeTimeout = 5 * time.Second

// waitReady returns once the engine has written its ports, both are answered
// under this start's display name to our user, and the database exists.
func (s *Server) waitReady(ctx context.Context, child *embedded.Child, output *embedded.Tail, displayName string) error {
	started := time.Now()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := s.startError(child, output)
		if err != nil {
			return err
		}
		p, err := readPorts(s.cfg.path(portsFile))
		if err == nil {
			if err = s.probe(ctx, p, displayName); err == nil {
				s.mu.Lock()
				s.httpPort, s.tcpPort, s.pid = p.http, p.tcp, child.Pid()
				s.mu.Unlock()
				s.log.Info("clickhouse ready", "http_port", p.http, "tcp_port", p.tcp,
					"pid", child.Pid(), "took_ms", time.Since(started).Milliseconds())
				return nil
			}
		} else if errors.Is(err, os.ErrNotExist) {
			err = errors.New("the ports are not open")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w: %s", context.Cause(ctx), err, output)
		case <-child.Done():
		case <-tick.C:
		}
	}
}

// probe logs in on both ports and compares the server's name.
func (s *Server) probe(ctx context.Context, p ports, displayName string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := s.probeHTTP(ctx, p.http, displayName); err != nil {
		return fmt.Errorf("probe http port %d: %w", p.http, err)
	}
	if err := s.probeNative(ctx, p.tcp, displayName); err != nil {
		return fmt.Errorf("probe tcp port %d: %w", p.tcp, err)
	}
	return nil
}

var errOtherServer = errors.New("another server answers")

func (s *Server) probeHTTP(ctx context.Context, port int, displayName string) error {
	address := "http://127.0.0.1:" + strconv.Itoa(port) + "/"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("SELECT 1"))
	if err != nil {
		return err
	}
	req.Header.Set("X-ClickHouse-User", userName)
	req.Header.Set("X-ClickHouse-Key", s.Password())
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.Header.Get("X-ClickHouse-Server-Display-Name") != displayName {
		return errOtherServer
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("login refused: %s", resp.Status)
	}
	return nil
}

// probeNative also creates the database, so that NativeDSN opens.
func (s *Server) probeNative(ctx context.Context, port int, displayName string) error {
	conn, err := chgo.Open(&chgo.Options{
		Addr:         []string{"127.0.0.1:" + strconv.Itoa(port)},
		Auth:         chgo.Auth{Username: userName, Password: s.Password()},
		MaxOpenConns: 1,
		MaxIdleConns: 1,
		DialTimeout:  probeTimeout,
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	version, err := conn.ServerVersion()
	if err != nil {
		return err
	}
	if version.DisplayName != displayName {
		return errOtherServer
	}
	return conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+Database)
}
