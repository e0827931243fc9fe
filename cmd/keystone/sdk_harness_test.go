package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-json"
	"golang.org/x/sync/errgroup"
)

// sdkTimeout ends a driver that hangs. The longest back-off of an SDK is some twelve seconds, and the
// tests of other packages share the machine.
const sdkTimeout = 3 * time.Minute

// sdksDir is where the SDKs' drivers are, with the SDKs installed. They skip on a laptop without
// them and fail in CI, as the engines do.
func sdksDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("testdata", "sdks")
	missing(t, "the SDKs (make sdks)", fileError(filepath.Join(dir, "node_modules", ".package-lock.json")))
	_, err := exec.LookPath("node")
	missing(t, "node", err)
	return dir
}

// missing ends a test that lacks a program.
func missing(t *testing.T, what string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("CI") == "":
		t.Skipf("needs %s: %v", what, err)
	default:
		t.Fatalf("needs %s: %v", what, err)
	}
}

func fileError(path string) error {
	_, err := os.Stat(path)
	return err
}

// drive runs a driver and answers what it prints.
func drive(t *testing.T, script string, args ...string) ([]byte, error) {
	t.Helper()
	return driveWith(t, "", script, args...)
}

// driveWith gives it something to read.
func driveWith(t *testing.T, input, script string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sdkTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{script}, args...)...)
	cmd.Dir = sdksDir(t)
	cmd.WaitDelay = time.Second // a browser may hold the pipe
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil || errs.Len() > 0 {
		t.Logf("%s %v: %v\n%s", script, args, err, errs.String())
	}
	return out.Bytes(), err
}

// sideBySide is how many drives run at once. They are SDKs that wait before they try again, so it is more
// than there are cores, as -parallel would have it.
const sideBySide = 4

// drives runs what needs its own SDK each side by side, and tells whether all of it went well.
func drives[R interface{ name() string }](t *testing.T, runs []R, drive func(t *testing.T, i int, r R)) bool {
	t.Helper()
	return t.Run("drive", func(t *testing.T) {
		var group errgroup.Group
		group.SetLimit(sideBySide)
		for i, r := range runs {
			group.Go(func() error {
				t.Run(r.name(), func(t *testing.T) { drive(t, i, r) })
				return nil
			})
		}
		_ = group.Wait() // the tests have said what went wrong
	})
}

// seen is a request that came to a front, with its answer.
type seen struct {
	method, path   string
	header, answer http.Header
	status         int
}

// front stands before the edge as a load balancer does: it remembers what went through, and can be
// told to fail.
type front struct {
	*httptest.Server
	// fault says what to do with a POST, by how many there were before it.
	fault func(n int) fault

	mu     sync.Mutex
	posts  int
	visits int // pages that have asked for their settings
	log    []seen
}

// fault is a front's failure; the zero value is none.
type fault struct {
	status     int    // answered in place of the edge
	retryAfter string // with it
	lost       bool   // the edge has answered, and the connection breaks
	held       bool   // the edge has answered, and the first page is left before it hears of it
}

func newFront(t *testing.T, edgeURL string, decide func(n int) fault) *front {
	t.Helper()
	target, err := url.Parse(edgeURL)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{fault: decide}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // browsers cancel requests all the time
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(proxy, w, r) }))
	t.Cleanup(f.Close)
	return f
}

func (f *front) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	what := f.next(r.Method)
	if what.status != 0 {
		// An edge's own refusals can be read by the page.
		rec.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		rec.Header().Set("Access-Control-Expose-Headers", "Retry-After")
		if what.retryAfter != "" {
			rec.Header().Set("Retry-After", what.retryAfter)
		}
		rec.WriteHeader(what.status)
	} else {
		proxy.ServeHTTP(rec, r)
	}
	f.mu.Lock()
	f.log = append(f.log, seen{r.Method, r.URL.Path, r.Header.Clone(), rec.Header().Clone(), rec.Code})
	f.mu.Unlock()
	if what.held {
		<-r.Context().Done()
	}
	if what.lost || what.held {
		panic(http.ErrAbortHandler)
	}
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()) // a client that went away is not our business
}

// next is the fate of a request.
func (f *front) next(method string) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if method == http.MethodGet {
		f.visits++
	}
	if method != http.MethodPost || f.fault == nil {
		return fault{}
	}
	f.posts++
	what := f.fault(f.posts - 1)
	what.held = what.held && f.visits < 2
	return what
}

// requests are those of a method so far.
func (f *front) requests(method string) []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []seen
	for _, s := range f.log {
		if s.method == method {
			all = append(all, s)
		}
	}
	return all
}

// createKey makes a key of the demo tenant and answers its secret.
func (d *dev) createKey(t *testing.T, args ...string) string {
	t.Helper()
	var made struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(d.keystone(t, append([]string{"keys", "create", "--tenant", "demo"}, args...)...)), &made); err != nil {
		t.Fatal(err)
	}
	return made.Key
}
