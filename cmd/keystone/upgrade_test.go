package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/sql"
)

// drill is for tests of minutes, that `make test-upgrade` runs.
func drill(t *testing.T) {
	t.Helper()
	if os.Getenv("KEYSTONE_DRILL") == "" {
		t.Skip("long: make test-upgrade runs it")
	}
}

// upgradeVisit is how many events a device sends; its owner logs in in the middle of them.
const (
	upgradeVisit = 40
	upgradeLogin = 20
	upgradePart  = 300 // events at least between two steps
)

// upgradeEvent is a client's i-th event. A client is a person with one device after the other.
func upgradeEvent(client, i int) string {
	head := fmt.Sprintf(`{"message_id":"c%d-%d","anonymous_id":"d%d-%d",`, client, i, client, i/upgradeVisit)
	switch i % upgradeVisit {
	case upgradeLogin:
		return head + fmt.Sprintf(`"event_type":"identify","identity":"p%d@example.com","payload":{"visits":%d}}`, client, i/upgradeVisit)
	case upgradeLogin + 5:
		return head + fmt.Sprintf(`"event_type":"track","event_name":"Order Completed","payload":{"order_id":"o%d-%d","total":1.50,"currency":"EUR","products":[{"product_id":"P-%d","quantity":1,"price":1.50}]}}`, client, i/upgradeVisit, i/upgradeVisit)
	}
	return head + `"event_type":"page","event_name":"Shop"}`
}

// upgradeTruth is what must come of the first n events of every client, by client: events of the person,
// and of the device on which nobody has logged in yet.
func upgradeTruth(n int) (person, shadow, orders int) {
	whole, rest := n/upgradeVisit, n%upgradeVisit
	person, orders = whole*upgradeVisit, whole
	if rest > upgradeLogin {
		person += rest
	} else {
		shadow = rest
	}
	if rest > upgradeLogin+5 {
		orders++
	}
	return person, shadow, orders
}

// builds are two versions of the binary.
type builds struct {
	old, next string
	told      bool // the old one knows of the rule of this page: it tells its schema, and looks at the floor
}

// nextBuild is this tree with one more pair of migrations in each schema: one that adds, and one that takes
// away again what builds from before the first would need. It is compiled with an overlay: nothing of it is
// in any other binary.
func nextBuild(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	stored, err := sql.Steps()
	if err != nil {
		t.Fatal(err)
	}
	columns, err := schema.Steps()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	add := func(folder, form string, version int64, mark, up, down string) {
		name := fmt.Sprintf(form, version)
		text := fmt.Sprintf("-- For the test of upgrades.\n\n%s\n\n-- +goose NO TRANSACTION\n\n-- +goose Up\n%s;\n\n-- +goose Down\n%s;\n", mark, up, down)
		path := filepath.Join(dir, strings.ReplaceAll(folder, "/", "_")+name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, folder, name)] = path
	}
	const plus, minus = "ALTER TABLE %s ADD COLUMN IF NOT EXISTS upgrade_note %s", "ALTER TABLE %s DROP COLUMN IF EXISTS upgrade_note"
	profiles := [2]string{fmt.Sprintf(plus, "profiles", "TEXT NOT NULL DEFAULT 'x'"), fmt.Sprintf(minus, "profiles")}
	events := [2]string{fmt.Sprintf(plus, "events", "String COMMENT 'For a test'"), fmt.Sprintf(minus, "events")}
	s, c := stored.Newest(), columns.Newest()
	add("sql/migrations", "%05d_next.sql", s+1, "", profiles[0], profiles[1])
	add("sql/migrations", "%05d_close.sql", s+2, fmt.Sprint("-- keystone:contract ", s+1), profiles[1], profiles[0])
	add("analytics/schema/migrations", "%04d_next.sql", c+1, "", events[0], events[1])
	add("analytics/schema/migrations", "%04d_close.sql", c+2, fmt.Sprint("-- keystone:contract ", c+1), events[1], events[0])
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return compile(t, root, filepath.Join(dir, "keystone"), "-overlay", overlay, "-ldflags", "-X main.release=next")
}

