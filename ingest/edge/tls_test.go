package edge

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

// files are a certificate's, and what clients trust.
type files struct {
	t         testing.TB
	cert, key string
	roots     *x509.CertPool
}

func newFiles(t testing.TB) *files {
	t.Helper()
	dir := t.TempDir()
	return &files{t: t, cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key"), roots: x509.NewCertPool()}
}

// issue makes a certificate with a serial number and answers the two files' texts.
func (f *files) issue(serial int64) (cert, key []byte) {
	f.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		f.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		f.t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	f.roots.AppendCertsFromPEM(cert)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

func (f *files) write(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func newSecureRig(t testing.TB, f *files, more func(*Config)) *rig {
	t.Helper()
	r := newRig(t, options{edge: func(c *Config) {
		c.TLSCert, c.TLSKey, c.TLSPoll = f.cert, f.key, 2*time.Millisecond
		if more != nil {
			more(c)
		}
	}})
	r.url = "https://" + strings.TrimPrefix(r.url, "http://")
	return r
}

// client trusts the certificates issued so far.
func (f *files) client(keepAlive bool) *http.Client {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: f.roots.Clone()}, DisableKeepAlives: !keepAlive,
	}}
	f.t.Cleanup(c.CloseIdleConnections)
	return c
}

// The files are swapped one after the other while clients connect anew and others keep their
// connections: new connections get the new certificate, and no request fails.
func TestCertificateIsReplacedUnderLoad(t *testing.T) {
	f := newFiles(t)
	oldCert, oldKey := f.issue(1)
	newCert, newKey := f.issue(2)
	f.write(f.cert, oldCert)
	f.write(f.key, oldKey)
	r := newSecureRig(t, f, nil)

	var serial, sent atomic.Int64
	serial.Store(1)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 8 {
		client := f.client(i%2 == 0)
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				req, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/ingest", bytes.NewReader([]byte(page)))
				req.GetBody = nil
				req.Header.Set("X-API-Key", trackerKey)
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("%d", resp.StatusCode)
				}
				if i%2 == 1 {
					serial.Store(resp.TLS.PeerCertificates[0].SerialNumber.Int64())
				}
				sent.Add(1)
			}
		})
	}
	more := func() {
		from := sent.Load()
		until(t, "more was sent", func() bool { return sent.Load() > from+50 || t.Failed() })
	}
	more()
	f.write(f.cert, newCert) // it does not fit the key yet
	until(t, "half of a swap was noticed", func() bool { return r.metric("keystone_edge_certificate_failures_total") > 0 })
	more()
	f.write(f.key, newKey)
	until(t, "new connections get the new one", func() bool { return serial.Load() == 2 || t.Failed() })
	more()
	f.write(f.cert, []byte("nonsense"))
	before := r.metric("keystone_edge_certificate_failures_total")
	until(t, "nonsense was noticed", func() bool { return r.metric("keystone_edge_certificate_failures_total") > before })
	more()
	close(stop)
	clients.Wait()
	if n := r.metric("keystone_edge_certificate_reloads_total"); n != 1 {
		t.Errorf("%v reloads", n)
	}
	r.records(event.TopicEvents, int(sent.Load()))
}

// A file can be replaced between the look at it and its reading: the next look finds what is known already.
func TestCertificateReadAgainIsNoReplacement(t *testing.T) {
	f := newFiles(t)
	cert, key := f.issue(1)
	f.write(f.cert, cert)
	f.write(f.key, key)
	c, err := newCertificate(Config{TLSCert: f.cert, TLSKey: f.key}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(f.key, later, later); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if changed, err := c.load(); changed || err != nil {
			t.Errorf("the same certificate is a new one: %v, %v", changed, err)
		}
	}
	cert, key = f.issue(2)
	f.write(f.cert, cert)
	f.write(f.key, key)
	if changed, err := c.load(); !changed || err != nil {
		t.Errorf("another certificate is none: %v, %v", changed, err)
	}
}

func TestTLS(t *testing.T) {
	f := newFiles(t)
	cert, key := f.issue(1)
	f.write(f.cert, cert)
	f.write(f.key, key)
	r := newSecureRig(t, f, func(c *Config) { c.ReadTimeout, c.MaxConns = 2*time.Second, 4 })
	addr := strings.TrimPrefix(r.url, "https://")

	for version, want := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: f.roots, MinVersion: tls.VersionTLS10, MaxVersion: version})
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	until(t, "they are gone", func() bool { return r.s.listener.open() == 0 })

	// Who begins a handshake and does not go on is let go.
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	_, _ = silent.Write([]byte{22, 3, 1, 2, 0, 1})
	_ = silent.SetDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, silent); err != nil {
		t.Errorf("half a handshake: %v", err)
	}

	// A request that stops half way has its answer, also through TLS.
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: f.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: "+trackerKey+"\r\nContent-Length: 100\r\n\r\n{")
	_ = conn.SetDeadline(time.Now().Add(patience))
	text, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(text, []byte("HTTP/1.1 408 ")) {
		t.Errorf("a slow body: %q", text)
	}
}

func TestSettingsNameTheScheme(t *testing.T) {
	f := newFiles(t)
	cert, key := f.issue(1)
	f.write(f.cert, cert)
	f.write(f.key, key)
	r := newSecureRig(t, f, nil)
	r.client = f.client(true)
	a := r.do("GET", "/v1/projects/"+trackerKey+"/settings", nil)
	if a.status != 200 || !bytes.Contains(a.body, []byte(`"protocol":"https"`)) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestBadCertificateStopsTheStart(t *testing.T) {
	f := newFiles(t)
	s := bare(t)
	s.cfg.TLSCert, s.cfg.TLSKey = f.cert, f.key
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "TLS certificate") {
		t.Errorf("got %v", err)
	}
}
