package largepage

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

func TestLargePagesAreAskedFor(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("the kernel has none")
	}
	table := Make[uint64](1 << 20)
	for i := range table {
		table[i]++ // it is memory like other
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	where, inside, flags := uintptr(unsafe.Pointer(&table[len(table)/2])), false, ""
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= where && where < to
		}
		if inside && strings.HasPrefix(line, "VmFlags:") {
			flags = line
		}
	}
	if !strings.Contains(flags+" ", " hg ") {
		t.Errorf("the kernel was not asked: %q", flags)
	}
}

func TestSmallIsOrdinary(t *testing.T) {
	for _, n := range []int{0, 1, 1000, size/8 - 1, size / 8} {
		if s := Make[uint64](n); len(s) != n {
			t.Errorf("%d, want %d", len(s), n)
		}
	}
}
