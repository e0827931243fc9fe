package secret_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
	"github.com/keystone-cdp/keystone/internal/secret"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPassword(t *testing.T) {
	for text, want := range map[string]string{"s3cret": "s3cret", "s3cret\n": "s3cret", "s3cret\r\n": "s3cret", " with spaces \n": " with spaces ", "two\nlines\n": "two\nlines"} {
		if got, err := secret.Password(file(t, text)); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"": "is empty", "\n": "is empty", strings.Repeat("x", 5000): "longer than any"} {
		if got, err := secret.Password(file(t, text)); got != "" || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := secret.Password(t.TempDir()); err == nil {
		t.Error("a folder is a password")
	}
}

func TestParameters(t *testing.T) {
	want := secret.Access{TLS: secret.TLS{CA: "ca", Cert: "cert", Key: "key"}, PasswordFile: "password"}
	v := want.Parameters()
	v.Set("other", "stays")
	if got := secret.Take(v); got != want {
		t.Errorf("%+v", got)
	}
	if v.Encode() != "other=stays" {
		t.Errorf("left: %s", v.Encode())
	}
	if got := secret.Take(url.Values{}); got.Named() || len(got.Parameters()) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
}

// What is in the files holds from the next connection on.
func TestClientReadsAgain(t *testing.T) {
	old, next := enginetest.NewAuthority(t), enginetest.NewAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = w.Write([]byte(r.TLS.PeerCertificates[0].Issuer.CommonName)) // the client tells
	}))
	server.TLS = next.Server("127.0.0.1")
	server.StartTLS()
	defer server.Close()
	cert, key := old.Issue("client")
	files := secret.TLS{CA: file(t, read(t, old.CA)), Cert: file(t, read(t, cert)), Key: file(t, read(t, key))}
	client := files.Client()
	if _, err := client.Get(server.URL); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a server of another authority: %v", err)
	}
	replace(t, files.CA, next.CA)
	if _, err := client.Get(server.URL); err == nil {
		t.Error("a client of another authority was let in")
	}
	cert, key = next.Issue("client")
	replace(t, files.Cert, cert)
	if _, err := client.Get(server.URL); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("half a change: %v", err)
	}
	replace(t, files.Key, key)
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func replace(t *testing.T, path, from string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(read(t, from)), 0o600); err != nil {
		t.Fatal(err)
	}
}
