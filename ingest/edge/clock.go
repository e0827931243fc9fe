package edge

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	mathrand "math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"
)

// clock tells strictly increasing microseconds, so that two events of one request are told apart.
type clock struct{ last atomic.Int64 }

// next is now, or one microsecond after the last time it told.
func (c *clock) next() int64 {
	now := time.Now().UnixMicro()
	for {
		last := c.last.Load()
		if now <= last {
			now = last + 1
		}
		if c.last.CompareAndSwap(last, now) {
			return now
		}
	}
}

// appendMessageID appends a UUID of version 7: milliseconds since 1970, then ten bits of the
// microseconds, the rest random.
func appendMessageID(dst []byte, micros int64) []byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(micros/1000)<<16|0x7000|uint64(micros%1000)<<2|mathrand.Uint64()&3)
	binary.BigEndian.PutUint64(id[8:], mathrand.Uint64()>>2|1<<63)
	start := len(dst)
	dst = append(dst, "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx"...)
	text := dst[start:]
	hex.Encode(text, id[:4])
	hex.Encode(text[9:], id[4:6])
	hex.Encode(text[14:], id[6:8])
	hex.Encode(text[19:], id[8:10])
	hex.Encode(text[24:], id[10:])
	return dst
}

// idSource makes request ids: a random name of this process and a number.
type idSource struct {
	prefix string
	next   *atomic.Uint64
}

func newIDSource() idSource {
	var name [6]byte
	_, _ = rand.Read(name[:]) // it never fails
	return idSource{prefix: hex.EncodeToString(name[:]) + "-", next: new(atomic.Uint64)}
}

func (s idSource) append(dst []byte) []byte {
	return strconv.AppendUint(append(dst, s.prefix...), s.next.Add(1), 36)
}
