package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// enginesFolder is where "make setup" installs the engines, below the
// repository's root.
var enginesFolder = filepath.Join("deploy", "engines", "node_modules")

const launcherName = "keystone-clickhouse"

// ErrNotInstalled says that an engine or the launcher is absent from this
// machine. A test without its engine may skip on it.
var ErrNotInstalled = errors.New("not installed")

// EnginesDir finds the folder of the installed engines (an npm node_modules).
// An explicit folder is only checked; without one ("") it is looked for from
// the executable, as <repo>/bin/keystone is laid out, and then from the working
// folder upwards, so that a test finds it from any package.
func EnginesDir(explicit string) (string, error) {
	if explicit != "" {
		if isDir(explicit) {
			return filepath.Abs(explicit)
		}
		return "", fmt.Errorf("engines folder %s %w: run \"make setup\"", explicit, ErrNotInstalled)
	}
	if exe, err := os.Executable(); err == nil {
		if dir := filepath.Join(filepath.Dir(exe), "..", enginesFolder); isDir(dir) {
			return dir, nil
		}
	}
	if dir := searchUp(enginesFolder, isDir); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("engines %w (no %s here or above): run \"make setup\"", ErrNotInstalled, enginesFolder)
}

// ClickHouseLib is the ClickHouse engine's library in the engines folder.
func ClickHouseLib(enginesDir string) (string, error) {
	path := filepath.Join(enginesDir, "@chdb", "lib-linux-x64-gnu", "libchdb.so")
	if !isFile(path) {
		return "", fmt.Errorf("clickhouse library %s %w: run \"make setup\"", path, ErrNotInstalled)
	}
	return path, nil
}

// Launcher finds the keystone-clickhouse binary: the explicit path, else beside
// this executable, else in bin/ of the working folder or of one above it.
func Launcher(explicit string) (string, error) {
	if explicit != "" {
		if isFile(explicit) {
			return filepath.Abs(explicit)
		}
		return "", fmt.Errorf("launcher %s %w: run \"make build\"", explicit, ErrNotInstalled)
	}
	if exe, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(exe), launcherName); isFile(path) {
			return path, nil
		}
	}
	if path := searchUp(filepath.Join("bin", launcherName), isFile); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("launcher %s %w: run \"make build\"", launcherName, ErrNotInstalled)
}

// RepositoryRoot is the nearest folder at or above the working folder that
// holds go.mod; "" when there is none.
func RepositoryRoot() string {
	if mod := searchUp("go.mod", isFile); mod != "" {
		return filepath.Dir(mod)
	}
	return ""
}

// searchUp looks for rel in the working folder and every folder above it.
func searchUp(rel string, found func(string) bool) string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if path := filepath.Join(dir, rel); found(path) {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
