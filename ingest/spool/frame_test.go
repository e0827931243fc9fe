package spool

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func TestRecordsComeBackWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40)
		r := &kgo.Record{Key: b.Draw(t, "key"), Value: b.Draw(t, "value")}
		for range rapid.IntRange(0, 10).Draw(t, "headers") {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: rapid.String().Draw(t, "name"), Value: b.Draw(t, "text")})
		}
		frame := appendFrame(nil, r)
		got, n, err := readFrame(append(bytes.Clone(frame), "next"...))
		if err != nil || n != len(frame) || fmt.Sprint(*got) != fmt.Sprint(*r) {
			t.Fatalf("%v: %v, %v", r, got, err)
		}
		for cut := range frame { // every prefix is short, never wrong
			if _, _, err := readFrame(frame[:cut]); !errors.Is(err, errShort) {
				t.Fatalf("a prefix of %d bytes: %v", cut, err)
			}
		}
		frame[rapid.IntRange(0, len(frame)-1).Draw(t, "at byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, _, err := readFrame(frame); err == nil {
			t.Fatal("a flipped bit went unseen")
		}
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, record("x")[0]))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, n, err := readFrame(data); err == nil && (r == nil || n > len(data)) {
			t.Fatal("a frame beyond its input")
		}
		if len(data) > 0 && nextFrame(data) < 1 {
			t.Fatal("no progress")
		}
	})
}
