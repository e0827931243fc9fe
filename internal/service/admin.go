package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sort"
	"sync"
	"syscall"
	"time"

	"github.com/goccy/go-json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// probeTimeout bounds one readiness probe: an orchestrator asks every few seconds.
const probeTimeout = 2 * time.Second

// Admin is the listener for operators: /healthz, /readyz and /metrics. It is never exposed to the
// public.
type Admin struct {
	listen   string
	registry *prometheus.Registry
	listener net.Listener
	server   *http.Server
	done     chan struct{}

	mu     sync.Mutex
	checks map[string]func(context.Context) error
}

// NewAdmin makes a listener for addr ("127.0.0.1:0" takes a free port).
func NewAdmin(addr string, registry *prometheus.Registry) *Admin {
	return &Admin{listen: addr, registry: registry, checks: map[string]func(context.Context) error{}}
}

// Check adds a dependency to /readyz. An error makes it 503 with the dependency's name; the error's
// text is shown, so it must hold no secret.
func (a *Admin) Check(name string, ready func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = ready
}

// Start listens and serves.
func (a *Admin) Start(ctx context.Context) error {
	l, err := Listen(ctx, a.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	a.listener, a.done = l, make(chan struct{})
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	go func() {
		defer close(a.done)
		_ = a.server.Serve(l) // always ErrServerClosed or the listener's end
	}()
	return nil
}

// Addr is the address it listens on, after Start.
func (a *Admin) Addr() string { return a.listener.Addr().String() }

// Stop ends it after the requests under way.
func (a *Admin) Stop(ctx context.Context) error {
	if a.server == nil {
		return nil
	}
	err := a.server.Shutdown(ctx)
	<-a.done
	a.server = nil
	return err
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	type failure struct {
		Dependency string `json:"dependency"`
		Error      string `json:"error"`
	}
	a.mu.Lock()
	checks := maps.Clone(a.checks)
	a.mu.Unlock()
	// Each has its own time: one that hangs must not make the others look dead.
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	failed := []failure{}
	for name, check := range checks {
		wg.Go(func() {
			if err := check(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, failure{name, err.Error()})
			}
		})
	}
	wg.Wait()
	sort.Slice(failed, func(i, j int) bool { return failed[i].Dependency < failed[j].Dependency })
	if len(failed) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "unavailable", "failed": failed})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the prober has gone away: nobody to tell
}

// Listen listens on a TCP address, and says plainly when the port is taken.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: the port is in use by another program; choose another with its flag", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}
