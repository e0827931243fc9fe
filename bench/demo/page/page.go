// Package page is the demo shop: a small site with the tracker's one tag in it, and beside it what
// became of each event, in the browser and in ClickHouse. It is served on its own port, so that the
// tracker works across origins as it does on a customer's site. It has no goroutine; whoever serves
// the handler stops it.
package page

import (
	"context"
	"embed"
	"html/template"
	"net/http"
	"regexp"
)

//go:embed static
var static embed.FS

var index = template.Must(template.ParseFS(static, "static/index.html"))

// Config is where the pipeline is.
type Config struct {
	EdgeURL    string
	TrackerKey string
	// Rows answers a JSON array of what ClickHouse has of a device: message_id, profile_id and identity.
	Rows func(ctx context.Context, anonymousID string) ([]byte, error)
}

// uuid is all the console asks for; anything else never reaches a statement.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Handler serves the shop and its console.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	// As strict a policy as a shop can have: the page shows that the tracker lives with it.
	policy := "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self' " + c.EdgeURL +
		"; connect-src 'self' " + c.EdgeURL + "; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
	shop := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", policy)
		_ = index.Execute(w, c) // the visitor has gone
	}
	// The shop is an application of one page: its addresses are all the same document.
	mux.HandleFunc("GET /{$}", shop)
	mux.HandleFunc("GET /product/{id}", shop)
	mux.HandleFunc("GET /cart", shop)
	mux.HandleFunc("GET /thanks", shop)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /rows", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("anonymous_id")
		if !uuid.MatchString(id) {
			http.Error(w, "anonymous_id must be a UUID", http.StatusBadRequest)
			return
		}
		rows, err := c.Rows(r.Context(), id)
		if err != nil {
			http.Error(w, "ClickHouse does not answer", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(rows) // the visitor has gone
	})
	return mux
}
