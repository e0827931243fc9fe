package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// leaveTimeout is how long the engine may take to end after it was asked;
	// it took up to 7 s with busy connections. Killing it then is safe: the
	// engine loses no acknowledged insert.
	leaveTimeout = 15 * time.Second
	// orphanTimeout is the same without a parent. It is short because nobody
	// is served any more, and a successor may be waiting for the data folder.
	orphanTimeout = 5 * time.Second
)

// leaver ends the engine's session by typing exit at its prompt.
type leaver struct {
	prompt  io.Writer
	kill    func() // ends the process at once
	hangUp  func() // lets go of clients that only wait
	once    sync.Once
	leaving atomic.Bool
}

func newLeaver(prompt io.Writer) *leaver {
	return &leaver{prompt: prompt, hangUp: hangUp, kill: func() {
		fmt.Fprintln(os.Stderr, "keystone-clickhouse: engine did not leave in time, killing it")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}}
}

// onSignals leaves at the first SIGTERM, SIGINT or SIGHUP.
func (l *leaver) onSignals() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		<-signals
		l.leave(leaveTimeout)
	}()
}

// onEOF leaves when the other end of the pipe closes, which the kernel does
// for a parent that was killed.
func (l *leaver) onEOF(pipe io.Reader) {
	go func() {
		_, _ = io.Copy(io.Discard, pipe)
		l.leave(orphanTimeout)
	}()
}

// leave asks the engine to end and kills the process when it does not within d.
// A second call only shortens the wait.
func (l *leaver) leave(d time.Duration) {
	time.AfterFunc(d, l.kill)
	l.leaving.Store(true)
	l.once.Do(func() {
		_, _ = io.WriteString(l.prompt, "exit\n")
		go l.hangUp()
	})
}

// asked says whether the session was asked to end.
func (l *leaver) asked() bool { return l.leaving.Load() }
