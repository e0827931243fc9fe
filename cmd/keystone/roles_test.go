package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/embedded/enginetest/kafka"
)

// TestRoles sends rolesPart events at a time, of rolesDevices devices. Each device logs in once, and two
// of them are one person.
const (
	rolesPart    = 1000
	rolesDevices = 100
	rolesPersons = rolesDevices / 2
)

// installation is what an operator has: three servers and the binary.
type installation struct {
	t                       *testing.T
	bin                     string
	brokers, store, columns string
	kafka                   *kafka.Server // nil: the log is a kfake of this process
	client                  *dev          // how its users see it
	sent                    int           // events
	edges                   []*role       // that were started
	env                     []string      // what an operator has set besides
}

func install(t *testing.T) *installation {
	t.Helper()
	db := enginetest.ClickHouse(t)
	in := &installation{t: t, bin: binary(t), store: enginetest.Store(t), columns: db.NativeDSN,
		client: &dev{devInfo: devInfo{ClickHouseURL: columnsURL(t, db)}}}
	if cluster := enginetest.ClickHouseCluster(); cluster != "" {
		in.env = append(in.env, "KEYSTONE_CLICKHOUSE_CLUSTER="+cluster)
	}
	if enginetest.OnKafka(t) {
		in.kafka = enginetest.OwnKafka(t)
		if err := in.kafka.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		in.brokers = strings.Join(in.kafka.Addrs(), ",")
	} else {
		in.brokers = strings.Join(enginetest.Broker(t), ",")
	}
	return in
}

// command is the binary with the servers' addresses where an operator puts them.
func (in *installation) command(args ...string) *exec.Cmd {
	cmd := command(in.bin, args...)
	cmd.Env = append(cmd.Env, "KEYSTONE_STORE_DSN="+in.store, "KEYSTONE_CLICKHOUSE_DSN="+in.columns, "KEYSTONE_BROKERS="+in.brokers,
		"KEYSTONE_ADMIN_LISTEN=127.0.0.1:0")
	cmd.Env = append(cmd.Env, in.env...)
	if args[0] == "lag" {
		cmd.Env = append(cmd.Env, "KEYSTONE_EDGE_ADMIN_URLS="+strings.Join(in.edgeAdmins(), ","))
	}
	return cmd
}

// edgeAdmins are those of the edges that run. One for whom the log is away longer than it has patience has
// events in its spool: on a machine under load any may.
func (in *installation) edgeAdmins() (all []string) {
	for _, r := range in.edges {
		select {
		case <-r.done:
		default:
			r.says("running")
			all = append(all, "http://"+r.logged("admin"))
		}
	}
	return all
}

// run runs a command to its end and answers what it printed.
func (in *installation) run(args ...string) string {
	in.t.Helper()
	cmd := in.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		in.t.Fatalf("keystone %s: %v: %s%s", strings.Join(args, " "), err, &errs, &out)
	}
	return out.String()
}

// key makes an API key.
func (in *installation) key(tenant, scope string) string {
	in.t.Helper()
	return fields(in.t, in.run("keys", "create", "--tenant", tenant, "--scope", scope))["key"].(string)
}

// role is a running role.
type role struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	log  *lockedBuffer
	done chan struct{}
	err  error // after done
}

// start runs a role and waits until it says a word.
func (in *installation) start(word string, args ...string) *role {
	in.t.Helper()
	r := &role{t: in.t, name: args[0], cmd: in.command(args...), log: new(lockedBuffer), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = r.log, r.log
	if err := r.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	go func() { r.err = r.cmd.Wait(); close(r.done) }()
	in.t.Cleanup(r.kill)
	if r.name == "edge" {
		in.edges = append(in.edges, r)
	}
	r.says(word)
	return r
}

// says waits until the role has said a word.
func (r *role) says(word string) {
	r.t.Helper()
	waitFor(r.t, func() bool {
		select {
		case <-r.done:
			r.t.Fatalf("%s ended: %v\n%s", r.name, r.err, r.log)
		default:
		}
		return strings.Contains(r.log.String(), word)
	})
}

func (r *role) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) } // gone already: stop tells

// kill is kill -9.
func (r *role) kill() {
	_ = r.cmd.Process.Kill() // gone already is fine
	<-r.done
}

// stop ends it as an orchestrator does, and wants exit status 0.
func (r *role) stop() {
	r.t.Helper()
	r.signal(syscall.SIGTERM)
	r.ends()
}

