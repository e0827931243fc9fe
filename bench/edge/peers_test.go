package edge_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/bench/edge"
	"github.com/keystone-cdp/keystone/bench/load"
	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// peer is what one would put in the edge's place. All take the same events over HTTP; all but nginx answer
// once the log has them.
type peer struct {
	name    string
	program string // looked for in the path, and in bench/peers/bin
	needs   string // a file that must be there too
	config  string // with LISTEN, BROKERS (a YAML list) and DIR to be filled in
	args    func(config string) []string
	encode  func(dst []byte, events [][]byte) []byte // a request's body
	media   string
	logs    bool // its events go into the topic "peers"; else into DIR/events.log, a line each
}

const benthosYAML = `
http: {enabled: false}
logger: {level: ERROR}
metrics: {none: {}}
input:
  http_server: {address: LISTEN, path: /ingest, allowed_verbs: [POST]}
pipeline: {processors: [{unarchive: {format: lines}}]}
output:
  kafka: {seed_brokers: BROKERS, topic: peers, max_in_flight: 256}
`

const collectorYAML = `
receivers:
  otlp: {protocols: {http: {endpoint: LISTEN, logs_url_path: /ingest}}}
exporters:
  kafka:
    brokers: BROKERS
    logs: {topic: peers, encoding: raw}
    producer: {required_acks: -1}
    sending_queue: {enabled: false} # with it, it answers before the log does
service:
  telemetry: {logs: {level: ERROR}, metrics: {level: none}}
  pipelines: {logs: {receivers: [otlp], exporters: [kafka]}}
`

const nginxModules = "/usr/lib/nginx/modules" // Debian's

const nginxConf = `
load_module modules/ngx_http_echo_module.so; # a plain "return" does not read the body
daemon off; master_process off; worker_processes 1; pid DIR/nginx.pid; error_log stderr crit;
events { worker_connections 2048; }
http {
  log_format body escape=none '$request_body';
  access_log DIR/events.log body;
  client_body_buffer_size 1m; client_max_body_size 32m; client_body_temp_path DIR/body;
  keepalive_requests 1000000000;
  server {
    listen LISTEN;
    location / { default_type application/json; echo_read_request_body; echo '{"status":"ok"}'; }
  }
}`

func peers() []peer {
	collector := peer{program: "collector", config: collectorYAML, logs: true, args: func(c string) []string { return []string{"--config", "file:" + c} }}
	asJSON, asProto := collector, collector
	asJSON.name, asJSON.encode, asJSON.media = "OpenTelemetry Collector, OTLP JSON", otlpJSON, "application/json"
	asProto.name, asProto.encode, asProto.media = "OpenTelemetry Collector, OTLP protobuf", otlpProto, "application/x-protobuf"
	return []peer{
		{name: "nginx, body into a file", program: "nginx", needs: nginxModules + "/ngx_http_echo_module.so", config: nginxConf, encode: lines, media: "application/json",
			args: func(c string) []string { return []string{"-c", c, "-p", filepath.Dir(c), "-e", "stderr"} }},
		{name: "Benthos, http_server to Kafka", program: "benthos", config: benthosYAML, encode: lines, media: "application/json", logs: true,
			args: func(c string) []string { return []string{"-c", c} }},
		asJSON, asProto,
	}
}

func lines(dst []byte, events [][]byte) []byte {
	for i, e := range events {
		if i > 0 {
			dst = append(dst, '\n')
		}
		dst = append(dst, e...)
	}
	return dst
}

func otlpJSON(dst []byte, events [][]byte) []byte {
	dst = append(dst, `{"resourceLogs":[{"scopeLogs":[{"logRecords":[`...)
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		text, err := json.Marshal(string(e))
		if err != nil {
			panic(err)
		}
		dst = append(append(append(dst, `{"body":{"stringValue":`...), text...), "}}"...)
	}
	return append(dst, "]}]}]}"...)
}

func otlpProto(dst []byte, events [][]byte) []byte {
	field := func(dst []byte, n byte, v []byte) []byte { // length-delimited
		return append(binary.AppendUvarint(append(dst, n<<3|2), uint64(len(v))), v...)
	}
	var records []byte
	for _, e := range events {
		records = field(records, 2, field(nil, 5, field(nil, 1, e))) // LogRecord.body.string_value
	}
	return field(dst, 1, field(nil, 2, records)) // ResourceLogs.scope_logs
}

