package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

// selfSigned is a certificate for 127.0.0.1, and its file.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "log"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSecuredLog runs every role against a log that speaks TLS only and wants a password, and the doctor
// and the other commands that use the log. Whoever has another authority or another password gets nothing.
func TestSecuredLog(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	certificate, ca := selfSigned(t)
	log, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}),
		kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "keystone", "s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	db := enginetest.ClickHouse(t)
	in := &installation{t: t, bin: binary(t), store: enginetest.Store(t), columns: db.NativeDSN,
		brokers: strings.Join(log.ListenAddrs(), ","), client: &dev{devInfo: devInfo{ClickHouseURL: columnsURL(t, db)}}}
	password := write(t, "password", "s3cret\n")
	in.env = []string{"KEYSTONE_BROKER_TLS=true", "KEYSTONE_BROKER_CA=" + ca, "KEYSTONE_BROKER_SASL=scram-sha-512",
		"KEYSTONE_BROKER_USER=keystone", "KEYSTONE_BROKER_PASSWORD_FILE=" + password}
	in.run("migrate")
	keys := fields(t, in.run("keys", "init", "--tenant", "shop", "--file", filepath.Join(t.TempDir(), "keys.json")))
	in.client.TrackerKey = keys["tracker_key"].(string)
	edge := in.start("edge listens", "edge", "--listen", "127.0.0.1:0", "--spool-dir", filepath.Join(t.TempDir(), "spool"))
	in.start("running", "sink")
	in.start("running", "processor")
	in.client.EdgeURL = "http://" + edge.logged("address")
	if err := sendOne(t.Context(), in.client, rolesEvent(1)); err != nil {
		t.Fatal(err)
	}
	in.run("lag", "--wait", "60s")
	in.want("1", "SELECT count() FROM events_resolved")
	in.stoppedAt(in.examine(), "")
	in.run("topics", "list")
	in.run("identity", "simulate", "--tenant", "shop", "--settings", write(t, "settings.json", `{}`))

	_, other := selfSigned(t)
	for want, wrong := range map[string][]string{
		"certificate": {"--broker-ca", other},
		"no answer":   {"--broker-password-file", write(t, "wrong", "guess")},
	} {
		out, err := in.command(append([]string{"topics", "check", "--timeout", "5s"}, wrong...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "s3cret") {
			t.Errorf("%v: %v: %s", wrong, err, out)
		}
	}
}

func TestBrokerFlags(t *testing.T) {
	_, ca := selfSigned(t)
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
