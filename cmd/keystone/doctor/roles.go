package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/goccy/go-json"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keystone-cdp/keystone/internal/control"
)

// checkRoles asks the roles' admin listeners.
func (d *Doctor) checkRoles(ctx context.Context) {
	for _, admin := range d.cfg.AdminURLs {
		admin = strings.TrimSuffix(admin, "/")
		before := time.Now()
		status, header, body, err := get(ctx, admin+"/readyz")
		if err != nil {
			d.report.add("roles", Stops, "start the role, or mend --admin", "%s: no answer: %v", admin, err)
			continue
		}
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			d.clock(admin, before, time.Now(), date, date.Add(time.Second)) // whole seconds
		}
		d.readiness(admin, status, body)
		d.checkMetrics(ctx, admin)
	}
}

func (d *Doctor) readiness(admin string, status int, body []byte) {
	if status == http.StatusOK {
		d.report.ok("roles", "%s: ready", admin)
		return
	}
	var answer struct {
		Failed []struct{ Dependency, Error string }
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Failed) == 0 {
		d.report.add("roles", Stops, "check that this is a role's admin listener", "%s/readyz: status %d", admin, status)
		return
	}
	for _, f := range answer.Failed {
		d.report.add("roles", Stops, "see what the other findings say of its servers, and the role's log", "%s: the %s is not ready: %s", admin, f.Dependency, f.Error)
	}
}

func (d *Doctor) checkMetrics(ctx context.Context, admin string) {
	families, err := metricsOf(ctx, admin)
	if err != nil {
		d.report.add("roles", Warning, "check that this is a role's admin listener", "%v", err)
		return
	}
	each(families, "keystone_build_info", func(labels map[string]string, _ float64) {
		if v := labels["version"]; v != d.cfg.Version {
			d.report.add("versions", Warning, "finish the roll-out, or look with the same build", "%s runs %s, this is %s", admin, v, d.cfg.Version)
			return
		}
		d.report.ok("versions", "%s runs this build, %s", admin, d.cfg.Version)
	})
	each(families, "keystone_produce_spooling", func(labels map[string]string, value float64) {
		if value > 0 {
			d.report.add("roles", Stops, "see what the other findings say of the log; it drains by itself", "%s: the edge spools instead of writing to %s", admin, labels["topic"])
		}
	})
	sizes := map[string]float64{}
	each(families, "keystone_spool_size_bytes", func(labels map[string]string, value float64) { sizes[labels["spool"]] = value })
	each(families, "keystone_spool_limit_bytes", func(labels map[string]string, value float64) {
		if value > 0 && sizes[labels["spool"]] > value/2 {
			d.report.add("roles", Warning, "bring the log back before it is full: then the edge answers 503", "%s: the spool of the lane %s is more than half full", admin, labels["spool"])
		}
	})
}

// Spooled is how many records wait for the log on the disk of the edge with this admin listener.
func Spooled(ctx context.Context, admin string) (n int64, err error) {
	families, err := metricsOf(ctx, strings.TrimSuffix(admin, "/"))
	each(families, "keystone_spool_pending_records", func(_ map[string]string, value float64) { n += int64(value) })
	return n, err
}

func metricsOf(ctx context.Context, admin string) (map[string]*dto.MetricFamily, error) {
	status, _, body, err := get(ctx, admin+"/metrics")
	if err != nil {
		return nil, fmt.Errorf("%s/metrics: %w", admin, err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("%s/metrics: status %d", admin, status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s/metrics cannot be read: %w", admin, err)
	}
	return families, nil
}

// each visits the samples of a gauge.
func each(families map[string]*dto.MetricFamily, name string, visit func(labels map[string]string, value float64)) {
	for _, m := range families[name].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		visit(labels, m.GetGauge().GetValue())
	}
}

// checkEdge asks for what needs no key. That events are taken is the probe's finding.
func (d *Doctor) checkEdge(ctx context.Context) {
	if d.cfg.EdgeURL == "" {
		return
	}
	status, _, _, err := get(ctx, d.cfg.EdgeURL+"/v1/js/tracker.js")
	switch {
	case err != nil:
		d.report.add("edge", Stops, "start keystone edge, or mend --edge: senders get no answer, and keep or lose their events as they are built to", "%s: no answer: %v", d.cfg.EdgeURL, err)
	case status != http.StatusOK:
		d.report.add("edge", Stops, "check that --edge is the edge's address, and the proxies before it", "%s: the tracker is answered with status %d", d.cfg.EdgeURL, status)
	default:
		d.report.ok("edge", "%s: answers", d.cfg.EdgeURL)
	}
}

// checkKeys asks the store and the edge for API keys that should work, without sending an event.
func (d *Doctor) checkKeys(ctx context.Context) {
	for _, secret := range d.cfg.Keys {
		name := maskKey(secret)
		if d.pool != nil && !d.broken(checkNameStore, "migrations") {
			key, err := control.New(d.pool).LookupKey(ctx, control.Hash([]byte(secret)))
			switch {
			case errors.Is(err, control.ErrUnknownKey):
				d.report.add("keys", Stops, "keystone keys list tells whether it was revoked; give the sender a new one: keystone keys create", "%s is unknown or revoked: its events are answered with 401", name)
				continue
			case err != nil:
				d.report.add("keys", Skipped, "", "%s: %v", name, redact(err))
				continue
			}
			name = key.KeyID
		}
		if d.cfg.EdgeURL == "" || d.broken("edge") {
			d.report.ok("keys", "%s is known", name)
			continue
		}
		// What a browser's SDK asks before it starts: it needs a key that may send, and sends nothing.
		status, _, _, err := get(ctx, d.cfg.EdgeURL+"/v1/projects/"+url.PathEscape(secret)+"/settings")
		switch {
		case err != nil:
			d.report.add("keys", Skipped, "", "%s: the edge does not answer: %v", name, err)
		case status == http.StatusUnauthorized:
			d.report.add("keys", Stops, "look whether the edge has the state store that --store-dsn names; after a change it follows within 10 seconds", "%s: the edge does not know it", name)
		default:
			d.report.ok("keys", "%s is known, to the edge too", name)
		}
	}
}

// maskKey shows as much of a key as tells which it is.
func maskKey(secret string) string {
	if len(secret) < 14 {
		return "a key of " + fmt.Sprint(len(secret)) + " bytes"
	}
	return secret[:10] + "…"
}

// get asks once. Its errors name no path: a key may be in it.
func get(ctx context.Context, address string) (status int, header http.Header, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, nil, errors.New("not an address like http://host:port")
	}
	return do(request)
}

func do(request *http.Request) (status int, header http.Header, body []byte, err error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return response.StatusCode, response.Header, body, err
}
