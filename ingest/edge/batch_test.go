package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/keystone-cdp/keystone/internal/event"
)

func ev(id string) string {
	return `{"message_id":"` + id + `","anonymous_id":"a","event_type":"page"}`
}

func compress(t *testing.T, encoding, text string) string {
	t.Helper()
	var out bytes.Buffer
	switch encoding {
	case "gzip":
		return string(zip(t, text))
	case "zstd":
		w, err := zstd.NewWriter(&out)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte(text))
		_ = w.Close()
	case "br":
		w := brotli.NewWriter(&out)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
	default:
		return text
	}
	return out.String()
}

func TestBatchForms(t *testing.T) {
	r := newRig(t, options{})
	n := 0
	for _, form := range []struct{ media, body string }{
		{"application/json", `{"events":[%s,%s]}`}, {"application/json", " [ %s , %s ] "}, {"application/json", `{"other":{"a":[1]},"events":[%s,%s],"z":null}`},
		{"application/x-ndjson", "%s\n%s"}, {"application/x-ndjson; charset=utf-8", "\n%s\r\n\r\n%s\n"}, {"application/jsonl", "%s\n%s\n"},
		{"", `{"events":[%s,%s]}`}, {"", "%s\n%s\n"}, {"application/x-www-form-urlencoded", "%s\n%s\n"}, {"application/x-www-form-urlencoded", "[%s,%s]"},
	} {
		for _, encoding := range []string{"", "gzip", "zstd", "br"} {
			body := compress(t, encoding, fmt.Sprintf(form.body, ev(fmt.Sprint("m", n)), ev(fmt.Sprint("m", n+1))))
			headers := []string{"X-API-Key", integrationKey, "Content-Encoding", encoding}
			if form.media != "" {
				headers = append(headers, "Content-Type", form.media)
			}
			a := r.do("POST", "/tenant/ingest/batch", []byte(body), headers...)
			if a.status != 202 {
				t.Fatalf("%s %s: %d %s", form.media, encoding, a.status, a.body)
			}
			got := a.json(t)
			if got["status"] != "enqueued" || got["accepted"] != 2.0 || len(got["rejected"].([]any)) != 0 {
				t.Errorf("%s %s: %s", form.media, encoding, a.body)
			}
			n += 2
		}
	}
	for i, rec := range r.records(event.TopicBackfill, n) { // one device: in order, batch after batch
		if got := rec.messageID(); got != fmt.Sprint("m", i) {
			t.Fatalf("record %d is %s", i, got)
		}
		if rec.meta.JobID == "" || rec.meta.IP != "" {
			t.Errorf("%+v", rec.meta)
		}
	}
	r.conserved()
}