// ends waits for the end, which the caller has asked for, and wants exit status 0.
func (r *role) ends() {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(stopTimeout):
		r.t.Fatalf("%s does not stop:\n%s", r.name, r.log)
	}
	if r.err != nil {
		r.t.Errorf("%s ended with %v:\n%s", r.name, r.err, r.log)
	}
}

// logged is the value of a key of the role's log.
func (r *role) logged(key string) string {
	_, after, _ := strings.Cut(r.log.String(), " "+key+"=")
	value, _, _ := strings.Cut(after, "\n")
	value, _, _ = strings.Cut(value, " ")
	return value
}

// rolesEvent is the i-th event: a page view of a device, or its login, in the second part.
func rolesEvent(i int) string {
	device := i % rolesDevices
	if i/rolesDevices == rolesPart*3/2/rolesDevices {
		return fmt.Sprintf(`{"message_id":"m%d","anonymous_id":"d%d","event_type":"identify","identity":"p%d@example.com"}`, i, device, device%rolesPersons)
	}
	return fmt.Sprintf(`{"message_id":"m%d","anonymous_id":"d%d","event_type":"page"}`, i, device)
}

// TestRoles runs the roles as production does, each in a process of its own, and kills the processor
// and the sink while events flow. On Kafka a processor also stands still until the group has given its
// partitions to another, and then goes on; and the log goes away for a while, and the edge spools. Every
// event counts once.
func TestRoles(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	in := install(t)
	in.run("migrate")
	in.run("migrate") // again does nothing
	in.run("tenants", "create", "shop")
	in.client.TrackerKey = in.key("shop", "tracker")

	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	sink := in.start("running", "sink")
	processor := in.start("running", "processor")

	in.client.EdgeURL = "http://" + edge.logged("address")
	in.during(func() {
		processor.kill()
		processor = in.start("running", "processor")
	})
	zombie := processor
	in.during(func() {
		if in.kafka != nil {
			zombie.signal(syscall.SIGSTOP)
			processor = in.start("running", "processor")
			processor.says("took a partition over") // the group gave the other up
		}
		sink.kill()
		sink = in.start("running", "sink")
	})
	in.during(func() { zombie.signal(syscall.SIGCONT) }) // with a batch in its hands, perhaps, and sure of its partitions
	if in.kafka != nil {
		in.during(in.kafka.Kill)
		if !strings.Contains(edge.log.String(), "spooling") {
			t.Error("the edge did not notice that the log was away: the test shows nothing")
		}
		in.during(func() {
			if err := in.kafka.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
	in.run("lag", "--wait", "120s")
	count := fmt.Sprint(in.sent)
	in.want(count+"\t"+count, "SELECT count(), uniqExact(message_id) FROM events")
	in.want(fmt.Sprint(count, "\t", rolesPersons), "SELECT sum(event_count), count() FROM profiles FINAL")
	in.want(fmt.Sprint(count, "\t", rolesPersons), "SELECT count(), uniqExact(profile_id) FROM events_resolved")
	if n := strings.Count(in.run("export", "profiles", "--tenant", "shop"), `"anchor"`); n != rolesPersons {
		t.Errorf("the state store has %d persons", n)
	}
	edge.stop()
	zombie.stop()
	processor.stop()
	sink.stop()
}

// during sends the next events, in order and each until it is acknowledged, and does something in the
// middle of that.
func (in *installation) during(do func()) {
	in.t.Helper()
	half, sent := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := range rolesPart {
			if i == rolesPart/2 {
				close(half)
			}
			if err := sendOne(in.t.Context(), in.client, rolesEvent(in.sent+i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	select {
	case <-half:
		do()
	case err := <-sent:
		in.t.Fatal(err)
	}
	if err := <-sent; err != nil {
		in.t.Fatal(err)
	}
	in.sent += rolesPart
}

// want checks the answer of ClickHouse to an analyst.
func (in *installation) want(want, query string) {
	in.t.Helper()
	if got := strings.Join(in.client.sql(in.t, query), "|"); got != want {
		in.t.Errorf("%s: got %q, want %q", query, got, want)
	}
}

// columnsURL is where analysts ask.
func columnsURL(t *testing.T, db enginetest.ClickHouseDB) string {
	t.Helper()
	u, err := url.Parse(db.HTTPURL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.RawQuery = url.UserPassword(db.User, db.Password), "database="+db.Database
	return u.String()
}
