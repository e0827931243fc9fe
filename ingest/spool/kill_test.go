package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// helper appends numbered records and says so on its output, until it is killed.
func helper(dir string) {
	cfg := config(dir)
	cfg.SegmentBytes = 4 << 10
	s, err := Open(cfg, OS(), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	s.Start(func(ctx context.Context, _ []*kgo.Record) ([]*kgo.Record, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	for i := 0; ; i++ {
		if err := s.Append(record(fmt.Sprintf("value-%04d", i)), wait); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

func TestSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if acked++; acked == 150 {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for lines.Scan() { // what it acknowledged before it died
		acked++
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()

	s, _ := open(t, config(dir), OS())
	if int(s.Pending()) < acked {
		t.Fatalf("%d records acknowledged, %d recovered", acked, s.Pending())
	}
	log := newSink()
	s.Start(log.deliver)
	got := log.empty(t, s)
	equal(t, got, numbers(0, len(got))...)
}
