package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// brokerFlags say how the log is to be spoken to. The two stores have theirs in their DSNs.
type brokerFlags struct {
	BrokerTLS          bool   `name:"broker-tls" help:"Speak TLS to the log. Its certificate is always verified." env:"KEYSTONE_BROKER_TLS"`
	BrokerCA           string `name:"broker-ca" help:"File of the authorities that the log's certificate may come from, PEM; the system's where absent." env:"KEYSTONE_BROKER_CA" type:"path" placeholder:"FILE"`
	BrokerCert         string `help:"File of a certificate to show to the log, PEM." env:"KEYSTONE_BROKER_CERT" type:"path" placeholder:"FILE"`
	BrokerKey          string `help:"File of its key, PEM." env:"KEYSTONE_BROKER_KEY" type:"path" placeholder:"FILE"`
	BrokerSASL         string `name:"broker-sasl" help:"How to log in to the log: plain, scram-sha-256 or scram-sha-512." env:"KEYSTONE_BROKER_SASL" placeholder:"MECHANISM"`
	BrokerUser         string `help:"The account." env:"KEYSTONE_BROKER_USER" placeholder:"NAME"`
	BrokerPasswordFile string `help:"File of its password." env:"KEYSTONE_BROKER_PASSWORD_FILE" type:"path" placeholder:"FILE"`

	access []kgo.Opt // after open
}

// open reads the files. It lists every broken rule at once.
func (f *brokerFlags) open() error {
	config, wrongTLS := f.tls()
	mechanism, wrongSASL := f.sasl()
	if err := errors.Join(wrongTLS, wrongSASL); err != nil {
		return err
	}
	f.access = nil
	if config != nil {
		f.access = append(f.access, kgo.DialTLSConfig(config))
	}
	if mechanism != nil {
		f.access = append(f.access, kgo.SASL(mechanism))
	}
	return nil
}

func (f *brokerFlags) tls() (*tls.Config, error) {
	if !f.BrokerTLS {
		if f.BrokerCA+f.BrokerCert+f.BrokerKey != "" {
			return nil, errors.New("--broker-ca, --broker-cert and --broker-key are of no use without --broker-tls")
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.BrokerCA != "" {
		text, err := os.ReadFile(f.BrokerCA)
		if err != nil {
			return nil, fmt.Errorf("--broker-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--broker-ca: %s has no certificate", f.BrokerCA)
		}
	}
	if f.BrokerCert+f.BrokerKey != "" {
		pair, err := tls.LoadX509KeyPair(f.BrokerCert, f.BrokerKey)
		if err != nil {
			return nil, fmt.Errorf("--broker-cert and --broker-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func (f *brokerFlags) sasl() (sasl.Mechanism, error) {
	if f.BrokerSASL == "" {
		if f.BrokerUser+f.BrokerPasswordFile != "" {
			return nil, errors.New("--broker-user and --broker-password-file are of no use without --broker-sasl")
		}
		return nil, nil
	}
	if f.BrokerUser == "" || f.BrokerPasswordFile == "" {
		return nil, errors.New("--broker-sasl needs --broker-user and --broker-password-file")
	}
	text, err := os.ReadFile(f.BrokerPasswordFile)
	if err != nil {
		return nil, fmt.Errorf("--broker-password-file: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	switch f.BrokerSASL {
	case "plain":
		if !f.BrokerTLS {
			return nil, errors.New("--broker-sasl plain sends the password as it is: it needs --broker-tls")
		}
		return plain.Auth{User: f.BrokerUser, Pass: password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: f.BrokerUser, Pass: password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: f.BrokerUser, Pass: password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("--broker-sasl %s: give plain, scram-sha-256 or scram-sha-512", f.BrokerSASL)
}
