package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// openPrompt puts a pseudo-terminal on stdin for the engine's prompt. It
// returns the terminal's master end, on which "exit\n" can be typed, and the
// stdin the process was started with.
func openPrompt() (master, parent *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	conn, err := master.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	// Through SyscallConn, as Fd() would make the file blocking for Go too.
	var number int
	var ioctlErr error
	err = conn.Control(func(fd uintptr) {
		if number, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); ioctlErr == nil {
			ioctlErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		}
	})
	if err == nil {
		err = ioctlErr
	}
	if err != nil {
		return nil, nil, fmt.Errorf("unlock pseudo-terminal: %w", err)
	}
	slave, err := unix.Open("/dev/pts/"+strconv.Itoa(number), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal end: %w", err)
	}
	parentFD, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, nil, fmt.Errorf("keep stdin: %w", err)
	}
	if err := unix.Dup3(slave, 0, 0); err != nil {
		return nil, nil, fmt.Errorf("put terminal on stdin: %w", err)
	}
	_ = unix.Close(slave) // stdin holds the terminal now

	// A full terminal buffer would block the engine as it prints its prompt.
	go func() { _, _ = io.Copy(io.Discard, master) }()
	return master, os.NewFile(uintptr(parentFD), "parent"), nil
}
