package main

import (
	"fmt"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints the module's version and the commit it was built from.
func (versionCmd) Run(a *app) error {
	version, commit := build()
	_, err := fmt.Fprintf(a.stdout, "keystone %s (commit %s)\n", version, commit)
	return err
}

// release is the version of a build outside of git, as images are: -ldflags "-X main.release=v1.2.3".
var release string

// build is what the linker has written into this binary.
func build() (version, commit string) {
	version, commit = "devel", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			version = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	if release != "" {
		version = release
	}
	return version, commit
}
