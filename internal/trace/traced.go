package trace

import (
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
)

// Traced is a record that is traced, and the span that sent it.
type Traced struct {
	Record *kgo.Record
	Parent trace.SpanContext
}

// Traced finds the traced records of a batch, at most MaxPerBatch of them. Nearly always there are none.
func (t *Tracer) Traced(records []*kgo.Record) (found []Traced) {
	if t == nil {
		return nil
	}
	for _, r := range records {
		parent := t.Of(r.Headers)
		switch {
		case !parent.IsValid():
		case len(found) == MaxPerBatch:
			t.LeftOut(1)
		default:
			found = append(found, Traced{r, parent})
		}
	}
	return found
}
