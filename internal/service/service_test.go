package service

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type part struct {
	name string
	log  *[]string
	err  error
}

func (p part) Start(context.Context) error { *p.log = append(*p.log, "+"+p.name); return p.err }
func (p part) Stop(context.Context) error  { *p.log = append(*p.log, "-"+p.name); return nil }

func TestGroupStopsInReverse(t *testing.T) {
	var log []string
	g := NewGroup(slog.New(slog.DiscardHandler))
	for _, name := range []string{"a", "b"} {
		if err := g.Start(t.Context(), name, part{name, &log, nil}, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	if err := g.Start(t.Context(), "c", part{"c", &log, boom}, time.Second); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(g.Stop(), g.Stop()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(log, " "); got != "+a +b +c -c -b -a" {
		t.Errorf("got %s", got)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdminNamesTheFailingDependency(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "keystone_test_total", Help: "x"}))
	a := NewAdmin("127.0.0.1:0", registry)
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	url := "http://" + a.Addr()
	for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ok"`, "/metrics": "keystone_test_total 0"} {
		if status, body := get(t, url+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	a.Check("log", func(context.Context) error { return nil })
	a.Check("state store", func(context.Context) error { return errors.New("connection refused") })
	if status, body := get(t, url+"/readyz"); status != 503 || !strings.Contains(body, `"dependency":"state store"`) || strings.Contains(body, `"log"`) {
		t.Errorf("%d %s", status, body)
	}
	// One that hangs does not take the others' time.
	a.Check("state store", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	a.Check("clickhouse", func(ctx context.Context) error { return ctx.Err() })
	if status, body := get(t, url+"/readyz"); status != 503 || !strings.Contains(body, "state store") || strings.Contains(body, "clickhouse") {
		t.Errorf("a hanging check: %d %s", status, body)
	}
	other := NewAdmin(a.Addr(), registry)
	if err := other.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("busy port: %v", err)
	}
}

func TestLoggerRefusesNonsense(t *testing.T) {
	for _, c := range [][2]string{{"xml", "info"}, {"json", "loud"}} {
		if _, err := NewLogger(io.Discard, c[0], c[1]); err == nil {
			t.Errorf("%v accepted", c)
		}
	}
}
