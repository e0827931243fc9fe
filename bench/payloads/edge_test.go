package payloads_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/payloads"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Every case meets its fate at the real edge, and what was accepted is in the log, as often as it was
// and under its message id.
func TestTheEdgeAgrees(t *testing.T) {
	cases := payloads.All()
	if dir := os.Getenv("KEYSTONE_PAYLOADS"); dir != "" {
		var err error
		if cases, err = payloads.Load(os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	seeds := enginetest.Broker(t, enginetest.Topic{Name: event.TopicEvents, Partitions: 2}, enginetest.Topic{Name: event.TopicBackfill, Partitions: 2})
	e, err := edge.Start(t.Context(), seeds, t.TempDir(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	want := map[string]int{}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			send(t, e.URL, &c)
			for _, id := range c.Want.MessageIDs {
				want[id]++
			}
		})
	}
	got := logged(t, seeds)
	for id := range want {
		if got[id] != want[id] {
			t.Errorf("message %q is in the log %d times, want %d", id, got[id], want[id])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d message ids are in the log, want %d", len(got), len(want))
	}
}

func send(t *testing.T, url string, c *payloads.Case) {
	req, err := http.NewRequestWithContext(t.Context(), c.Method, url+c.Path, bytes.NewReader(c.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", c.ContentType)
	c.SetKey(req.Header, edge.TrackerKey, edge.IntegrationKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	var answer struct {
		Accepted int
		Rejected []struct{ Code string }
		Error    event.Error
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("the answer is no JSON object: %v", err)
	}
	if resp.StatusCode != c.Want.Status || answer.Error.Code != c.Want.Code {
		t.Errorf("got %d %v, want %+v", resp.StatusCode, answer.Error, c.Want)
	}
	if c.Want.Status == http.StatusAccepted && (answer.Accepted != c.Want.Accepted || len(answer.Rejected) != c.Want.Rejected) {
		t.Errorf("%d accepted, %d rejected, want %+v", answer.Accepted, len(answer.Rejected), c.Want)
	}
}

// logged counts the records of each message id; those whose id the edge minted count under "".
func logged(t *testing.T, seeds []string) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumeTopics(event.TopicEvents, event.TopicBackfill))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, event.TopicEvents, event.TopicBackfill)
	if err != nil {
		t.Fatal(err)
	}
	var left int64
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	counts := map[string]int{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			var e event.Event
			if err := e.Decode(r.Value, event.DefaultLimits()); err != nil {
				t.Errorf("a record of the log does not decode: %v", err)
			}
			counts[string(e.MessageID)]++
		})
	}
	return counts
}
