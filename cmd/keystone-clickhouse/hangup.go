package main

import (
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// hangUpEvery is how often those are looked for who connected meanwhile.
const hangUpEvery = 100 * time.Millisecond

// hangUp ends the wait for clients that have nothing to say. An engine that is asked to leave waits five
// seconds for open connections, idle ones too (a dashboard's, a browser's); no setting changes that. So the
// receiving side of every connection is shut: a handler that waits for a request ends, one that is
// answering ends after its answer. An insert whose data are still coming fails whole.
func hangUp() {
	for ; ; time.Sleep(hangUpEvery) { // until the engine has left, and the process with it
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return // the engine waits, as it would have
		}
		for _, e := range entries {
			if fd, err := strconv.Atoi(e.Name()); err == nil && connected(fd) {
				_ = unix.Shutdown(fd, unix.SHUT_RD) // closed since: what we want
			}
		}
	}
}

// connected tells a client's connection from all else a descriptor may be, listeners included.
func connected(fd int) bool {
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_INET && family != unix.AF_INET6 {
		return false
	}
	listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && listens == 0
}
