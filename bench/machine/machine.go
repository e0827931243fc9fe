// Package machine says on what a measurement was taken, and what processor time it took: a number
// without its machine is no number.
package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Line describes the machine in one line: cores, processor, kernel, Go version.
func Line() string {
	cores := strconv.Itoa(runtime.NumCPU()) + " cores"
	if procs := runtime.GOMAXPROCS(0); procs != runtime.NumCPU() {
		cores += fmt.Sprintf(" (GOMAXPROCS %d)", procs)
	}
	return fmt.Sprintf("%s, %s, %s, %s", cores, processor(), kernel(), runtime.Version())
}

func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close() //nolint:errcheck // nothing was written
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return runtime.GOOS
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// CPU is the processor time, user and system, that this process has taken so far.
func CPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux of today.
const clockTick = 10 * time.Millisecond

// ProcessCPU is the processor time that another process has taken so far, its threads included,
// its children not. It asks the process's own clock, which counts nanoseconds where /proc counts
// clock ticks.
func ProcessCPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("read processor time: no process %d", pid)
	}
	const sched = 2 // CPUCLOCK_SCHED: clock_getcpuclockid(3) makes the same number
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("read processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// ChildrenCPU is the processor time that this process's children and theirs have taken so far: the
// engines that it started. Those that ended count once their parent has noticed. Resolution: 10 ms.
func ChildrenCPU() (time.Duration, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	all := map[int]stat{}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if s, err := readStat(pid); err == nil { // else it has just ended
				all[pid] = s
			}
		}
	}
	self := os.Getpid()
	sum := all[self].reaped
	for pid := range all {
		for up := all[pid].parent; up != 0; up = all[up].parent {
			if up == self {
				sum += all[pid].own + all[pid].reaped
				break
			}
		}
	}
	return sum, nil
}

// stat is what /proc says about a process.
type stat struct {
	parent int
	own    time.Duration // of its threads
	reaped time.Duration // of children that it waited for
}

func readStat(pid int) (s stat, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, fmt.Errorf("read processor time: %w", err)
	}
	// The second field is the command in parentheses, and may itself hold spaces and parentheses.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	const ppid, utime, stime, cutime, cstime = 1, 11, 12, 13, 14 // counted from the third field
	if len(fields) <= cstime {
		return s, fmt.Errorf("read processor time of process %d: %d fields", pid, len(fields))
	}
	var n [cstime + 1]int
	for _, i := range [...]int{ppid, utime, stime, cutime, cstime} {
		if n[i], err = strconv.Atoi(fields[i]); err != nil {
			return s, fmt.Errorf("read processor time of process %d: %w", pid, err)
		}
	}
	ticks := func(a, b int) time.Duration { return time.Duration(a+b) * clockTick }
	return stat{parent: n[ppid], own: ticks(n[utime], n[stime]), reaped: ticks(n[cutime], n[cstime])}, nil
}

// Print prints what a benchmark measured of a stage, with the machine, in one line of its own.
func Print(stage, format string, args ...any) {
	fmt.Printf("\n%s: %s [%s]\n", stage, fmt.Sprintf(format, args...), Line())
}
