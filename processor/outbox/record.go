package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kgo"
)

// MaxPayloadBytes bounds one batch's records, as they are written into the state store: CockroachDB
// refuses statements of 16 MiB. A batch that exceeds it is taken in halves.
const MaxPayloadBytes = 8 << 20

// maxRawBytes bounds them before compression, and what Decode unpacks.
const maxRawBytes = 64 << 20

// ErrTooLarge is wrapped by the error about a batch whose records exceed a limit.
var ErrTooLarge = errors.New("the batch's records are too large")

// Record is one record to be produced.
type Record struct {
	Topic   string
	Key     []byte
	Value   []byte
	Headers []kgo.RecordHeader
}

func (r *Record) kafka() *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// formatS2 is the first byte of a payload: length-prefixed fields, compressed with S2.
const formatS2 = 1

// Encode packs records into a payload.
func Encode(records []Record) ([]byte, error) {
	size := 0
	for i := range records {
		size += len(records[i].Key) + len(records[i].Value) + 256
	}
	if size > maxRawBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, maxRawBytes)
	}
	buf := getRaw()
	defer putRaw(buf)
	raw := slices.Grow(*buf, size)
	raw = binary.AppendUvarint(raw, uint64(len(records)))
	for i := range records {
		r := &records[i]
		raw = appendField(raw, []byte(r.Topic))
		raw = appendField(raw, r.Key)
		raw = appendField(raw, r.Value)
		raw = binary.AppendUvarint(raw, uint64(len(r.Headers)))
		for _, h := range r.Headers {
			raw = appendField(raw, []byte(h.Key))
			raw = appendField(raw, h.Value)
		}
	}
	*buf = raw
	payload := make([]byte, 1+s2.MaxEncodedLen(len(raw)))
	payload[0] = formatS2
	payload = payload[:1+len(s2.Encode(payload[1:], raw))]
	if len(payload) > MaxPayloadBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(payload), MaxPayloadBytes)
	}
	return payload, nil
}

// raws are buffers for what is packed: as large as a batch, and of use for a moment only.
var raws = sync.Pool{New: func() any { return new([]byte) }}

func getRaw() *[]byte { return raws.Get().(*[]byte) }

func putRaw(buf *[]byte) {
	if cap(*buf) <= maxKeptBytes {
		*buf = (*buf)[:0]
		raws.Put(buf)
	}
}

// maxKeptBytes is the largest buffer that is kept for the next batch.
const maxKeptBytes = 1 << 20

func appendField(dst, field []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(field)))
	return append(dst, field...)
}

var errMalformed = errors.New("malformed outbox payload")

// Decode unpacks what Encode packed.
func Decode(payload []byte) ([]Record, error) {
	if len(payload) == 0 || payload[0] != formatS2 {
		return nil, errMalformed
	}
	if n, err := s2.DecodedLen(payload[1:]); err != nil || n > maxRawBytes {
		return nil, errMalformed
	}
	raw, err := s2.Decode(nil, payload[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	d := decoder{rest: raw}
	records := make([]Record, 0, d.count())
	for range cap(records) {
		r := Record{Topic: string(d.field()), Key: d.field(), Value: d.field()}
		headers := d.count()
		for range headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(d.field()), Value: d.field()})
		}
		records = append(records, r)
	}
	if d.bad || len(d.rest) > 0 {
		return nil, errMalformed
	}
	return records, nil
}

// decoder reads fields; after the first that is not there everything is empty and bad is set.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) length() int {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(len(d.rest)-size) {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}

// count is a number of things, each of which takes a byte at least: a lie about it costs no memory.
func (d *decoder) count() int { return d.length() }

func (d *decoder) field() []byte {
	n := d.length()
	f := d.rest[:n:n]
	d.rest = d.rest[n:]
	return f
}
