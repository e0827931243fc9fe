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

func TestMain(m *testing.M) {
	code := enginetest.Main(m)
	if template.dir != "" {
		_ = os.RemoveAll(template.dir) // temporary
	}
	os.Exit(code)
}

// makeBuild is what `make build` does, word for word: after it, nothing is linked again.
var makeBuild = sync.OnceValues(func() (string, error) {
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", bin+"/", "./cmd/keystone", "./cmd/keystone-clickhouse")
	cmd.Dir, cmd.Env = filepath.Dir(bin), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Join(bin, "keystone"), nil
})

// binary builds keystone and its launcher once, and answers keystone's path.
func binary(t *testing.T) string {
	t.Helper()
	enginetest.EnginesDir(t)
	path, err := makeBuild()
	if err != nil {
		t.Fatal(err)
	}
	return path
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

// template is a data folder in which a dev was once. Its copies spare tests a first start: the state
// store's initialization and all migrations, 1.5 s of processor time.
var template struct {
	once sync.Once
	dir  string
}

// lived is a folder whose dev has run before and has taken nothing, for tests that are not about a first start.
func lived(t *testing.T) string {
	t.Helper()
	template.once.Do(func() {
		d := startDev(t, folder(t))
		d.stop(t)
		if err := os.Rename(d.dir, d.dir+"-template"); err != nil {
			t.Fatal(err)
		}
		template.dir = d.dir + "-template"
	})
	if template.dir == "" {
		t.Fatal("the first dev did not come up; see the test before")
	}
	dir := folder(t)
	if out, err := exec.Command("cp", "-a", template.dir+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// startTimeout is generous: the tests of other packages share the machine.
const startTimeout = 3 * time.Minute

// stopTimeout is beyond all deadlines that a stop has by itself.
const stopTimeout = 2 * time.Minute

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
	args = append([]string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	return launch(t, dir, command(binary(t), args...))
}

func launch(t *testing.T, dir string, cmd *exec.Cmd) *dev {
	t.Helper()
	d := &dev{bin: cmd.Path, dir: dir, cmd: cmd, log: new(lockedBuffer), done: make(chan struct{})}
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
	d.ready(t)
	return d
}

// ready waits until it has said where it is.
func (d *dev) ready(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(startTimeout)
	for {
		select {
		case <-d.done:
			t.Fatalf("dev ended: %v\n%s", d.err, d.log)
		case <-time.After(50 * time.Millisecond):
		}
		if info, err := readDevInfo(d.dir); err == nil && strings.Contains(d.log.String(), info.EdgeURL) {
			d.devInfo = *info
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("dev is not ready after %s:\n%s", startTimeout, d.log)
		}
	}
}

// stop ends it as Ctrl-C does, and wants exit status 0.
func (d *dev) stop(t *testing.T) {
	t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGINT) // gone already: said below
	select {
	case <-d.done:
	case <-time.After(stopTimeout):
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
	if a := d.cmd.SysProcAttr; a != nil && a.Setpgid {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL) // make's children
	}
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

// senders keep their connections: of those that are idle, the default client closes all but two.
var senders = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crashClients}}

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
	resp, err := senders.Do(req)
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
