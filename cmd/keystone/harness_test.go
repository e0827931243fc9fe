package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// These tests drive the real binary as a user would: `keystone dev` in a process of its own, HTTP in,
// the command line and ClickHouse out.

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := enginetest.Main(m)
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a temporary folder
	}
	os.Exit(code)
}

// binary builds keystone and its launcher once, and answers keystone's path.
func binary(t *testing.T) string {
	t.Helper()
	enginetest.EnginesDir(t)
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "keystone-bin-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir, ".", "../keystone-clickhouse")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "keystone")
}

// dev is a running `keystone dev`.
type dev struct {
	devInfo
	bin, dir string
	cmd      *exec.Cmd
	log      *lockedBuffer
	done     chan struct{}
	err      error // after done
}

// folder is a data folder of the test that the state store's account can enter: in one of
// t.TempDir, root's stores would move to a place that outlives the test.
func folder(t *testing.T) string { return enginetest.Folder(t) }

// startTimeout is generous: the tests of other packages share the machine.
const startTimeout = 90 * time.Second

func command(bin string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KEYSTONE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	engines, _ := embedded.EnginesDir(os.Getenv("KEYSTONE_ENGINES_DIR")) // binary has seen to it
	cmd.Env = append(cmd.Env, "KEYSTONE_ENGINES_DIR="+engines)
	return cmd
}

// launchDev starts a dev and does not wait for it.
func launchDev(t *testing.T, dir string, args ...string) *dev {
	t.Helper()
	bin := binary(t)
	args = append([]string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	d := &dev{bin: bin, dir: dir, cmd: command(bin, args...), log: new(lockedBuffer), done: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { d.err = d.cmd.Wait(); close(d.done) }()
	t.Cleanup(func() { d.kill(t) })
	return d
}

func startDev(t *testing.T, dir string, args ...string) *dev {
	t.Helper()
	d := launchDev(t, dir, args...)
	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case <-d.done:
			t.Fatalf("dev ended: %v\n%s", d.err, d.log)
		case <-time.After(50 * time.Millisecond):
		}
		if info, err := readDevInfo(dir); err == nil && strings.Contains(d.log.String(), info.EdgeURL) {
			d.devInfo = *info
			return d
		}
		if time.Now().After(deadline) {
			t.Fatalf("dev is not ready after %s:\n%s", startTimeout, d.log)
		}
	}
}

// stop ends it as Ctrl-C does, and wants exit status 0 in seconds.
func (d *dev) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGINT) // gone already: said below
	select {
	case <-d.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("dev does not stop:\n%s", d.log)
	}
	if d.err != nil {
		t.Fatalf("dev ended with %v:\n%s", d.err, d.log)
	}
}

// kill is kill -9. Its children follow by themselves, or the test fails.
func (d *dev) kill(t *testing.T) {
	t.Helper()
	children := childrenOf(t, d.cmd.Process.Pid)
	_ = d.cmd.Process.Kill() // gone already is fine
	<-d.done
	enginetest.WaitGone(t, children...)
}

// keystone runs a command of the binary on d's folder and answers its output.
func (d *dev) keystone(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.try(args...)
	if err != nil {
		t.Fatalf("keystone %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (d *dev) try(args ...string) (string, error) {
	cmd := command(d.bin, append(args, "--data-dir", d.dir)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s%s", err, errs.String(), out.String())
	}
	return out.String(), nil
}

// settle waits until processor and sink have nothing left to do.
func (d *dev) settle(t *testing.T) {
	t.Helper()
	if _, err := d.try("lag", "--wait", "120s"); err != nil {
		t.Fatalf("does not settle: %v\n%s", err, d.log)
	}
}

// export reads one kind of rows of the demo tenant.
func (d *dev) export(t *testing.T, what string, args ...string) []map[string]any {
	t.Helper()
	var rows []map[string]any
	lines := bufio.NewScanner(strings.NewReader(d.keystone(t, append([]string{"export", what, "--tenant", d.Tenant}, args...)...)))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		rows = append(rows, decode(t, lines.Text()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// decode reads a JSON object; its numbers keep their text.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	row := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&row); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return row
}

// sql asks ClickHouse over HTTP, as an analyst does, and answers tab-separated lines.
func (d *dev) sql(t *testing.T, query string) []string {
	t.Helper()
	u, err := url.Parse(d.ClickHouseURL)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	req.SetBasicAuth(u.User.Username(), password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v %s", query, resp.StatusCode, err, body)
	}
	text := strings.TrimRight(string(body), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// answer is an HTTP answer of the edge.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// post sends a body to the edge.
func (d *dev) post(ctx context.Context, path, key, contentType string, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.EdgeURL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-API-Key", key)
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(text, &a.body); err != nil {
		return nil, fmt.Errorf("%w: %q", err, text)
	}
	return a, nil
}

// ingest sends events one by one and wants each taken.
func (d *dev) ingest(t *testing.T, events ...string) {
	t.Helper()
	for _, e := range events {
		a, err := d.post(t.Context(), "/ingest", d.TrackerKey, "application/json", []byte(e))
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusOK || a.body["status"] != "ok" {
			t.Fatalf("%s: %d %v", e, a.status, a.body)
		}
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
