package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// secured is an installation whose three servers want TLS, a certificate and a password.
type secured struct {
	*installation
	secrets []string // that nobody may see
	seen    strings.Builder
	httpURL string // of ClickHouse, with all that it wants
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{secrets: []string{"s3cret-of-the-log", "s3cret-of-the-store"}}
	authority := enginetest.NewAuthority(t)
	log, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(authority.Server("127.0.0.1")), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "keystone", s.secrets[0]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Close)
	store := enginetest.NewSecureStore(t, s.secrets[1])
	db := enginetest.ClickHouse(t)
	s.secrets = append(s.secrets, db.Password)
	address := func(plain string) string {
		u, err := url.Parse(plain)
		if err != nil {
			t.Fatal(err)
		}
		return "localhost:" + enginetest.Front(t, authority.Server("localhost"), u.Host)
	}
	cert, key := authority.Issue("keystone")
	storeCert, storeKey := store.Issue("keystone")
	password := write(t, "clickhouse", db.Password)
	s.installation = &installation{t: t, bin: binary(t), store: store.DSN, brokers: strings.Join(log.ListenAddrs(), ","),
		columns: "clickhouse://" + db.User + "@" + address(db.NativeDSN) + "/" + db.Database,
		client:  &dev{devInfo: devInfo{ClickHouseURL: columnsURL(t, db)}},
		env: []string{"KEYSTONE_BROKER_TLS=true", "KEYSTONE_BROKER_CA=" + authority.CA, "KEYSTONE_BROKER_CERT=" + cert, "KEYSTONE_BROKER_KEY=" + key,
			"KEYSTONE_BROKER_SASL=scram-sha-512", "KEYSTONE_BROKER_USER=keystone", "KEYSTONE_BROKER_PASSWORD_FILE=" + write(t, "log", s.secrets[0]+"\n"),
			"KEYSTONE_STORE_CA=" + store.CA, "KEYSTONE_STORE_CERT=" + storeCert, "KEYSTONE_STORE_KEY=" + storeKey, "KEYSTONE_STORE_PASSWORD_FILE=" + write(t, "store", s.secrets[1]+"\n"),
			"KEYSTONE_CLICKHOUSE_CA=" + authority.CA, "KEYSTONE_CLICKHOUSE_CERT=" + cert, "KEYSTONE_CLICKHOUSE_KEY=" + key, "KEYSTONE_CLICKHOUSE_PASSWORD_FILE=" + password}}
	s.httpURL = "https://" + db.User + "@" + address(db.HTTPURL) + "/?" + url.Values{"database": {db.Database}, "sslrootcert": {authority.CA},
		"sslcert": {cert}, "sslkey": {key}, "password_file": {password}}.Encode()
	return s
}

// say runs a command, and remembers what it printed.
func (s *secured) say(args ...string) string {
	s.t.Helper()
	out := s.run(args...)
	s.seen.WriteString(out)
	return out
}

// refused runs a command that must fail, with these words.
func (s *secured) refused(want string, args ...string) {
	s.t.Helper()
	out, err := s.command(args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		s.t.Errorf("%v: %v, without %q: %s", args, err, want, out)
	}
	s.seen.Write(out)
}

// look remembers what a machine's other users see of a role, and what its admin listener shows.
func (s *secured) look(r *role) {
	s.t.Helper()
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(r.cmd.Process.Pid), name))
		if err != nil {
			s.t.Fatal(err)
		}
		s.seen.Write(text)
	}
	for _, path := range []string{"/metrics", "/readyz"} {
		status, text := get(s.t, "http://"+r.logged("admin")+path)
		if status != http.StatusOK {
			s.t.Errorf("%s%s: %d", r.name, path, status)
		}
		s.seen.WriteString(text)
	}
	s.seen.WriteString(r.log.String())
}

