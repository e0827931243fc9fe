package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// piped is a connection whose other end is far. It runs on a clock of its own.
func piped(t *testing.T, f func(t *testing.T, c *conn, far net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer func() { _, _ = near.Close(), far.Close() }()
		f(t, &conn{Conn: near}, far)
	})
}

func after(d time.Duration) time.Time { return time.Now().Add(d) }

// What is sent after the first deadline and before the last arrives, and the last one holds.
func TestDeadlineMovesOn(t *testing.T) {
	piped(t, func(t *testing.T, c *conn, far net.Conn) {
		begin := time.Now()
		for _, d := range []time.Duration{75, 10, 80, 20} { // as between requests and in one, again and again
			if err := c.SetReadDeadline(after(d * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			time.Sleep(15 * time.Second)
			_, _ = far.Write([]byte("late"))
		}()
		var buf [4]byte
		if n, err := c.Read(buf[:]); n != 4 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if _, err := c.Read(buf[:]); !errors.Is(err, os.ErrDeadlineExceeded) || !c.timedOut.Load() {
			t.Errorf("%v", err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("it ended after %s", took)
		}
		if err := c.SetReadDeadline(after(time.Second)); err != nil { // from what is over to a new one
			t.Fatal(err)
		}
		go func() { _, _ = far.Write([]byte("next")) }()
		if n, err := c.Read(buf[:]); n != 4 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestDeadlineIsTakenBack(t *testing.T) {
	piped(t, func(t *testing.T, c *conn, far net.Conn) {
		if err := errors.Join(c.SetDeadline(after(time.Second)), c.SetDeadline(time.Time{})); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour)
			_, _ = far.Write([]byte("x"))
		}()
		if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// Bytes that were written before the timer fired too early are not written again.
func TestWriteDeadlineMovesOn(t *testing.T) {
	piped(t, func(t *testing.T, c *conn, far net.Conn) {
		if err := errors.Join(c.SetWriteDeadline(after(time.Second)), c.SetWriteDeadline(after(time.Minute))); err != nil {
			t.Fatal(err)
		}
		sent := bytes.Repeat([]byte("0123456789"), 10)
		got := make(chan []byte, 1)
		go func() {
			part := make([]byte, len(sent))
			n, _ := far.Read(part[:30])
			time.Sleep(30 * time.Second)
			m, _ := io.ReadFull(far, part[n:])
			got <- part[:n+m]
		}()
		if n, err := c.Write(sent); n != len(sent) || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if text := <-got; !bytes.Equal(text, sent) {
			t.Errorf("%s", text)
		}
		begin := time.Now()
		if n, err := c.Write(sent); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("it ended after %s", took)
		}
	})
}
