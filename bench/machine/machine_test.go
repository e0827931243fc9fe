package machine

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestLineNamesCoresAndKernel(t *testing.T) {
	line := Line()
	for _, want := range []string{" cores", "Linux ", runtime.Version()} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
}

// Both clocks look at this process: what one says lies between two looks at the other.
func TestClocksAgree(t *testing.T) {
	start := CPU()
	for sum := 1; CPU()-start < 50*time.Millisecond; {
		sum = sum*31 + 7
		runtime.KeepAlive(sum)
	}
	before := CPU()
	other, err := ProcessCPU(os.Getpid())
	after := CPU()
	if err != nil {
		t.Fatal(err)
	}
	if other < before-time.Millisecond || other > after+time.Millisecond {
		t.Errorf("the process took %s to %s by its own account, %s by the system's", before, after, other)
	}
	if _, err := ProcessCPU(-1); err == nil {
		t.Error("no error about a process that cannot be")
	}
}

// A child's time counts while it runs, and after it has ended.
func TestChildrenCount(t *testing.T) {
	cpu := func() time.Duration {
		t.Helper()
		d, err := ChildrenCPU()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := cpu()
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for cpu() < before+5*clockTick {
		if time.Now().After(deadline) {
			t.Fatal("the child's time does not grow")
		}
	}
	running := cpu()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	if ended := cpu(); ended < running {
		t.Errorf("%s once it has ended, %s before", ended, running)
	}
}
