package enginetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Authority issues certificates that are good for an hour.
type Authority struct {
	CA string // file of its own certificate, PEM

	tb   testing.TB
	dir  string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes one, whose files go with the test.
func NewAuthority(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, dir: tb.TempDir()}
	// A name of its own: two of one name are taken for one whose signature is wrong.
	a.root = &x509.Certificate{Subject: pkix.Name{CommonName: "authority " + rand.Text()}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.CA, _, a.key = a.sign(a.root, nil, "ca")
	return a
}

// Issue makes a certificate for an account's or a server's name, good for the hosts given, and answers its files.
func (a *Authority) Issue(name string, hosts ...string) (cert, key string) {
	a.tb.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, key, _ = a.sign(template, a.root, name)
	return cert, key
}

// sign writes a certificate and its key. Without a parent it is signed by itself.
func (a *Authority) sign(template, parent *x509.Certificate, name string) (certFile, keyFile string, key *ecdsa.PrivateKey) {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	a.must(err)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer := a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	a.must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	dir, err := os.MkdirTemp(a.dir, name+"-")
	a.must(err)
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	a.must(os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	return certFile, keyFile, key
}

func (a *Authority) must(err error) {
	a.tb.Helper()
	if err != nil {
		a.tb.Fatal(err)
	}
}

// Server is the configuration of a server on the hosts, which wants a certificate of this authority's from its
// clients too.
func (a *Authority) Server(hosts ...string) *tls.Config {
	a.tb.Helper()
	pair, err := tls.LoadX509KeyPair(a.Issue("server", hosts...))
	a.must(err)
	text, err := os.ReadFile(a.CA)
	a.must(err)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(text)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
}

// Front speaks TLS on loopback for a server that does not, and answers its port. Its configuration may be
// exchanged by GetConfigForClient. It ends with the test.
func Front(tb testing.TB, config *tls.Config, backend string) (port string) {
	tb.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		tb.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{} // nil once the test is over
	add := func(c net.Conn) bool {
		mu.Lock()
		defer mu.Unlock()
		if open == nil {
			_ = c.Close()
			return false
		}
		open[c] = true
		return true
	}
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			if !add(client) {
				return
			}
			all.Go(func() {
				defer client.Close() //nolint:errcheck // the other side tells
				if client.(*tls.Conn).HandshakeContext(tb.Context()) != nil {
					return
				}
				server, err := new(net.Dialer).DialContext(tb.Context(), "tcp", backend)
				if err != nil || !add(server) {
					return
				}
				defer server.Close() //nolint:errcheck // as above
				all.Go(func() {
					_, _ = io.Copy(server, client)
					_ = server.Close()
				})
				_, _ = io.Copy(client, server)
			})
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		open = nil
		mu.Unlock()
		all.Wait()
	})
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}