// start runs the peer on a free port, and answers its address and process; none, where it is not installed.
func (p peer) start(b *testing.B, dir string, brokers []string) (url string, pid int) {
	b.Helper()
	program, err := exec.LookPath(p.program)
	if err != nil {
		if program, err = filepath.Abs("../peers/bin/" + p.program); err == nil {
			_, err = os.Stat(program)
		}
	}
	if err == nil && p.needs != "" {
		_, err = os.Stat(p.needs)
	}
	if err != nil {
		b.Logf("without %s: make peers builds those of bench/peers; nginx is Debian's nginx-light with libnginx-mod-http-echo", p.program)
		return "", 0
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	list := `["` + strings.Join(brokers, `", "`) + `"]`
	config := filepath.Join(dir, "config")
	text := strings.NewReplacer("LISTEN", address, "BROKERS", list, "DIR", dir).Replace(p.config)
	if err := os.Symlink(nginxModules, filepath.Join(dir, "modules")); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, p.args(config)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	var end error
	go func() {
		end = cmd.Wait()
		close(ended)
	}()
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.DialTimeout("tcp4", address, time.Second)
		if err == nil {
			_ = c.Close()
			return "http://" + address, cmd.Process.Pid
		}
		select {
		case <-ended:
			b.Fatalf("%s has ended: %v", p.name, end)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s does not listen: %v", p.name, err)
		}
	}
}

// BenchmarkPeers is processor time for each event: the edge's, with keys, validation, limits and metrics,
// and that of what one would put in its place, which have none of these. They take turns, on one log.
// One iteration is a round of each.
func BenchmarkPeers(b *testing.B) {
	for _, c := range []struct{ connections, batch int }{{64, 1}, {256, 1}, {32, 100}} {
		name := fmt.Sprintf("%d connections, %d a request", c.connections, c.batch)
		b.Run(fmt.Sprintf("%d/%d", c.connections, c.batch), func(b *testing.B) {
			seeds := startLog(b)
			enginetest.CreateTopics(b, seeds, enginetest.Topic{Name: "peers", Partitions: 8})
			edgeURL, edgePID := child(b, roleEdge, envBrokers+"="+strings.Join(seeds, ","), envDir+"="+filepath.Join(b.TempDir(), "spool"))
			all := peers()
			reports := make([]load.Report, len(all))
			urls, pids, dirs := make([]string, len(all)), make([]int, len(all)), make([]string, len(all))
			for i, p := range all {
				dirs[i] = b.TempDir()
				urls[i], pids[i] = p.start(b, dirs[i], seeds)
			}
			own := load.DefaultConfig()
			own.URL, own.ServerPID = edgeURL, edgePID
			own.Connections, own.BatchEvents, own.Key = c.connections, c.batch, edge.TrackerKey
			if c.batch > 1 {
				own.Path, own.Key = load.PathBatch, edge.IntegrationKey
			}
			var real load.Report
			var logged, rounds int
			for round := uint64(1); b.Loop(); round++ {
				rounds++
				run(b, &real, own, visits(b, round, events), events)
				for i, p := range all {
					if urls[i] == "" {
						continue
					}
					p.run(b, &reports[i], c.connections, c.batch, urls[i], pids[i], round)
					if p.logs {
						logged += events
					}
				}
			}
			if got := countLog(b, seeds, "peers"); got < logged {
				b.Fatalf("the peers have answered for %d events and the log has %d of theirs", logged, got)
			}
			for i, p := range all {
				if urls[i] == "" || p.logs {
					continue
				}
				text, err := os.ReadFile(filepath.Join(dirs[i], "events.log"))
				if got := bytes.Count(text, []byte("\n")); err != nil || got != rounds*events {
					b.Fatalf("%s has %d events in its file, not %d: %v", p.name, got, rounds*events, err)
				}
			}
			ours := perEvent(&real)
			machine.Print("peers "+name+": Keystone's edge", "%.1f µs of CPU per event, %.0f events/s", ours, real.EventsPerSecond())
			for i, p := range all {
				if r := &reports[i]; r.Acknowledged > 0 {
					machine.Print("peers "+name+": "+p.name, "%.1f µs of CPU per event, %.2f × the edge's, %.0f events/s", perEvent(r), perEvent(r)/ours, r.EventsPerSecond())
				}
			}
			b.ReportMetric(ours, "cpu-µs/event")
		})
	}
}

// run sends a round to a peer. To the generator a request is one event, whatever it holds.
func (p peer) run(b *testing.B, sum *load.Report, connections, batch int, url string, pid int, seed uint64) {
	b.Helper()
	cfg := load.DefaultConfig()
	cfg.URL, cfg.ServerPID, cfg.Key, cfg.Connections, cfg.ContentType = url, pid, edge.TrackerKey, connections, p.media
	next := visits(b, seed, events)
	held := make([][]byte, batch)
	requests := events / batch
	run(b, sum, cfg, func(dst []byte) (_ []byte, lane uint64, ok bool) {
		for i := range held {
			if held[i], lane, ok = next(held[i][:0]); !ok {
				return nil, 0, false
			}
		}
		return p.encode(dst, held), lane, true
	}, requests)
	sum.Acknowledged += int64(events - requests)
}

// countLog is how many records a topic holds.
func countLog(b *testing.B, seeds []string, topic string) (n int) {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(context.Background(), topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		b.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += int(o.Offset) })
	return n
}