func get(t *testing.T, address string) (int, string) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestSecured runs every role, the doctor and other commands on servers that want TLS, a certificate and a
// password of each, all from files. Whoever has another authority or another password gets nothing; and nothing that
// is printed, logged, shown or seen of a process has a secret in it.
func TestSecured(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	s := newSecured(t)
	s.say("migrate")
	keysFile := filepath.Join(t.TempDir(), "keys.json")
	keys := fields(t, s.say("keys", "init", "--tenant", "shop", "--file", keysFile))
	made, err := readKeys(keysFile)
	if err != nil {
		t.Fatal(err)
	}
	s.secrets = append(s.secrets, made.IntegrationKey)
	s.client.TrackerKey = keys["tracker_key"].(string)
	edge := s.start("running", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	sink := s.start("running", "sink")
	processor := s.start("running", "processor")
	s.client.EdgeURL = "http://" + edge.logged("address")
	if err := sendOne(t.Context(), s.client, rolesEvent(1)); err != nil {
		t.Fatal(err)
	}
	s.say("lag", "--wait", "60s")
	s.want("1", "SELECT count() FROM events_resolved")
	s.stoppedAt(s.examine("--keys-file", keysFile), "")
	s.say("doctor", "--edge", s.client.EdgeURL, "--keys-file", keysFile)
	s.say("topics", "list")
	s.say("identity", "simulate", "--tenant", "shop", "--settings", write(t, "settings.json", `{}`))
	if out := s.say("clickhouse", "client", "--url", s.httpURL, "--format", "TSV", "-q", "SELECT count() FROM events"); strings.TrimSpace(out) != "1" {
		t.Errorf("over HTTPS: %q", out)
	}
	for _, role := range []string{"edge", "processor", "sink"} {
		args := []string{"config", "print", role}
		if role == "edge" {
			args = append(args, "--spool-dir=/nowhere")
		}
		s.say(args...)
	}
	for _, r := range []*role{edge, sink, processor} {
		s.look(r)
	}

	// The admin listener is another port: what the public reaches has nothing of it, and takes no events there.
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/debug/pprof/"} {
		if status, _ := get(t, s.client.EdgeURL+path); status != http.StatusNotFound {
			t.Errorf("the edge's public port answers %s with %d", path, status)
		}
	}
	if status, _ := get(t, "http://"+edge.logged("admin")+"/v1/js/tracker.js"); status != http.StatusNotFound {
		t.Errorf("the admin listener serves the public: %d", status)
	}

	other, guess := enginetest.NewAuthority(t).CA, write(t, "guess", "guess")
	s.refused("certificate", "topics", "check", "--timeout", "5s", "--broker-ca", other)
	s.refused("no answer", "topics", "check", "--timeout", "5s", "--broker-password-file", guess)
	s.refused("unknown authority", "tenants", "list", "--store-ca", other)
	s.refused("password authentication failed", "tenants", "list", "--store-password-file", guess)
	s.refused("unknown authority", "migrate", "--clickhouse-ca", other)
	s.refused("Authentication failed", "migrate", "--clickhouse-password-file", guess)
	s.refused("unknown authority", "clickhouse", "client", "--url", strings.Replace(s.httpURL, "sslrootcert=", "sslrootcert="+url.QueryEscape(other)+"&was=", 1), "-q", "SELECT 1")

	for i, secret := range s.secrets {
		if at := strings.Index(s.seen.String(), secret); at >= 0 {
			t.Errorf("secret %d is shown: …%s", i, s.seen.String()[max(0, at-200):at])
		}
	}
}

// The log's password is read again for each connection.
func TestBrokerPasswordIsReadAgain(t *testing.T) {
	f := brokerFlags{TLS: true, SASL: "plain", User: "keystone", fileFlags: fileFlags{PasswordFile: write(t, "password", "first\n")}}
	mechanism, err := f.mechanism()
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"first", "second"} {
		if err := os.WriteFile(f.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, says, err := mechanism.Authenticate(t.Context(), ""); err != nil || string(says) != "\x00keystone\x00"+password {
			t.Errorf("%q, %v", says, err)
		}
	}
	if err := os.Remove(f.PasswordFile); err != nil {
		t.Fatal(err)
	}
	if _, _, err := mechanism.Authenticate(t.Context(), ""); err == nil {
		t.Error("without its file")
	}
}