func compile(t *testing.T, root, out string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, args...), "./cmd/keystone")...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	return out
}

// upgradeFrom names the commit of an older build. A clone need not have it.
const upgradeFrom = "testdata/upgrade-from"

// commitBuild is the binary of an older commit, from git's history. It answers false where that is not
// there.
func commitBuild(t *testing.T) (bin string, ok bool) {
	t.Helper()
	text, err := os.ReadFile(upgradeFrom)
	if err != nil {
		t.Fatal(err)
	}
	commit := strings.TrimSpace(string(text))
	if err := exec.Command("git", "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		return "", false
	}
	dir := t.TempDir()
	archive := exec.Command("git", "archive", commit)
	archive.Dir = "../.."
	tree, err := archive.Output()
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("tar", "-x", "-C", dir)
	unpack.Stdin = bytes.NewReader(tree)
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v\n%s", commit, err, out)
	}
	return compile(t, dir, filepath.Join(t.TempDir(), "keystone")), true
}

// TestUpgrade replaces every process of an installation by another build, one at a time, while clients
// send events and repeat nothing; takes them back; and replaces them for good. No request fails, and every
// event counts once.
func TestUpgrade(t *testing.T) {
	drill(t)
	next := nextBuild(t)
	t.Run("from this tree", func(t *testing.T) { upgrade(t, builds{old: binary(t), next: next, told: true}) })
	t.Run("from an older commit", func(t *testing.T) {
		old, ok := commitBuild(t)
		if !ok {
			t.Skipf("the clone does not have the commit in %s: builds of two commits were not tried beside each other", upgradeFrom)
		}
		upgrade(t, builds{old: old, next: next})
	})
}

// fleet is the processes of an installation, by place: two of each role.
type fleet struct {
	in                       *installation
	load                     *crowd
	port                     string
	spools                   [2]string
	edges, processors, sinks [2]*role
}

func (f *fleet) startEdge(bin string, i int) {
	f.in.bin = bin
	f.edges[i] = f.in.start("edge listens", "edge", "--listen", f.port, "--reuse-port", "--drain-delay", "200ms", "--spool-dir", f.spools[i])
	f.edges[i].says("running")
	f.port = f.edges[i].logged("address")
}

func (f *fleet) startWorker(bin, role string) *role {
	f.in.bin = bin
	return f.in.start("running", role)
}

// replace brings every process to a build, one after the other, in an order of roles.
func (f *fleet) replace(t *testing.T, bin string, order ...string) {
	t.Helper()
	for _, what := range order {
		for i := range 2 {
			switch what {
			case "edge":
				f.edges[i].stop() // the other one has the port meanwhile
				f.startEdge(bin, i)
			case "processor":
				f.processors[i].stop()
				f.processors[i] = f.startWorker(bin, what)
			case "sink":
				f.sinks[i].stop()
				f.sinks[i] = f.startWorker(bin, what)
			}
			f.load.more(t, upgradePart)
		}
	}
}

// forward is the order of an upgrade: who reads before who writes. The way back is the other way round.
var (
	forward  = []string{"sink", "processor", "edge"}
	backward = []string{"edge", "processor", "sink"}
)

