package clickhouse_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// hostile are byte strings no client sends. Outside of interactive mode five of
// their kind killed the engine within 40 tries (ClickHouse issue 115666).
func hostile() map[string][]byte {
	random := rand.NewChaCha8([32]byte{1})
	noise := func(n int) []byte {
		b := make([]byte, n)
		_, _ = random.Read(b)
		return b
	}
	hello := []byte("\x00\x0bClickHouse client\x1a\x07\xb2\xa8\x03")
	return map[string][]byte{
		"nothing":               {},
		"noise":                 noise(4096),
		"one byte":              {0},
		"zeros":                 make([]byte, 4096),
		"ones":                  bytes.Repeat([]byte{0xff}, 4096),
		"no http":               []byte("BLAH\r\n\r\n"),
		"http without end":      []byte("GET / HTTP/1.1\r\nHost: x\r\nX-A: "),
		"http, absurd length":   []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx"),
		"http, broken chunks":   []byte("POST /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\nx\r\n"),
		"http, cut body":        []byte("POST /?query=INSERT+INTO+t+FORMAT+Native HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc"),
		"http, long header":     []byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"),
		"tls":                   append([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}, noise(500)...),
		"native, cut hello":     hello[:5],
		"native, hello + noise": append(bytes.Clone(hello), noise(2000)...),
		"native, absurd string": append([]byte{0x00}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"native, unknown":       {0x63, 0x63, 0x63, 0x63},
	}
}

func TestHostileBytesDoNotKillTheServer(t *testing.T) {
	const attackers, rounds = 8, 5
	server := start(t, enginetest.ClickHouseConfig(t, t.TempDir()))
	pid := server.Pid()
	native, err := url.Parse(server.NativeDSN())
	if err != nil {
		t.Fatal(err)
	}
	targets := []string{strings.TrimPrefix(server.HTTPURL(), "http://"), native.Host}
	patterns := hostile()

	var attack sync.WaitGroup
	for range attackers {
		attack.Go(func() {
			for range rounds {
				for name, pattern := range patterns {
					for _, target := range targets {
						if err := hit(target, pattern); err != nil {
							t.Errorf("%s on %s: %v", name, target, err)
							return
						}
					}
				}
			}
		})
	}
	attack.Wait()
	exec(t, open(t, server.NativeDSN()), "SELECT 1")
	if status, _ := post(t, server.HTTPURL(), server.User(), server.Password(), "SELECT 1"); status != 200 {
		t.Errorf("http answers %d", status)
	}
	if server.Pid() != pid || server.Restarts() != 0 {
		t.Errorf("the engine was restarted %d times", server.Restarts())
	}
	checkRunning(t, server)
}

func checkRunning(t *testing.T, server *clickhouse.Server) {
	t.Helper()
	select {
	case err := <-server.Failed():
		t.Error(err)
	default:
	}
}

// hit sends the pattern and hangs up, half of the times by a reset. Only a
// server that does not take the connection is an error.
func hit(target string, pattern []byte) error {
	conn, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(pattern); err != nil {
		return nil // the server hung up first
	}
	tcp := conn.(*net.TCPConn)
	if rand.IntN(2) == 0 {
		_ = tcp.SetLinger(0)
		return nil
	}
	_ = tcp.CloseWrite()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server keeps a closed connection")
	}
	return nil
}