// The flags about a store's files become parameters of its DSN.
func TestFileFlags(t *testing.T) {
	authority := enginetest.NewAuthority(t)
	cert, key := authority.Issue("keystone")
	password := write(t, "password", "s3cret")
	files := fmt.Sprintf(" --store-ca=%s --store-cert=%s --store-key=%s --store-password-file=%s", authority.CA, cert, key, password)
	for line, want := range map[string]string{
		"--store-dsn=postgres://db/keystone" + files:                                           "",
		"--store-dsn=postgres://a:26257,b:26257/keystone?application_name=x" + files:           "",
		"--store-dsn=postgres://db/keystone?sslmode=verify-full" + files:                       "",
		"--store-dsn=postgres://db/keystone?sslmode=disable" + files:                           "sslmode=disable, and the flags beside it want sslmode=verify-full",
		"--store-dsn=postgres://db/keystone?sslmode=disable --store-password-file=" + password: "",
		"--store-dsn=host=db --store-ca=" + authority.CA:                                       "must look like",
		"--store-dsn=postgres://db/keystone --store-ca=/nowhere":                               "no such file",
		"--store-dsn=postgres://db/keystone --store-ca=" + password:                            "has no certificate",
		"--store-dsn=postgres://db/keystone --store-cert=" + cert:                              "belong together",
		"--store-dsn=postgres://db/keystone --store-password-file=/nowhere":                    "no such file",
		"--store-dsn=postgres://db/keystone --store-password-file=" + write(t, "e", "\n"):      "is empty",
	} {
		out, err := runCLI(t, append([]string{"config", "print", "processor", "--brokers=a:9092"}, strings.Fields(line)...)...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", line, err, want)
		}
		if strings.Contains(out, "s3cret") || err == nil && !strings.Contains(out, url.QueryEscape(password)) {
			t.Errorf("%s: %s", line, out)
		}
	}
	out, err := runCLI(t, "config", "print", "sink", "--brokers=a:9092", "--clickhouse-dsn=clickhouse://ch:9440/keystone", "--clickhouse-ca="+authority.CA)
	if err != nil || !strings.Contains(out, "secure=true&sslrootcert=") && !strings.Contains(out, `secure=true\u0026sslrootcert=`) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestBrokerFlags(t *testing.T) {
	ca := enginetest.NewAuthority(t).CA
	password := write(t, "password", "s3cret")
	for line, want := range map[string]string{
		"":                    "",
		"--broker-tls":        "",
		"--broker-ca=" + ca:   "without --broker-tls",
		"--broker-user=a":     "without --broker-sasl",
		"--broker-sasl=plain": "needs --broker-user",
		"--broker-tls --broker-ca=" + ca + " --broker-sasl=scram-sha-256 --broker-user=a --broker-password-file=" + password: "",
		"--broker-sasl=plain --broker-user=a --broker-password-file=" + password:                                             "needs --broker-tls",
		"--broker-sasl=magic --broker-user=a --broker-password-file=" + password:                                             "give plain",
		"--broker-tls --broker-ca=" + password:                                                                               "has no certificate",
		"--broker-tls --broker-ca=/nowhere --broker-sasl=magic":                                                              "no such file", // and below, in one message
		"--broker-tls --broker-ca=/nowhere --broker-sasl=scram-sha-512":                                                      "needs --broker-user",
		"--broker-tls --broker-cert=" + ca:                                                                                   "--broker-cert and --broker-key",
	} {
		args := append([]string{"config", "print", "processor", "--store-dsn=postgres://x", "--brokers=a:9092"}, strings.Fields(line)...)
		out, err := runCLI(t, args...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
		if strings.Contains(out, "s3cret") {
			t.Errorf("%s: the password is shown: %s", line, out)
		}
	}
}
