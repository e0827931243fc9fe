package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar for long work, where somebody looks: on a terminal. Elsewhere it does nothing.
// It belongs to one goroutine.
type progress struct {
	w    io.Writer // nil: nobody looks
	what string
	bar  *progressbar.ProgressBar
}

const progressEvery = 100 * time.Millisecond

func newProgress(w io.Writer, what string) *progress {
	return &progress{w: terminal(w), what: what}
}

// terminal is the writer where it is a terminal, else nil.
func terminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w
	}
	return nil
}

func (p *progress) set(done, total int64) {
	if p.w == nil {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(p.what),
			progressbar.OptionSetWidth(40), progressbar.OptionThrottle(progressEvery), progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set64(done) // a terminal that went away is no reason to stop
}

// end leaves the line to the result.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
