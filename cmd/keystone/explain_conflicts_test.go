package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/processor/identity"
	"github.com/keystone-cdp/keystone/processor/store"
)

// Every reason has its words, and names what it is about.
func TestWordsOfConflicts(t *testing.T) {
	other := uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	seen := map[string]identity.Reason{}
	for _, reason := range identity.Reasons {
		text := ruleOfConflict(&store.ConflictRow{Reason: string(reason), Kind: "email", Value: "a\n@example.com", LimitKind: "crm_id", Other: &other})
		if before, twice := seen[text]; twice {
			t.Errorf("%s and %s are both %q", before, reason, text)
		}
		seen[text] = reason
		if strings.Contains(text, "another version") || strings.Contains(text, "\n") ||
			reason != identity.LinkLimit && !strings.Contains(text, other.String()) ||
			reason != identity.AttributeLimit && (!strings.Contains(text, `email "a\n@example.com"`) || !strings.Contains(text, "kind crm_id")) {
			t.Errorf("%s: %q", reason, text)
		}
	}
}

// Of many the newest are shown, and how many there are besides.
func TestManyConflicts(t *testing.T) {
	live, at := uuid.New(), time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for n, want := range map[int]string{0: "", textList: "\nrefused\n  2026", textList + 5: "\nrefused\n  5 before these\n  2026", maxConflicts: "\nrefused\n  at least 990 before these\n  2026"} {
		conflicts := make([]store.ConflictRow, n)
		for i := range conflicts {
			conflicts[i] = store.ConflictRow{MessageID: fmt.Sprint("m", i), ProfileID: live, Reason: "link_limit", ReceivedAt: at, EventTime: at}
		}
		var b strings.Builder
		writeConflicts(&b, conflicts, live)
		text := b.String()
		if !strings.HasPrefix(text, want) || n == 0 && text != "" || n > 0 && !strings.Contains(text, fmt.Sprintf(`by message "m%d"`, n-1)) ||
			strings.Count(text, "by message") != min(n, textList) || strings.Contains(text, "counts for") {
			t.Errorf("of %d:\n%s", n, text)
		}
	}
}
