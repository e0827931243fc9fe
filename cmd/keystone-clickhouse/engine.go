package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"
)

// engine holds the functions of libchdb.so that a server needs.
type engine struct {
	cmdline     func(argc int, argv **byte) uintptr
	resultError func(result uintptr) *byte
}

// loadEngine opens the library and takes its signal handlers out of our way.
func loadEngine(lib string) (*engine, error) {
	handle, err := purego.Dlopen(lib, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load library: %w", err)
	}
	for _, name := range []string{"chdb_set_signal_handlers_enabled", "chdb_query_cmdline", "chdb_result_error"} {
		if _, err := purego.Dlsym(handle, name); err != nil {
			return nil, fmt.Errorf("library lacks %s (libchdb 26.7 or later is needed): %w", name, err)
		}
	}
	// Before any other call: with the engine's handlers in place a Go nil
	// dereference kills the process, and SIGTERM does not reach Go.
	var enableSignalHandlers func(enabled int32)
	purego.RegisterLibFunc(&enableSignalHandlers, handle, "chdb_set_signal_handlers_enabled")
	enableSignalHandlers(0)

	e := &engine{}
	purego.RegisterLibFunc(&e.cmdline, handle, "chdb_query_cmdline")
	purego.RegisterLibFunc(&e.resultError, handle, "chdb_result_error")
	return e, nil
}

// serve runs the engine's command-line session, which opens both listeners and
// then sits at its prompt. It returns when the session ends.
func (e *engine) serve(opt options) error {
	args := engineArgs(opt)
	argv := make([]*byte, len(args)+1)
	for i, arg := range args {
		buf := append([]byte(arg), 0)
		argv[i] = &buf[0]
	}
	result := e.cmdline(len(args), &argv[0])
	runtime.KeepAlive(argv)
	if result == 0 {
		return nil
	}
	if text := cString(e.resultError(result)); text != "" {
		return fmt.Errorf("engine: %s", strings.TrimSpace(text))
	}
	return nil
}

// engineArgs is the command line of the engine's session.
func engineArgs(opt options) []string {
	listen := []string{
		"SELECT file(" + quoteSQL(filepath.Join(opt.dataDir, gateFile)) + ")", // see enterNowhere
		"SYSTEM START LISTEN HTTP",
		"SYSTEM START LISTEN TCP",
		// Plain output would stay in the library's result buffer till the end.
		"SELECT getServerPort('http_port'), getServerPort('tcp_port') INTO OUTFILE " +
			quoteSQL(opt.portsFile) + " FORMAT TSV",
	}
	return []string{
		"clickhouse",
		"--path=" + opt.dataDir,
		"--config-file=" + opt.configFile, // else the engine takes any config.xml it finds
		"--listen_host", "127.0.0.1",
		"--http_port", strconv.Itoa(opt.httpPort),
		"--tcp_port", strconv.Itoa(opt.tcpPort),
		// Interactive, on a terminal: otherwise the engine installs a handler
		// that ends the process on any exception in a connection, and a few
		// random bytes on a port kill it (ClickHouse issue 115666).
		"--interactive",
		// Never /dev/null: on exit the engine sets the file's mode to 0600.
		"--history_file=" + filepath.Join(opt.dataDir, "history"),
		"--disable_suggestion",
		"--progress=off",
		"--highlight=0",
		"--enable-progress-table-toggle=0",
		"--log-level=error", // logger.level of the config has no effect; the default is trace
		"--query", strings.Join(listen, "; "),
	}
}

func quoteSQL(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// cString copies a C string; nil gives "".
func cString(p *byte) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
