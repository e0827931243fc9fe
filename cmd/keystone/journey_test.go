package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// find is the one row whose field has the value.
func find(t *testing.T, rows []map[string]any, field, value string) map[string]any {
	t.Helper()
	var found []map[string]any
	for _, r := range rows {
		if fmt.Sprint(r[field]) == value {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows with %s = %s in %v", len(found), field, value, rows)
	}
	return found[0]
}

func want(t *testing.T, row map[string]any, fields map[string]string) {
	t.Helper()
	for field, value := range fields {
		if got := fmt.Sprint(row[field]); got != value {
			t.Errorf("%s is %s, want %s in %v", field, got, value, row)
		}
	}
}

// TestJourney walks one visitor through every room: anonymous browsing, a login that collapses the
// shadow, a batch of history, an order; then reads it back everywhere.
func TestJourney(t *testing.T) {
	d := startDev(t, folder(t))
	tenant := uuid.MustParse(d.Tenant)
	device := event.NodeID(tenant, event.KindAnonymous, "dev-ann")
	ann := event.NodeID(tenant, event.KindEmail, "ann@example.com")

	resolved := func() []string {
		return d.sql(t, "SELECT message_id, profile_id FROM events_resolved ORDER BY message_id")
	}

	d.ingest(t,
		`{"message_id":"m1","anonymous_id":"dev-ann","event_type":"page","event_name":"Home","context":{"page":{"url":"https://shop.example/?utm_source=news&utm_campaign=fall","referrer":"https://search.example/q"}}}`,
		`{"message_id":"m2","anonymous_id":"dev-ann","event_type":"page","event_name":"Shoes","context":{"page":{"url":"https://shop.example/shoes"}}}`,
		`{"message_id":"m3","anonymous_id":"dev-ann","event_type":"track","event_name":"Product Added","payload":{"product_id":"P-1","price":100.00,"quantity":1}}`)
	d.settle(t)
	if got, exp := resolved(), []string{"m1\t" + device.String(), "m2\t" + device.String(), "m3\t" + device.String()}; !slices.Equal(got, exp) {
		t.Errorf("before the collapse: %v", got)
	}
	shadow := find(t, d.export(t, "profiles"), "profile_id", device.String())
	want(t, shadow, map[string]string{"kind": "shadow", "event_count": "3", "page_count": "2", "track_count": "1"})

	d.ingest(t,
		`{"message_id":"m4","anonymous_id":"dev-ann","identity":"Ann@Example.com","event_type":"identify","payload":{"name":"Ann","city":"Chicago","tags":"new"}}`,
		`{"message_id":"m4","anonymous_id":"dev-ann","identity":"Ann@Example.com","event_type":"identify","payload":{"name":"Ann","city":"Chicago","tags":"new"}}`, // sent twice
		`{"message_id":"m5","anonymous_id":"dev-ann","event_type":"identify","identity":"ann@example.com","payload":{"city":"Miami","tags":["new","vip"]}}`,
		`{"message_id":"m6","anonymous_id":"dev-ann","event_type":"track","event_name":"Order Completed","payload":{"order_id":1001,"currency":"USD","revenue":"219.98","products":[{"product_id":"P-1","quantity":2,"price":100.00},{"sku":"P-2","quantity":1,"price":19.98}]}}`)

	d.settle(t) // live and backfill lanes have no common order

	history := `{"events":[
		{"message_id":"h1","identity":{"email":"ann@example.com","crm_id":12345678901234567890},"event_type":"identify","timestamp":"2020-05-01T00:00:00Z","payload":{"city":"Berlin","birthday":"1990-01-01"}},
		{"message_id":"h2","identity":"ann@example.com","event_type":"track","event_name":"Order Completed","timestamp":"2020-05-02T00:00:00Z","payload":{"order_id":"OLD-1","total":9007199254740993,"currency":"USD","line_items":[{"id":"P-9","quantity":1,"price":"5.00"}]}},
		{"message_id":"bad","event_type":"track","event_name":"nobody","payload":{}},
		{"message_id":"h3","anonymous_id":"dev-bob","event_type":"page","timestamp":"2020-05-03T00:00:00Z"}]}`
	a, err := d.post(t.Context(), "/tenant/ingest/batch", d.IntegrationKey, "application/json", []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	if a.status != http.StatusAccepted || fmt.Sprint(a.body["accepted"]) != "3" || len(a.body["rejected"].([]any)) != 1 {
		t.Fatalf("batch: %d %v", a.status, a.body)
	}
	rejected := a.body["rejected"].([]any)[0].(map[string]any)
	want(t, rejected, map[string]string{"index": "2", "code": "invalid_event"})
	d.settle(t)

	job := getJSON(t, d, "/tenant/ingest/batch/"+a.body["job_id"].(string))
	want(t, job, map[string]string{"status": "done", "accepted": "3", "processed": "3", "failed": "0"})

	profiles := d.export(t, "profiles")
	want(t, find(t, profiles, "profile_id", device.String()), map[string]string{"merged_into": ann.String()})
	person := find(t, profiles, "profile_id", ann.String())
	want(t, person, map[string]string{
		"kind": "anchor", "event_count": "8", "page_count": "2", "track_count": "3", "identify_count": "3",
		"attributes": "map[birthday:1990-01-01 city:Miami name:Ann tags:[new vip]]",
	})
	var ids []string
	for _, id := range person["identifiers"].([]any) {
		id := id.(map[string]any)
		ids = append(ids, fmt.Sprint(id["kind"], "=", id["value"]))
	}
	slices.Sort(ids)
	if got := strings.Join(ids, " "); got != "anonymous=dev-ann crm_id=12345678901234567890 email=ann@example.com" {
		t.Errorf("identifiers: %s", got)
	}

	merges := d.export(t, "merges")
	if len(merges) != 1 {
		t.Fatalf("merges: %v", merges)
	}
	want(t, merges[0], map[string]string{"winner_id": ann.String(), "loser_id": device.String(), "cause": "m4", "kind": "collapse"})

	var cities []string
	for _, row := range d.export(t, "lineage") {
		if row["path"] == "/city" {
			cities = append(cities, fmt.Sprint(row["op"], ":", row["old"], "→", row["new"], " by ", row["cause"]))
		}
	}
	if got := strings.Join(cities, "; "); got != "add:<nil>→Chicago by m4; update:Chicago→Miami by m5" {
		t.Errorf("lineage of /city: %s", got)
	}

	orders := d.export(t, "orders")
	want(t, find(t, orders, "order_id", "1001"), map[string]string{"status": "completed", "total": "219.98", "currency": "USD", "profile_id": ann.String()})
	want(t, find(t, orders, "order_id", "OLD-1"), map[string]string{"total": "9007199254740993", "profile_id": ann.String()})
	products := d.export(t, "products")
	for _, id := range []string{"P-1", "P-2", "P-9"} {
		want(t, find(t, products, "product_id", id), map[string]string{"skeleton": "true"})
	}

	// The anonymous page views are the person's now, and so is the history.
	var exp []string
	for _, m := range []string{"h1", "h2", "h3", "m1", "m2", "m3", "m4", "m5", "m6"} {
		id := ann
		if m == "h3" {
			id = event.NodeID(tenant, event.KindAnonymous, "dev-bob")
		}
		exp = append(exp, m+"\t"+id.String())
	}
	if got := resolved(); !slices.Equal(got, exp) {
		t.Errorf("after the collapse: %v", got)
	}
	if got := d.sql(t, "SELECT event_name, host, utm_source, utm_campaign, referring_domain FROM events WHERE message_id = 'm1'"); !slices.Equal(got, []string{"Home\tshop.example\tnews\tfall\tsearch.example"}) {
		t.Errorf("columns of m1: %q", got)
	}
	for query, exp := range map[string]string{
		"SELECT count() FROM events": "9",
		"SELECT status, toString(total) FROM orders FINAL WHERE order_id = '1001'": "completed\t219.98",
		"SELECT count() FROM products FINAL":                                       "3",
		"SELECT count() FROM profile_merges":                                       "1",
		"SELECT arrayStringConcat(groupArray(op), ',') FROM (SELECT op FROM attribute_changes WHERE path = '/city' ORDER BY version)": "add,update",
		"SELECT kind, event_count FROM profiles FINAL WHERE profile_id = '" + ann.String() + "'":                                      "anchor\t8",
		"SELECT count() FROM profiles FINAL WHERE profile_id = '" + device.String() + "'":                                             "0",
		"SELECT uniqExact(profile_id) FROM identity_map FINAL WHERE node = '" + device.String() + "'":                                 "1",
	} {
		if got := strings.Join(d.sql(t, query), "|"); got != exp {
			t.Errorf("%s: got %q, want %q", query, got, exp)
		}
	}
	d.stop(t)

	// Data survive a restart, and so do the keys.
	again := startDev(t, d.dir)
	if again.TrackerKey != d.TrackerKey || again.Tenant != d.Tenant {
		t.Error("the restart made new keys")
	}
	again.ingest(t, `{"message_id":"m7","anonymous_id":"dev-ann","event_type":"page"}`)
	again.settle(t)
	want(t, find(t, again.export(t, "profiles"), "profile_id", ann.String()), map[string]string{"event_count": "9"})
	if got := again.sql(t, "SELECT count() FROM events_resolved WHERE profile_id = '"+ann.String()+"'"); !slices.Equal(got, []string{"9"}) {
		t.Errorf("events of the person after the restart: %v", got)
	}
	again.stop(t)
}

// TestSharedDevice is acceptance case 13 and 14, as analysts see it: one device, two people, three
// spans of time.
func TestSharedDevice(t *testing.T) {
	d := startDev(t, lived(t))
	d.ingest(t,
		`{"message_id":"1","anonymous_id":"pad","event_type":"page"}`,
		`{"message_id":"2","anonymous_id":"pad","identity":"ann@example.com","event_type":"identify"}`,
		`{"message_id":"3","anonymous_id":"pad","event_type":"page"}`,
		`{"message_id":"4","anonymous_id":"pad","identity":"bob@example.com","event_type":"identify"}`,
		`{"message_id":"5","anonymous_id":"pad","event_type":"page"}`,
		`{"message_id":"6","anonymous_id":"pad","identity":"ann@example.com","event_type":"identify"}`,
		`{"message_id":"7","anonymous_id":"pad","event_type":"page"}`)
	d.settle(t)
	tenant := uuid.MustParse(d.Tenant)
	ann, bob := event.NodeID(tenant, "email", "ann@example.com").String(), event.NodeID(tenant, "email", "bob@example.com").String()
	got := d.sql(t, "SELECT profile_id, arrayStringConcat(arraySort(groupArray(message_id)), '') FROM events_resolved GROUP BY 1 ORDER BY 2")
	if exp := []string{ann + "\t12367", bob + "\t45"}; !slices.Equal(got, exp) {
		t.Errorf("got %v", got)
	}
	profiles := d.export(t, "profiles")
	want(t, find(t, profiles, "profile_id", ann), map[string]string{"event_count": "5"})
	want(t, find(t, profiles, "profile_id", bob), map[string]string{"event_count": "2"})
}

// TestSegmentDialect sends what an unchanged Segment SDK sends.
func TestSegmentDialect(t *testing.T) {
	d := startDev(t, lived(t))
	body := `{"batch":[
		{"type":"page","messageId":"s1","anonymousId":"web-1","name":"Home","properties":{"url":"https://shop.example/"},"timestamp":"2026-11-01T00:00:00Z"},
		{"type":"identify","messageId":"s2","anonymousId":"web-1","userId":"u-7","traits":{"email":"eve@example.com","plan":"pro"}},
		{"type":"track","messageId":"s3","userId":"u-7","event":"Order Completed","properties":{"order_id":"S-1","revenue":10.50,"currency":"EUR","products":[{"product_id":"X"}]}}
	],"sentAt":"2026-11-01T00:00:01Z"}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.EdgeURL+"/v1/batch", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(d.TrackerKey+":")))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	d.settle(t)
	person := find(t, d.export(t, "profiles"), "event_count", "3")
	want(t, person, map[string]string{"kind": "anchor", "attributes": "map[email:eve@example.com plan:pro]"})
	want(t, d.export(t, "orders")[0], map[string]string{"order_id": "S-1", "status": "completed", "total": "10.50", "currency": "EUR"})
}

// A second dev on the folder says so; a busy port is a clear error; no child outlives its parent.
// Ctrl-C while it starts is no failure.
func TestDevInterruptedWhileItStarts(t *testing.T) {
	d := launchDev(t, folder(t))
	for !strings.Contains(d.log.String(), "broker ready") { // the slow servers come after it
		select {
		case <-d.done:
			t.Fatalf("it ended: %v\n%s", d.err, d.log)
		case <-time.After(time.Millisecond):
		}
	}
	children := childrenOf(t, d.cmd.Process.Pid)
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-d.done
	enginetest.WaitGone(t, children...)
	if said := d.log.String(); d.err != nil || !strings.Contains(said, "stopping, before it was up") || strings.Contains(said, "keystone: ") {
		t.Errorf("%v: %s", d.err, said)
	}
}

func TestDevLife(t *testing.T) {
	dir := folder(t)
	d := startDev(t, dir)

	second := launchDev(t, dir)
	<-second.done
	if second.err == nil || !strings.Contains(second.log.String(), "in use") {
		t.Errorf("second dev on the folder: %v %s", second.err, second.log)
	}
	d.ingest(t, `{"anonymous_id":"still-alive","event_type":"page"}`)

	listen := strings.TrimPrefix(d.EdgeURL, "http://")
	busy := launchDev(t, folder(t), "--listen", listen)
	<-busy.done
	if busy.err == nil || !strings.Contains(busy.log.String(), listen) || !strings.Contains(busy.log.String(), "in use") {
		t.Errorf("busy port: %v %s", busy.err, busy.log)
	}

	children := childrenOf(t, d.cmd.Process.Pid)
	if len(children) < 2 {
		t.Fatalf("children: %v", children)
	}
	const many = 5000
	var history strings.Builder
	for i := range many {
		fmt.Fprintf(&history, `{"message_id":"h%d","anonymous_id":"still-alive","event_type":"page"}`+"\n", i)
	}
	batch, err := d.post(t.Context(), "/tenant/ingest/batch", d.IntegrationKey, "application/x-ndjson", []byte(history.String()))
	if err != nil || batch.status != http.StatusAccepted {
		t.Fatalf("batch: %v %v", batch, err)
	}
	progress := "/tenant/ingest/batch/" + batch.body["job_id"].(string)
	for getJSON(t, d, progress)["processed"] == 0.0 { // until the store has begun to count
		time.Sleep(10 * time.Millisecond)
	}
	d.kill(t)

	start := time.Now()
	again := startDev(t, dir)
	t.Logf("restart after kill -9 took %s", time.Since(start))
	again.settle(t)
	if rows := again.export(t, "profiles"); len(rows) != 1 {
		t.Errorf("profiles after kill -9: %v", rows)
	}
	job := getJSON(t, again, progress)
	want(t, job, map[string]string{"status": "done", "accepted": fmt.Sprint(many), "processed": fmt.Sprint(many), "failed": "0"})
	children = childrenOf(t, again.cmd.Process.Pid)
	again.stop(t)
	enginetest.WaitGone(t, children...)
	if _, err := readDevInfo(dir); err == nil {
		t.Error("dev.json outlived its dev")
	}
}