func TestCase_62_bad_events_in_a_batch(t *testing.T) {
	r := newRig(t, options{})
	items := []string{
		ev("good-0"),
		`{"anonymous_id":"a","event_type":"nothing"}`,
		`{broken}`,
		`{"anonymous_id":"a","event_type":"page","payload":{"x":"` + strings.Repeat("x", 900<<10) + `"}}`,
		ev("good-4"),
		`{"event_type":"page","identity":"guest"}`,
		"{\"anonymous_id\":\"\xff\",\"event_type\":\"page\"}",
		`{"anonymous_id":"a","event_type":"page","x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
		`"text"`, `7`, `[]`, `null`,
		`{"anonymous_id":"\u0000\ud800","event_type":"page","message_id":"good-12"}`,
	}
	want := []string{"1 invalid_event event_type", "2 invalid_json ", "3 too_large ", "5 invalid_event identity", "6 invalid_json ", "7 invalid_json ",
		"8 invalid_event ", "9 invalid_event ", "10 invalid_event ", "11 invalid_event "}
	for media, body := range map[string]string{
		"application/json":     `{"events":[` + strings.Join(items, ",") + `]}`,
		"application/x-ndjson": strings.Join(items, "\n"),
	} {
		a := r.post("/tenant/ingest/batch", integrationKey, media, body)
		if a.status != 202 {
			t.Fatalf("%s: %d %.300s", media, a.status, a.body)
		}
		var got struct {
			Accepted int
			Rejected []struct {
				Index                int
				Code, Message, Field string
			}
		}
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		var verdicts []string
		for _, x := range got.Rejected {
			verdicts = append(verdicts, fmt.Sprint(x.Index, " ", x.Code, " ", x.Field))
			if x.Message == "" || strings.Contains(x.Message, "xxx") {
				t.Errorf("%s: message %q", media, x.Message)
			}
		}
		if got.Accepted != 3 || !slices.Equal(verdicts, want) {
			t.Errorf("%s: %d accepted, %q", media, got.Accepted, verdicts)
		}
	}
	var ids []string
	for _, rec := range r.records(event.TopicBackfill, 6) {
		ids = append(ids, rec.messageID())
	}
	slices.Sort(ids)
	if got := strings.Join(slices.Compact(ids), " "); got != "good-0 good-12 good-4" {
		t.Errorf("in the log: %s", got)
	}
	r.conserved()
}

func TestBatchOfBadItemsOnly(t *testing.T) {
	r := newRig(t, options{})
	a := r.post("/tenant/ingest/batch", integrationKey, jsonType, `[1,2]`)
	if got := a.json(t); a.status != 202 || got["accepted"] != 0.0 || len(got["rejected"].([]any)) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestBatchLimits(t *testing.T) {
	r := newRig(t, options{edge: func(c *Config) { c.BatchEvents = 5; c.BatchBytes = 1 << 20 }})
	six := "[" + strings.Repeat(page+",", 5) + page + "]"
	bomb := string(zip(t, strings.Repeat(" ", 2<<20)))
	for name, c := range map[string]struct{ body, encoding string }{
		"too many":                     {six, ""},
		"too large":                    {`{"events":["` + strings.Repeat("x", 1<<20) + `"]}`, ""},
		"too large when decompressed":  {bomb, "gzip"},
		"far too large, and announced": {strings.Repeat("x", 8<<20), ""},
	} {
		a := r.post("/tenant/ingest/batch", integrationKey, jsonType, c.body, "Content-Encoding", c.encoding)
		if code, _ := a.failure(t); a.status != 413 || code != "too_large" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if limit := "the limit is 1048576 bytes"; name != "too many" && !strings.Contains(string(a.body), limit) {
			t.Errorf("%s: %s does not say %q", name, a.body, limit)
		}
	}
	if a := r.post("/tenant/ingest/batch", integrationKey, jsonType, "["+page+"]"); a.status != 202 {
		t.Errorf("after them: %d", a.status)
	}
	if a := r.post("/ingest", trackerKey, jsonType, bomb, "Content-Encoding", "gzip"); a.status != 413 {
		t.Errorf("a bomb for one event: %d", a.status)
	}
}

func TestLargeBatch(t *testing.T) {
	r := newRig(t, options{})
	var body strings.Builder
	const n = 4_321
	for i := range n {
		fmt.Fprintf(&body, `{"message_id":"m%d","anonymous_id":"u%d","event_type":"track","event_name":"x"}`+"\n", i, i%97)
	}
	a := r.post("/tenant/ingest/batch", integrationKey, "application/x-ndjson", string(zip(t, body.String())), "Content-Encoding", "gzip")
	if got := a.json(t); a.status != 202 || got["accepted"] != float64(n) {
		t.Fatalf("%d %.200s", a.status, a.body)
	}
	last := map[string]int{}
	for _, rec := range r.records(event.TopicBackfill, n) {
		var i int
		if _, err := fmt.Sscanf(rec.messageID(), "m%d", &i); err != nil {
			t.Fatal(err)
		}
		user := string(rec.ev.AnonymousID)
		if before, ok := last[user]; ok && i <= before {
			t.Fatalf("%s: %d after %d", user, i, before)
		}
		last[user] = i
	}
	job := a.json(t)["job_id"].(string)
	got := r.do("GET", "/tenant/ingest/batch/"+job, nil, "X-API-Key", integrationKey).json(t)
	if got["processed"] != float64(n) {
		t.Errorf("the chunks do not add up: %v", got)
	}
	r.conserved()
}

func TestJob(t *testing.T) {
	r := newRig(t, options{})
	a := r.post("/tenant/ingest/batch", integrationKey, jsonType, `[`+ev("m")+`,7]`)
	id := a.json(t)["job_id"].(string)
	for _, path := range []string{"/tenant/ingest/batch/", "/api/tenant/ingest/batch/", "/ingest/batch/", "/Tenant//Ingest/batch/"} {
		a := r.do("GET", path+strings.ToUpper(id)+"/", nil, "X-API-Key", integrationKey)
		got := a.json(t)
		for name, want := range map[string]any{"job_id": id, "status": "done", "accepted": 1.0, "rejected": 1.0, "processed": 1.0, "failed": 0.0, "created_at": "2025-11-23T08:00:00Z"} {
			if a.status != 200 || got[name] != want {
				t.Errorf("%s: %s is %v", path, name, got[name])
			}
		}
	}
	if a := r.do("GET", "/tenant/ingest/batch/"+id, nil, "X-API-Key", otherKey); a.status != 404 {
		t.Errorf("another tenant's job: %d", a.status)
	}
	r.jobs.mu.Lock()
	r.jobs.down = true
	r.jobs.mu.Unlock()
	if a := r.do("GET", "/tenant/ingest/batch/"+id, nil, "X-API-Key", integrationKey); a.status != 503 {
		t.Errorf("store down: %d", a.status)
	}
	a = r.post("/tenant/ingest/batch", integrationKey, jsonType, `[`+ev("m2")+`]`)
	if a.status != 202 {
		t.Fatalf("a batch does not need the store: %d", a.status)
	}
	got := r.do("GET", "/tenant/ingest/batch/"+a.json(t)["job_id"].(string), nil, "X-API-Key", integrationKey).json(t)
	if got["status"] != "enqueued" || got["accepted"] != 1.0 {
		t.Errorf("while it is not written down: %v", got)
	}
	r.jobs.mu.Lock()
	r.jobs.down = false
	r.jobs.mu.Unlock()
}
