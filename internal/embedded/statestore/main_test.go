package statestore_test

import (
	"os"
	"testing"

	"github.com/keystone-cdp/keystone/internal/embedded/enginetest"
)

func TestMain(m *testing.M) { os.Exit(enginetest.Main(m)) }
