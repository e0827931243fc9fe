package main

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/deadletter"
	"github.com/keystone-cdp/keystone/processor/store"
)

// listedLetter is a line of dlq list --json.
type listedLetter struct {
	ID string `json:"id"`
	*store.DeadLetterRow
}

func withIDs(letters iter.Seq2[store.DeadLetterRow, error]) iter.Seq2[listedLetter, error] {
	return func(yield func(listedLetter, error) bool) {
		for l, err := range letters {
			if !yield(listedLetter{deadletter.IDOf(&l).String(), &l}, err) {
				return
			}
		}
	}
}

// names are the tenants' slugs.
type names map[uuid.UUID]string

func tenantNames(a *app, plane *control.Plane) (names, error) {
	all, err := plane.Tenants(a.ctx)
	n := names{uuid.Nil: noTenant}
	for _, t := range all {
		n[t.ID] = t.Slug
	}
	return n, err
}

func (n names) of(id uuid.UUID) string {
	if name, ok := n[id]; ok {
		return name
	}
	return id.String()
}

const (
	// tablePage is how many lines are aligned with each other: memory does not grow with a table.
	tablePage = 200
	// tableDetail bounds a detail in a table; show has all of it.
	tableDetail = 100
)

// writeLetters writes a table.
func writeLetters(a *app, out *bufio.Writer, plane *control.Plane, letters iter.Seq2[store.DeadLetterRow, error]) error {
	tenants, err := tenantNames(a, plane)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTENANT\tREASON\tWHEN\tATTEMPTS\tSTATE\tDETAIL")
	n := 0
	for l, err := range letters {
		if err != nil {
			return err
		}
		detail := printable(l.Detail)
		if runes := []rune(detail); len(runes) > tableDetail {
			detail = string(runes[:tableDetail]) + "…"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", deadletter.IDOf(&l), tenants.of(l.TenantID), l.Reason,
			l.CreatedAt.UTC().Format(time.DateTime), l.Attempts, l.State, detail)
		if n++; n%tablePage == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
	return w.Flush()
}

// printable is a line as a terminal may have it: what could steer one is quoted.
func printable(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	return strconv.Quote(text)
}

// printableLines is printable for what may have lines.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if tabs := strings.ReplaceAll(line, "\t", " "); printable(tabs) != tabs {
			lines[i] = strconv.Quote(line)
		}
	}
	return strings.Join(lines, "\n")
}

// shown is what dlq show prints.
type shown struct {
	letter  *store.DeadLetterRow
	outcome deadletter.Outcome
	record  *deadletter.Record // nil: lost says why
	lost    error
}

// bytesJSON is text, or bytes that are none.
type bytesJSON struct {
	Text   *string `json:"text,omitempty"`
	Base64 []byte  `json:"base64,omitempty"`
}

func asJSON(b []byte) bytesJSON {
	if !utf8.Valid(b) {
		return bytesJSON{Base64: b}
	}
	text := string(b)
	return bytesJSON{Text: &text}
}

type headerJSON struct {
	Key   string    `json:"key"`
	Value bytesJSON `json:"value"`
}

// shownJSON is what dlq show --json prints.
type shownJSON struct {
	listedLetter
	Outcome string       `json:"outcome,omitempty"` // of the replay: waiting, processed or failed_again
	Lost    string       `json:"lost,omitempty"`    // why what follows is not there
	Sources []string     `json:"sources,omitempty"` // the records it was read from
	History []string     `json:"history,omitempty"` // the attempts, oldest first
	Headers []headerJSON `json:"headers,omitempty"`
	Key     *bytesJSON   `json:"key,omitempty"`
	Value   *bytesJSON   `json:"value,omitempty"`
}

func (s *shown) json() *shownJSON {
	j := &shownJSON{listedLetter: listedLetter{deadletter.IDOf(s.letter).String(), s.letter}, Outcome: string(s.outcome)}
	if s.record == nil {
		j.Lost = s.lost.Error()
		return j
	}
	for _, id := range s.record.Sources {
		j.Sources = append(j.Sources, id.String())
	}
	for _, h := range s.record.Headers {
		j.Headers = append(j.Headers, headerJSON{h.Key, asJSON(h.Value)})
	}
	key, value := asJSON(s.record.Key), asJSON(s.record.Value)
	j.History, j.Key, j.Value = s.record.History(), &key, &value
	return j
}

func (s *shown) write(w io.Writer, tenant string) error {
	var b strings.Builder
	l := s.letter
	fmt.Fprintf(&b, "id         %s\n", deadletter.IDOf(l))
	fmt.Fprintf(&b, "tenant     %s\n", tenant)
	if l.JobID != "" {
		fmt.Fprintf(&b, "job        %s\n", printable(l.JobID))
	}
	fmt.Fprintf(&b, "reason     %s\n", l.Reason)
	fmt.Fprintf(&b, "detail     %s\n", printable(l.Detail))
	fmt.Fprintf(&b, "given up   %s\n", moment(l.CreatedAt))
	fmt.Fprintf(&b, "state      %s\n", s.state())
	if l.Why != "" {
		fmt.Fprintf(&b, "why        %s\n", printable(l.Why))
	}
	if s.record == nil {
		fmt.Fprintf(&b, "record     %v\n", s.lost)
	} else {
		writeRecord(&b, s.record)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// state is in words, with how a replay ended.
func (s *shown) state() string {
	l, text := s.letter, s.letter.State
	if l.ChangedAt != nil {
		text += ", " + moment(*l.ChangedAt) + ", by " + printable(l.ChangedBy)
	}
	as, _ := deadletter.ReplayOf(l)
	switch s.outcome {
	case deadletter.Waiting:
		text += "\nreplay     " + as.String() + ", which the processor has not come to yet"
	case deadletter.Processed:
		text += "\nreplay     " + as.String() + ", processed"
	case deadletter.FailedAgain:
		text += "\nreplay     " + as.String() + ", failed again: keystone dlq show " + as.String()
	}
	return text
}

func writeRecord(b *strings.Builder, r *deadletter.Record) {
	for _, id := range r.Sources {
		fmt.Fprintf(b, "read from  %s\n", id)
	}
	fmt.Fprintf(b, "\nattempts\n")
	for _, line := range r.History() {
		fmt.Fprintf(b, "  %s\n", printable(line))
	}
	fmt.Fprintf(b, "\nheaders\n")
	for _, h := range r.Headers {
		fmt.Fprintf(b, "  %s: %s\n", printable(h.Key), describeHeader(h))
	}
	fmt.Fprintf(b, "\nkey (%d bytes)\n  %s\n", len(r.Key), printable(string(r.Key)))
	fmt.Fprintf(b, "\nvalue (%d bytes)\n%s\n", len(r.Value), printableLines(string(r.Value)))
}

// describeHeader puts the one header that is not for people into words too.
func describeHeader(h kgo.RecordHeader) string {
	text := printable(string(h.Value))
	if h.Key != event.HeaderReceivedAt {
		return text
	}
	us, err := strconv.ParseInt(string(h.Value), 10, 64)
	if err != nil {
		return text
	}
	return text + " (" + moment(time.UnixMicro(us)) + ")"
}
