package processor_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/sql"
)

// rowsOfABatch is about how many rows of one kind a batch of a busy site writes.
const rowsOfABatch = 400

// rowsBefore are in the store already.
const rowsBefore = 100_000

// BenchmarkRows is what one row of each kind costs the state store, in transactions of one statement
// that a batch has too: processor time of the server, and WAL. Its share of BEGIN, COMMIT and planning
// is in it.
func BenchmarkRows(b *testing.B) {
	kinds := []struct {
		name string
		args func(w *rowWriter) (statement string, args []any)
	}{
		{"message_id/new", func(w *rowWriter) (string, []any) {
			return "seen_add", []any{w.ids(), w.now.AddDate(0, 0, 7)}
		}},
		{"message_id/checked", func(w *rowWriter) (string, []any) {
			return "seen_insert", []any{w.ids(), w.now.AddDate(0, 0, 7)}
		}},
		{"identifier/new", (*rowWriter).identifiers},
		{"profile/new", func(w *rowWriter) (string, []any) { return w.profiles(w.ids()) }},
		{"profile/known", func(w *rowWriter) (string, []any) { return w.profiles(w.known()) }},
	}
	w := &rowWriter{bench: &bench{B: b, scenario: scenario{mix: shop.DefaultMix(), partitions: 1}}, now: time.Now(), revisions: map[uuid.UUID]int64{}}
	w.start()
	for len(w.all) < rowsBefore {
		w.write(w.profiles(w.ids()))
	}
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			defer func(parent *testing.B) { w.B = parent }(w.B)
			w.B = b
			w.write(k.args(w)) // prepares it
			before := w.read()
			for b.Loop() {
				w.write(k.args(w))
			}
			cost := w.read().minus(before)
			perRow := func(n float64) float64 { return n / float64(b.N*rowsOfABatch) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(perRow(float64(cost.store.Microseconds())), "store-cpu-µs/row")
			b.ReportMetric(perRow(float64(cost.wal)), "wal-B/row")
			machine.Print("row "+k.name, "%.1f µs of the state store's CPU, %.0f bytes of WAL", perRow(float64(cost.store.Microseconds())), perRow(float64(cost.wal)))
		})
	}
}

// rowWriter makes rows of random keys, sorted as a batch's are.
type rowWriter struct {
	*bench
	now       time.Time
	all       []uuid.UUID // of profiles
	revisions map[uuid.UUID]int64
}

func (w *rowWriter) write(statement string, args []any) {
	w.Helper()
	w.must(pgx.BeginTxFunc(w.Context(), w.pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		tag, err := tx.Exec(w.Context(), sql.Statement(statement), args...)
		if err == nil && tag.RowsAffected() != rowsOfABatch {
			err = fmt.Errorf("%d rows were written", tag.RowsAffected())
		}
		return err
	}))
}

func (w *rowWriter) ids() []uuid.UUID {
	ids := make([]uuid.UUID, rowsOfABatch)
	for i := range ids {
		ids[i] = uuid.New()
	}
	return sorted(ids)
}

// known are different profiles that are there.
func (w *rowWriter) known() []uuid.UUID {
	ids := make([]uuid.UUID, rowsOfABatch)
	start := rand.IntN(len(w.all))
	for i := range ids {
		ids[i] = w.all[(start+i*(len(w.all)/rowsOfABatch))%len(w.all)]
	}
	return sorted(ids)
}

func sorted(ids []uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}

func (w *rowWriter) identifiers() (string, []any) {
	ids := w.ids()
	values := make([]string, len(ids))
	for i, id := range ids {
		values[i] = id.String()
	}
	return "identifier_insert", []any{same(w.tenant), ids, same(event.KindAnonymous), values, ids, same(time.Time{}), same(int64(1))}
}

// profiles are shadows; one that is there is at its next revision.
func (w *rowWriter) profiles(ids []uuid.UUID) (string, []any) {
	revisions := make([]int64, len(ids))
	for i, id := range ids {
		if w.revisions[id] == 0 && len(w.all) < rowsBefore {
			w.all = append(w.all, id)
		}
		w.revisions[id]++
		revisions[i] = w.revisions[id]
	}
	zeros, now := same(int64(0)), same(w.now)
	return "profile_save", []any{same(w.tenant), ids, same("shadow"), same("{}"), now, now, revisions, zeros, revisions, zeros,
		same(time.Time{}), revisions, now, now, make([]*uuid.UUID, len(ids)), same(event.KindAnonymous + "=1"), zeros, zeros, revisions}
}

// same is a column with one value.
func same[T any](v T) []T { return slices.Repeat([]T{v}, rowsOfABatch) }
