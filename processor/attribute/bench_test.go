package attribute

import "testing"

func BenchmarkParse(b *testing.B) {
	text := []byte(fiftyKeys())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		d, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		d.Text()
	}
}

func benchmarkApply(b *testing.B, before, patch string, changes int) {
	text := []byte(before)
	p := payload(patch)
	b.ReportAllocs()
	for b.Loop() {
		d, err := Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if got, err := d.Apply(p, DefaultLimits()); err != nil || len(got) != changes {
			b.Fatal(len(got), err)
		}
		d.Text()
	}
}

// Each parses a stored document, applies one event and writes the document.
func BenchmarkApplyNoOp(b *testing.B) {
	benchmarkApply(b, `{"city":"Miami","email":"ann@example.com","plan":"pro"}`, `{"city":"Miami","email":"ann@example.com"}`, 0)
}

func BenchmarkApplyOneChange(b *testing.B) {
	benchmarkApply(b, `{"city":"Chicago","email":"ann@example.com","plan":"pro"}`, `{"city":"Miami","email":"ann@example.com"}`, 1)
}

func BenchmarkApplyFirst(b *testing.B) {
	benchmarkApply(b, ``, `{"city":"Chicago","email":"ann@example.com","plan":"pro"}`, 3)
}

func BenchmarkApplyNoOpTo50Keys(b *testing.B) {
	benchmarkApply(b, fiftyKeys(), `{"key07":"value 7","nested":{"a":1}}`, 0)
}

func BenchmarkApplyOneChangeTo50Keys(b *testing.B) {
	benchmarkApply(b, fiftyKeys(), `{"key07":"another","nested":{"a":1}}`, 1)
}
