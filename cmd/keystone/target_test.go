package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// In a container nobody may reap what was killed: it is dead all the same, and its dev.json says nothing.
func TestADeadDevIsToldSo(t *testing.T) {
	child := exec.Command("sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writeDevInfo(dir, &devInfo{Pid: child.Process.Pid}); err != nil {
		t.Fatal(err)
	}
	if _, err := readDevInfo(dir); err != nil {
		t.Errorf("while it runs: %v", err)
	}
	if err := child.Process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	var err error
	for begin := time.Now(); err == nil && time.Since(begin) < 10*time.Second; time.Sleep(time.Millisecond) { // polling the kernel
		_, err = readDevInfo(dir)
	}
	if err == nil || !strings.Contains(err.Error(), "has died") {
		t.Errorf("killed, and not waited for: %v", err)
	}
	_ = child.Wait()
	if _, err := readDevInfo(dir); err == nil || !strings.Contains(err.Error(), "has died") {
		t.Errorf("gone: %v", err)
	}
}
