package enginetest

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// A run on CockroachDB that silently was one on PostgreSQL, or none, would prove nothing.
func TestAbsentCockroachIsNotPassedOver(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "cockroach")
	t.Setenv(cockroachVariable, absent)
	_, _, err := startStore(t.Context(), Folder(t))
	if err == nil || errors.Is(err, embedded.ErrNotInstalled) || !strings.Contains(err.Error(), absent) {
		t.Errorf("start without the binary: %v", err)
	}
}
