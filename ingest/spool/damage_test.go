package spool

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// damage writes ten records, stops, and lets f change the file.
func damage(t *testing.T, f func(data []byte) []byte) (Config, int) {
	t.Helper()
	cfg := config(t.TempDir())
	s, _ := open(t, cfg, OS())
	log := newSink()
	log.err = errors.New("down")
	s.Start(log.deliver)
	appendAll(t, s, numbers(0, 10)...)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := files(t, cfg.Dir, "*.seg")[0]
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	frame := len(data) / 10
	if err := os.WriteFile(name, f(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg, frame
}

func TestDamage(t *testing.T) {
	frame := len(appendFrame(nil, record("value-0000")[0]))
	for name, c := range map[string]struct {
		change func(data []byte) []byte
		want   []string
		says   string
		keeps  int // damaged files kept for an operator
	}{
		"torn tail":            {func(d []byte) []byte { return d[:len(d)-5] }, numbers(0, 9), "torn tail", 0},
		"torn head":            {func(d []byte) []byte { return d[:len(d)-frame+3] }, numbers(0, 9), "torn tail", 0},
		"zeros behind the end": {func(d []byte) []byte { return append(d, make([]byte, 4096)...) }, numbers(0, 10), "torn tail", 0},
		"a flipped bit in the middle": {func(d []byte) []byte { d[4*frame+frame/2] ^= 1; return d },
			append(numbers(0, 4), numbers(5, 10)...), "damaged", 1},
		"a wild length in the middle": {func(d []byte) []byte { d[4*frame+6] = 0x7f; return d },
			append(numbers(0, 4), numbers(5, 10)...), "damaged", 1},
		"a wild length near the end": {func(d []byte) []byte { d[9*frame+5] = 0xff; return d }, numbers(0, 9), "torn tail", 0},
		"both":                       {func(d []byte) []byte { d[frame+20] ^= 8; return d[:len(d)-1] }, append(numbers(0, 1), numbers(2, 9)...), "damaged", 1},
		"all of it":                  {func(d []byte) []byte { return bytes.Repeat([]byte("KFS1junk"), 100) }, nil, "torn tail", 0},
		"empty":                      {func(d []byte) []byte { return nil }, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, small := range []bool{false, true} {
				cfg, _ := damage(t, c.change)
				if small {
					cfg.DrainBytes, cfg.DrainRecords = 40, 3 // windows shorter than a frame
				}
				s, lines := open(t, cfg, OS())
				if int(s.Pending()) != len(c.want) {
					t.Errorf("%d records pending, want %d", s.Pending(), len(c.want))
				}
				if !strings.Contains(lines.String(), c.says) {
					t.Errorf("not reported: %s", lines)
				}
				if strings.Contains(lines.String(), "value-") {
					t.Error("payloads in the log")
				}
				log := newSink()
				s.Start(log.deliver)
				equal(t, log.empty(t, s), c.want...)
				appendAll(t, s, "after")
				equal(t, log.empty(t, s), append(c.want, "after")...)
				if err := s.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if kept := files(t, cfg.Dir, "*.damaged"); len(kept) != c.keeps {
					t.Errorf("kept %v", kept)
				}
			}
		})
	}
}
