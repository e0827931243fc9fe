package key

import (
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// FuzzCredentials: the key is found where the standard library finds it, and a strange header is a
// strange key, never a crash or another source's key.
func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"Basic a3NfdHJrXzE6", "Bearer ks_int_1", "basic Og==", "Basic", "Basic " + strings.Repeat("A", 400), "Digest x"} {
		f.Add(s, "id:ks_int_2")
	}
	f.Fuzz(func(t *testing.T, authorization, writeKey string) {
		var h fasthttp.RequestHeader
		h.Set("Authorization", authorization)
		var scratch Scratch
		got := string(FromHeader(&h, &scratch))
		std := http.Request{Header: http.Header{"Authorization": {string(h.Peek("Authorization"))}}}
		if user, password, ok := std.BasicAuth(); ok && len(user)+len(password) < MaxBytes-8 && !strings.ContainsAny(authorization, "\r\n") {
			want := user
			if want == "" {
				want = password
			}
			if got != want {
				t.Fatalf("%q: %q, net/http has %q", authorization, got, want)
			}
		}
		if k := FromWriteKey([]byte(writeKey)); !strings.Contains(writeKey, string(k)) {
			t.Fatalf("%q: %q", writeKey, k)
		}
		_ = newGrant(Key{Origins: []string{authorization}}, nil).AllowsOrigin([]byte(writeKey))
	})
}
