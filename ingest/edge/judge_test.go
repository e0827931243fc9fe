package edge

import (
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
)

// Who misspells a kind, or lacks a tenant's, is told so: "stands for nobody" sent them to the value.
func TestIdentityOfNoKindIsToldSo(t *testing.T) {
	var j judge
	g := key.Grant{}
	g.Settings = event.DefaultSettings()
	for _, identity := range []string{`{"mail":"ann@example.com"}`, `{"Email":"ann@example.com"}`, `{"phone":"12"}`} {
		err := j.judge([]byte(`{"event_type":"page","identity":`+identity+`}`), false, &g, event.DefaultLimits())
		if err == nil || err.Field != "identity" || !strings.Contains(err.Message, "of no kind the tenant has") {
			t.Errorf("%s: %+v", identity, err)
		}
	}
}
