package page

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	var asked []string
	h := Handler(Config{EdgeURL: "http://edge.example", TrackerKey: `ks_trk_"x`, Rows: func(_ context.Context, id string) ([]byte, error) {
		if asked = append(asked, id); len(asked) > 1 {
			return nil, errors.New("down")
		}
		return []byte(`[]`), nil
	}})
	const id = "0190c4a2-0000-4000-8000-00000000000a"
	for _, c := range []struct {
		path   string
		status int
		has    string
	}{
		{"/", 200, `src="http://edge.example/v1/js/tracker.js" data-key="ks_trk_&#34;x"`},
		{"/product/P-1", 200, "tracker.js"},
		{"/nowhere", 404, ""},
		{"/static/shop.js", 200, "keystone"},
		{"/static/shop.css", 200, "main"},
		{"/rows?anonymous_id=" + id, 200, "[]"},
		{"/rows?anonymous_id=" + id, 502, "does not answer"},
		{"/rows?anonymous_id=x'+OR+1", 400, "UUID"},
		{"/rows", 400, "UUID"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); c.path == "/" && !strings.Contains(policy, "script-src 'self' http://edge.example;") {
			t.Errorf("policy: %s", policy)
		}
	}
	if len(asked) != 2 || asked[0] != id {
		t.Errorf("asked for %q", asked)
	}
}
