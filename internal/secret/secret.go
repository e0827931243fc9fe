// Package secret reads, from files, what a connection is made with: passwords, certificates and their keys, and
// the authorities a server's certificate may come from. They are read at every connection, so that what is put
// into the files holds from the next one on, and are not kept. What they hold is never part of an error.
//
// It starts nothing and has nothing to be shut down.
package secret

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

const (
	maxPassword = 4 << 10         // bytes of a password's file: a larger one is some other file
	dialTimeout = 5 * time.Second // for a connection, its TLS included
)

// Password is what a file holds, without the end of its line.
func Password(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read from
	text, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("read a password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	switch {
	case len(text) > maxPassword:
		return "", fmt.Errorf("read a password: %s is longer than any", path)
	case password == "":
		return "", fmt.Errorf("read a password: %s is empty", path)
	}
	return password, nil
}

// TLS names the files of a connection to a server. All may be empty: the server's certificate must then come
// from one of the system's authorities, and we show none. It is always verified.
type TLS struct {
	CA   string // the authorities that the server's certificate may come from, PEM
	Cert string // a certificate to show, and its chain, PEM
	Key  string // its key, PEM
	Name string // the server's, where it is not the address's

	Timeout time.Duration // of Dial; dialTimeout where 0
}

// Named tells whether any file is.
func (t TLS) Named() bool { return t.CA+t.Cert+t.Key != "" }

// Config is what the files hold now.
func (t TLS) Config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the authorities: %s has no certificate", t.CA)
		}
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return config, nil
	case t.Cert == "" || t.Key == "":
		return nil, errors.New("a certificate and its key belong together: one of them is not named")
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// Dial connects, with the files as they are now.
func (t TLS) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	config, err := t.Config()
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: config, NetDialer: &net.Dialer{Timeout: cmp.Or(t.Timeout, dialTimeout)}}
	return dialer.DialContext(ctx, network, addr)
}
