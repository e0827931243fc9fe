// Package resolved_test holds the view events_resolved to the processor's reference model, and measures
// it against the same questions asked of the table events.
package resolved_test

import (
	"os"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }
