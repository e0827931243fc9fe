package sink

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	chproto "github.com/ClickHouse/ch-go/proto"
	chcolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/google/uuid"
)

// sample is values for a column, as the driver takes them, and how ours takes them.
type sample struct {
	name   string
	values []any
	add    func(v any)
}

var (
	oddTexts = []string{
		"", "a", "日本", "\x00", "\xff\xfe", strings.Repeat("x", 127), strings.Repeat("y", 128), strings.Repeat("z", 16_383),
		strings.Repeat("é", 8192), strings.Repeat("w", 70_000),
	}
	oddAmounts = []string{
		"0", "-0", "1", "-1", "0.000000001", "-0.000000001", "19.99", "-123456789012345678.123456789", "18446744073.709551615",
		"18446744073.709551616", "-18446744073.709551616", "-18446744073.709551617",
		"99999999999999999999999999999.999999999", "-99999999999999999999999999999.999999999",
	}
	oddTimes = []time.Time{
		time.UnixMilli(0), time.UnixMilli(-1), time.UnixMilli(1), noon, noon.Add(999 * time.Millisecond),
		time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999e6, time.UTC),
		time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC), time.Date(2262, 4, 11, 0, 0, 0, 0, time.FixedZone("", 3600)),
	}
)

func anys[T any](list []T) (all []any) {
	for _, v := range list {
		all = append(all, v)
	}
	return all
}

// What our columns hold is, byte by byte and block by block, what the driver's would send of the same values.
func TestNativeIsTheDrivers(t *testing.T) {
	var s rowset
	text, id := textOf(&s, "text"), uuidOf(&s, "uuid")
	milli, micro := milliOf(&s, "milli"), microOf(&s, "micro")
	number, flag := byteOf(&s, "byte", "UInt8"), byteOf(&s, "bool", "Bool")
	u32, i32 := uint32Of(&s, "u32", "UInt32"), uint32Of(&s, "i32", "Int32")
	u64, i64 := uint64Of(&s, "u64", "UInt64"), uint64Of(&s, "i64", "Int64")
	amount := amountOf(&s, "amount")
	texts, amounts, nullable := textListOf(&s, "texts"), amountListOf(&s, "amounts", false), amountListOf(&s, "nullable", true)

	long := make([]string, 300)
	for i := range long {
		long[i] = oddTexts[i%7]
	}
	known := func(text string) *string { return &text }
	samples := []sample{
		{"text", append(anys(oddTexts), slices.Repeat([]any{"short", ""}, 100)...), func(v any) { text.add(v.(string)) }},
		{"uuid", []any{uuid.Nil, uuid.Max, tenant}, func(v any) { id.add(v.(uuid.UUID)) }},
		{"milli", anys(oddTimes), func(v any) { milli.add(v.(time.Time)) }},
		{"micro", append(anys(oddTimes), noon.Add(time.Microsecond), time.UnixMicro(-1)), func(v any) { micro.add(v.(time.Time)) }},
		{"byte", []any{uint8(0), uint8(1)}, func(v any) { number.add(v.(uint8) == 1) }},
		{"bool", []any{false, true, true}, func(v any) { flag.add(v.(bool)) }},
		{"u32", []any{uint32(0), uint32(1), uint32(math.MaxUint32)}, func(v any) { u32.add(v.(uint32)) }},
		{"i32", []any{int32(0), int32(-1), int32(math.MinInt32), int32(math.MaxInt32)}, func(v any) { i32.add(uint32(v.(int32))) }},
		{"u64", []any{uint64(0), uint64(1), uint64(math.MaxUint64)}, func(v any) { u64.add(v.(uint64)) }},
		{"i64", []any{int64(0), int64(-1), int64(math.MinInt64), int64(math.MaxInt64)}, func(v any) { i64.add(uint64(v.(int64))) }},
		{"amount", append(anys(oddAmounts), nil), func(v any) {
			value, _ := v.(string)
			amount.addText(value)
		}},
		{"texts", []any{[]string{}, []string{"a"}, []string{}, oddTexts[:7], []string{"", ""}, long}, func(v any) {
			for _, item := range v.([]string) {
				texts.item(item)
			}
			texts.endRow()
		}},
		{"amounts", []any{oddAmounts, []string{}, []string{"-1.5"}, []string{}}, func(v any) {
			for _, item := range v.([]string) {
				amounts.itemText(item)
			}
			amounts.endRow()
		}},
		{"nullable", []any{[]*string{}, []*string{nil}, []*string{known("-2"), nil, known("7.000000001")}, []*string{}}, func(v any) {
			for _, item := range v.([]*string) {
				if item == nil {
					nullable.itemText("")
				} else {
					nullable.itemText(*item)
				}
			}
			nullable.endRow()
		}},
	}
	for round := range 2 { // the second is in the memory of the first
		const rows = 2*blockRows + 3
		for i := range rows {
			s.begin()
			for _, c := range samples {
				c.add(c.values[(i+round)%len(c.values)])
			}
		}
		for j, c := range s.all {
			if c.name != samples[j].name {
				t.Fatalf("column %d is %s", j, c.name)
			}
			theirs, err := chcolumn.Type(c.kind).Column(c.name, &chcolumn.ServerContext{Timezone: time.UTC})
			if err != nil {
				t.Fatal(err)
			}
			if string(theirs.Type()) != c.kind {
				t.Errorf("%s is called %s", c.kind, theirs.Type())
			}
			for block := 0; block*blockRows < rows; block++ {
				theirs.Reset()
				n := min(rows-block*blockRows, blockRows)
				for i := range n {
					values := samples[j].values
					if err := theirs.AppendRow(values[(block*blockRows+i+round)%len(values)]); err != nil {
						t.Fatalf("%s: %v", c.name, err)
					}
				}
				var want, got chproto.Buffer
				theirs.Encode(&want)
				own := &encoded{Interface: theirs}
				own.set(&c, block, n)
				own.Encode(&got)
				if !bytes.Equal(got.Buf, want.Buf) {
					t.Errorf("%s, round %d, block %d: %s", c.name, round, block, firstDifference(got.Buf, want.Buf))
				}
				if own.Rows() != n {
					t.Errorf("%s, block %d has %d rows", c.name, block, own.Rows())
				}
			}
		}
		s.reset()
	}
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("byte %d of %d is %x, not %x of %d", i, len(got), got[i], want[i], len(want))
		}
	}
	return fmt.Sprintf("%d bytes, not %d", len(got), len(want))
}