func upgrade(t *testing.T, b builds) {
	in := edges(t) // with this tree's schema
	f := &fleet{in: in, port: "127.0.0.1:0", spools: [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}}
	for i := range 2 {
		f.startEdge(b.old, i)
		f.processors[i], f.sinks[i] = f.startWorker(b.old, "processor"), f.startWorker(b.old, "sink")
	}
	direct := &http.Transport{MaxIdleConnsPerHost: drainClients}
	t.Cleanup(direct.CloseIdleConnections)
	f.load = in.crowdOf("http://"+f.port+"/ingest", direct, upgradeEvent)
	f.load.more(t, upgradePart)

	in.bin = b.next
	in.run("migrate")
	f.load.more(t, upgradePart)
	f.replace(t, b.next, forward...)
	f.replace(t, b.old, backward...) // on the newer schema

	in.bin = b.next
	if out, err := in.try("migrate", "--contract"); err == nil || !strings.Contains(err.Error(), "older build") {
		t.Errorf("the schema was closed while older builds ran: %v\n%s", err, out)
	}
	f.replace(t, b.next, forward...)
	in.bin = b.next
	in.run("migrate", "--contract")
	f.load.more(t, upgradePart)
	if b.told {
		in.bin = b.old
		for _, args := range [][]string{{"edge", "--listen", "127.0.0.1:0", "--spool-dir", t.TempDir()}, {"processor"}, {"sink"}, {"tenants", "list"}} {
			if out, err := in.try(args...); err == nil || !strings.Contains(err.Error(), "run a newer build") {
				t.Errorf("an older build of %s on a schema that was closed to it: %v\n%s", args[0], err, out)
			}
		}
	}
	f.load.end(in)
	in.bin = b.next
	in.run("lag", "--wait", "120s")
	f.check(t)
	for i := range 2 {
		f.edges[i].stop()
		f.processors[i].stop()
		f.sinks[i].stop()
	}
}

// check compares with what the clients have sent.
func (f *fleet) check(t *testing.T) {
	t.Helper()
	in, taken := f.in, int(f.load.taken.Load())
	people, shadows, events, orders := 0, 0, 0, 0
	for client, n := range f.load.counts {
		person, shadow, placed := upgradeTruth(n)
		if person > 0 {
			people++
		}
		if shadow > 0 {
			shadows++
		}
		events, orders = events+person+shadow, orders+placed
		in.want(fmt.Sprint(person), fmt.Sprintf(`SELECT sum(event_count) FROM profiles FINAL WHERE profile_id IN
			(SELECT profile_id FROM identity_map FINAL WHERE kind = 'email' AND value = 'p%d@example.com')`, client))
	}
	if events != taken {
		t.Fatalf("the clients count %d and %d events", events, taken)
	}
	in.want(fmt.Sprintf("%d\t%d", taken, taken), "SELECT count(), uniqExact(message_id) FROM events")
	in.want(fmt.Sprintf("%d\t%d", taken, people+shadows), "SELECT sum(event_count), count() FROM profiles FINAL")
	in.want(fmt.Sprintf("%d\t%d", people, shadows), "SELECT countIf(kind = 'anchor'), countIf(kind = 'shadow') FROM profiles FINAL")
	in.want(strconv.Itoa(orders), "SELECT countIf(status = 'completed') FROM orders FINAL")
	in.want("0", `SELECT count() FROM (SELECT profile_id, count() AS n FROM events_resolved GROUP BY 1) AS e
		FULL JOIN (SELECT profile_id, event_count AS n FROM profiles FINAL) AS p USING (profile_id) WHERE e.n != p.n`)
	compareStores(t, in.tell(t))
}

// try runs a command to its end, which is near.
func (in *installation) try(args ...string) (string, error) {
	cmd := in.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Start()
	if err == nil {
		late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() }) // gone already is fine
		err = cmd.Wait()
		late.Stop()
	}
	if err != nil {
		err = errors.Join(err, errors.New(errs.String()))
	}
	return out.String(), err
}

// tell makes an installation look like a running dev to the tests that ask one.
func (in *installation) tell(t *testing.T) *dev {
	t.Helper()
	d := *in.client
	d.bin, d.dir, d.log = in.bin, t.TempDir(), new(lockedBuffer)
	d.SQLDSN, d.ClickHouseDSN, d.Brokers, d.Tenant, d.Pid = in.store, in.columns, strings.Split(in.brokers, ","), "shop", os.Getpid()
	if err := writeDevInfo(d.dir, &d.devInfo); err != nil {
		t.Fatal(err)
	}
	return &d
}
