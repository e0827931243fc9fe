package secret

import (
	"net/http"
	"net/url"
)

// Parameters of an address that are files. The first three are PostgreSQL's names.
const (
	paramCA       = "sslrootcert"
	paramCert     = "sslcert"
	paramKey      = "sslkey"
	ParamPassword = "password_file" // PostgreSQL's own is a table of passwords for servers
)

// Access is what proves who is who between a server and us.
type Access struct {
	TLS
	PasswordFile string
}

// Parameters are those of an address that name the files.
func (a Access) Parameters() url.Values {
	v := url.Values{}
	for name, path := range map[string]string{paramCA: a.CA, paramCert: a.Cert, paramKey: a.Key, ParamPassword: a.PasswordFile} {
		if path != "" {
			v.Set(name, path)
		}
	}
	return v
}

// Take takes the files out of an address's parameters, for drivers that do not know them.
func Take(v url.Values) Access {
	a := Access{TLS: TLS{CA: v.Get(paramCA), Cert: v.Get(paramCert), Key: v.Get(paramKey)}, PasswordFile: v.Get(ParamPassword)}
	for _, name := range []string{paramCA, paramCert, paramKey, ParamPassword} {
		v.Del(name)
	}
	return a
}

// Check reads every file once, and tells the first that cannot be used.
func (a Access) Check() error {
	if _, err := a.Config(); err != nil {
		return err
	}
	if a.PasswordFile == "" {
		return nil
	}
	_, err := Password(a.PasswordFile)
	return err
}

// Client speaks HTTP, and TLS where the address begins with https, with the files as they are at each connection.
func (t TLS) Client() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialTLSContext = t.Dial
	return &http.Client{Transport: transport}
}
