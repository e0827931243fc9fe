package main

import (
	"bytes"
	"os"
	"testing"
)

// A bar in a file is a page of its own leftovers.
func TestNoBarWithoutATerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var buffer bytes.Buffer
	if terminal(w) != nil || terminal(&buffer) != nil {
		t.Error("a pipe and a buffer are no terminals")
	}
	bar := newProgress(&buffer, "rows")
	bar.set(1, 2)
	bar.end()
	if buffer.Len() > 0 {
		t.Errorf("%q", buffer.String())
	}
}
