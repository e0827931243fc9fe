package sql

import (
	"os"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }

// freshStore is an empty database.
func freshStore(tb testing.TB) string { return enginetest.Store(tb) }
