package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/keystone-cdp/keystone/internal/secret"
)

// fileFlags are the files that prove who is who between a server and us. They are read again at each connection.
type fileFlags struct {
	CA           string `name:"ca" help:"File of the authorities that its certificate may come from, PEM; the system's where absent." env:"CA" type:"path" placeholder:"FILE"`
	Cert         string `help:"File of a certificate to show to it, PEM." env:"CERT" type:"path" placeholder:"FILE"`
	Key          string `help:"File of that certificate's key, PEM." env:"KEY" type:"path" placeholder:"FILE"`
	PasswordFile string `help:"File of the account's password." env:"PASSWORD_FILE" type:"path" placeholder:"FILE"`
}

func (f fileFlags) access() secret.Access {
	return secret.Access{TLS: secret.TLS{CA: f.CA, Cert: f.Cert, Key: f.Key}, PasswordFile: f.PasswordFile}
}

// addTo puts the files into a DSN, which is what the stages and the drivers read, with the parameter that switches
// TLS on with all its checks. Of the server, what is the flags' prefix.
func (f fileFlags) addTo(dsn *string, server, tlsOn, tlsValue string) error {
	access := f.access()
	if err := access.Check(); err != nil {
		return fmt.Errorf("--%s-ca, --%[1]s-cert, --%[1]s-key, --%[1]s-password-file: %w", server, err)
	}
	parameters := access.Parameters()
	if access.Named() {
		parameters.Set(tlsOn, tlsValue)
	}
	if len(parameters) == 0 {
		return nil
	}
	address, query, _ := strings.Cut(*dsn, "?")
	if !strings.Contains(address, "://") {
		return fmt.Errorf("--%s-dsn must look like %[1]s://user@host:port/database where other flags name files", server)
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("--%s-dsn: its parameters cannot be read", server) // the cause may quote a password
	}
	for name := range parameters {
		if given.Has(name) && given.Get(name) != parameters.Get(name) {
			return fmt.Errorf("--%[1]s-dsn has %[2]s=%[3]s, and the flags beside it want %[2]s=%[4]s: say it in one place",
				server, name, given.Get(name), parameters.Get(name))
		}
		given.Set(name, parameters.Get(name))
	}
	*dsn = address + "?" + given.Encode()
	return nil
}

// brokerFlags say how the log is to be spoken to.
type brokerFlags struct {
	TLS       bool   `name:"tls" help:"Speak TLS to the log. Its certificate is always verified." env:"TLS"`
	SASL      string `name:"sasl" help:"How to log in to the log: plain, scram-sha-256 or scram-sha-512." env:"SASL" placeholder:"MECHANISM"`
	User      string `help:"The account." env:"USER" placeholder:"NAME"`
	fileFlags `embed:""`

	options []kgo.Opt // after open
}

// open reads the files. It lists every broken rule at once.
func (f *brokerFlags) open() error {
	dialer, wrongTLS := f.dialer()
	mechanism, wrongSASL := f.mechanism()
	if err := errors.Join(wrongTLS, wrongSASL); err != nil {
		return err
	}
	f.options = nil
	if dialer != nil {
		f.options = append(f.options, dialer)
	}
	if mechanism != nil {
		f.options = append(f.options, kgo.SASL(mechanism))
	}
	return nil
}

func (f *brokerFlags) dialer() (kgo.Opt, error) {
	files := f.access().TLS
	if !f.TLS {
		if files.Named() {
			return nil, errors.New("--broker-ca, --broker-cert and --broker-key are of no use without --broker-tls")
		}
		return nil, nil
	}
	if _, err := files.Config(); err != nil {
		return nil, fmt.Errorf("--broker-ca, --broker-cert and --broker-key: %w", err)
	}
	return kgo.Dialer(files.Dial), nil
}

func (f *brokerFlags) mechanism() (sasl.Mechanism, error) {
	if f.SASL == "" {
		if f.User+f.PasswordFile != "" {
			return nil, errors.New("--broker-user and --broker-password-file are of no use without --broker-sasl")
		}
		return nil, nil
	}
	if f.User == "" || f.PasswordFile == "" {
		return nil, errors.New("--broker-sasl needs --broker-user and --broker-password-file")
	}
	if _, err := secret.Password(f.PasswordFile); err != nil {
		return nil, fmt.Errorf("--broker-password-file: %w", err)
	}
	user, file := f.User, f.PasswordFile
	scrambled := func(context.Context) (scram.Auth, error) {
		password, err := secret.Password(file)
		return scram.Auth{User: user, Pass: password}, err
	}
	switch f.SASL {
	case "plain":
		if !f.TLS {
			return nil, errors.New("--broker-sasl plain sends the password as it is: it needs --broker-tls")
		}
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := secret.Password(file)
			return plain.Auth{User: user, Pass: password}, err
		}), nil
	case "scram-sha-256":
		return scram.Sha256(scrambled), nil
	case "scram-sha-512":
		return scram.Sha512(scrambled), nil
	}
	return nil, fmt.Errorf("--broker-sasl %s: give plain, scram-sha-256 or scram-sha-512", f.SASL)
}
