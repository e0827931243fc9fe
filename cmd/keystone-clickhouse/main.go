// Command keystone-clickhouse runs the ClickHouse engine of libchdb.so as a
// server: its own HTTP and native-TCP listeners on loopback, in a process of
// its own.
//
// It is the only program of the project that binds the library (with purego),
// because a binary that imports purego is dynamically linked; keystone itself
// stays static, and a crash of the engine takes only this process.
//
// internal/embedded/clickhouse writes the configuration, starts this program
// and restarts it when it dies. The program ends when it is told to (SIGTERM,
// SIGINT, SIGHUP), when its parent is gone (--parent-pipe), or when the engine
// itself ends.
//
// Exit status: 0 left in good order, 1 any failure, 2 bad flags, 76 the data
// folder is in use by another server; death by SIGKILL when the engine did not
// leave in time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const (
	exitFailure = 1
	exitFlags   = 2
	// exitFolderLocked is also the engine's error code for it.
	exitFolderLocked = 76
)

// options are the flags of one run.
type options struct {
	lib          string // path of libchdb.so
	dataDir      string // the engine's --path
	configFile   string // config.xml
	httpPort     int    // 0: any free port
	tcpPort      int    // 0: any free port
	portsFile    string // where the two real ports are written, tab-separated
	verifiedFile string // remembers that this very library was checked
	anyLib       bool   // skip the check of the library's sha256
	parentPipe   bool   // leave when stdin reaches EOF
}

func init() {
	// The engine wants to live on the main thread, and main runs it there.
	runtime.LockOSThread()
}

func main() {
	opt, err := parseFlags(os.Args[1:])
	if err != nil {
		os.Exit(exitFlags)
	}
	if err := run(opt); err != nil {
		fmt.Fprintln(os.Stderr, "keystone-clickhouse:", err)
		if errors.Is(err, errFolderLocked) {
			os.Exit(exitFolderLocked)
		}
		os.Exit(exitFailure)
	}
}

func parseFlags(args []string) (options, error) {
	var opt options
	fs := flag.NewFlagSet("keystone-clickhouse", flag.ContinueOnError)
	fs.StringVar(&opt.lib, "lib", "", "path of libchdb.so")
	fs.StringVar(&opt.dataDir, "data-dir", "", "the engine's data folder; created when absent")
	fs.StringVar(&opt.configFile, "config-file", "", "the server's config.xml")
	fs.IntVar(&opt.httpPort, "http-port", 0, "port of the HTTP interface on 127.0.0.1; 0: any free one")
	fs.IntVar(&opt.tcpPort, "tcp-port", 0, "port of the native interface on 127.0.0.1; 0: any free one")
	fs.StringVar(&opt.portsFile, "ports-file", "", "file that receives both ports once they listen: HTTP, tab, native (default: ports.tsv in the data folder)")
	fs.StringVar(&opt.verifiedFile, "verified-file", "", "file that remembers the checked library, to hash it once only (default: lib.verified in the data folder)")
	fs.BoolVar(&opt.anyLib, "any-lib", false, "accept a libchdb.so other than the one this release was tested with")
	fs.BoolVar(&opt.parentPipe, "parent-pipe", false, "stdin is a pipe held open by the parent: leave when it closes")
	if err := fs.Parse(args); err != nil {
		return opt, err
	}
	if opt.lib == "" || opt.dataDir == "" || opt.configFile == "" {
		err := errors.New("--lib, --data-dir and --config-file are required")
		fmt.Fprintln(fs.Output(), "keystone-clickhouse:", err)
		return opt, err
	}
	if err := embedded.Absolute(&opt.lib, &opt.dataDir, &opt.configFile, &opt.portsFile, &opt.verifiedFile); err != nil {
		return opt, err
	}
	if opt.portsFile == "" {
		opt.portsFile = filepath.Join(opt.dataDir, "ports.tsv")
	}
	if opt.verifiedFile == "" {
		opt.verifiedFile = filepath.Join(opt.dataDir, "lib.verified")
	}
	return opt, nil
}

// run prepares the data folder, loads the engine and stays in it until it ends.
func run(opt options) error {
	syscall.Umask(0o077) // whatever the engine writes is ours alone
	// A parent that died leaves broken pipes behind: an error line of the
	// engine must not kill it in the middle of an insert.
	signal.Ignore(syscall.SIGPIPE)

	if err := os.MkdirAll(opt.dataDir, 0o700); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	if err := checkFolderFree(opt.dataDir); err != nil {
		return err
	}
	if !opt.anyLib {
		if err := verifyLib(opt.lib, opt.verifiedFile); err != nil {
			return err
		}
	}
	if err := writeSystemDatabase(opt.dataDir); err != nil {
		return err
	}
	if err := os.Remove(opt.portsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old ports file: %w", err)
	}

	engine, err := loadEngine(opt.lib)
	if err != nil {
		return err
	}
	if err := enterNowhere(opt.dataDir); err != nil {
		return err
	}
	go func() {
		if err := openGate(opt.dataDir); err != nil {
			fmt.Fprintln(os.Stderr, "keystone-clickhouse:", err)
			os.Exit(exitFailure) // the engine waits at the gate: it has taken nothing yet
		}
	}()
	prompt, parent, err := openPrompt()
	if err != nil {
		return err
	}
	leave := newLeaver(prompt)
	leave.onSignals()
	if opt.parentPipe {
		leave.onEOF(parent)
	}
	err = engine.serve(opt)
	if err == nil && !leave.asked() {
		err = errors.New("engine ended by itself") // it has said why on stderr
	}
	return err
}
