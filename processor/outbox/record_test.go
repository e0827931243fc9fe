package outbox

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func records(t *rapid.T) []Record {
	blob := rapid.SliceOfN(rapid.Byte(), 0, 40)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
		r := Record{Topic: rapid.String().Draw(t, "topic"), Key: blob.Draw(t, "key"), Value: blob.Draw(t, "value")}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: rapid.String().Draw(t, "name"), Value: blob.Draw(t, "text")})
		}
		return r
	}), 0, 10).Draw(t, "records")
}

// What is packed comes out again; what is cut or changed is noticed or is something else, and never
// more than the payload can hold.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := records(t)
		payload, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(payload)
		if err != nil || len(got) != len(want) {
			t.Fatal(got, err)
		}
		for i := range want {
			if !same(want[i], got[i]) {
				t.Fatalf("%+v became %+v", want[i], got[i])
			}
		}
		cut := rapid.IntRange(0, len(payload)-1).Draw(t, "cut")
		if _, err := Decode(payload[:cut]); err == nil {
			t.Fatalf("a payload cut at %d of %d was taken", cut, len(payload))
		}
	})
}

func same(a, b Record) bool {
	if a.Topic != b.Topic || !bytes.Equal(a.Key, b.Key) || !bytes.Equal(a.Value, b.Value) || len(a.Headers) != len(b.Headers) {
		return false
	}
	for i := range a.Headers {
		if a.Headers[i].Key != b.Headers[i].Key || !bytes.Equal(a.Headers[i].Value, b.Headers[i].Value) {
			return false
		}
	}
	return true
}

func FuzzDecode(f *testing.F) {
	for _, seed := range [][]Record{nil, {{Topic: "t", Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}}} {
		payload, err := Encode(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := Decode(payload)
		if err != nil {
			return
		}
		again, err := Encode(got)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := Decode(again); err != nil || !reflect.DeepEqual(got, twice) {
			t.Fatal(err)
		}
	})
}

func TestEncodeRefusesTooMuch(t *testing.T) {
	big := make([]byte, 9<<20)
	for i := range big {
		big[i] = byte(i*i>>3) ^ byte(i>>11)*31 // does not compress to nothing
	}
	if _, err := Encode([]Record{{Value: big}, {Value: make([]byte, maxRawBytes)}}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}
