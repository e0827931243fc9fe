package simulate

import (
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// Report is what Run found out.
type Report struct {
	Tenant  uuid.UUID  `json:"tenant_id"`
	Since   *time.Time `json:"since,omitempty"` // absent: the window is the whole log
	History bool       `json:"history"`         // what was before the window was read, under the current rules
	From    *time.Time `json:"history_from,omitempty"`
	Reading Reading    `json:"read"`

	CurrentSettings event.Settings `json:"current_settings"`
	NewSettings     event.Settings `json:"new_settings"`

	Current Totals         `json:"current"`
	New     Totals         `json:"new"`
	Tally   map[Kind]Tally `json:"differences"`
	// By reason.
	ConflictsAppear map[identity.Reason]int `json:"conflicts_appear"`
	ConflictsGo     map[identity.Reason]int `json:"conflicts_go"`

	Comparison `json:"-"`
}

// Reading is what was read of the log.
type Reading struct {
	Records    int64      `json:"records"`    // all tenants'
	Unreadable int64      `json:"unreadable"` // of them: no edge can have written them
	Events     int        `json:"events"`     // of the tenant, each once
	InWindow   int        `json:"in_window"`  // of them: not history
	Repeated   int        `json:"repeated"`
	First      *time.Time `json:"first,omitempty"` // received_at of the tenant's records
	Last       *time.Time `json:"last,omitempty"`
	// Truncated: there were more than MaxEvents. What was received after Last was not looked at.
	Truncated bool `json:"truncated"`
	// Shortened is in how many partitions the log no longer goes back as far as was asked for.
	Shortened int `json:"shortened_partitions"`
}

// moment notes when a record was received.
func (r *Reading) moment(x *record) {
	at := x.meta.ReceivedAt
	if r.First == nil || at.Before(*r.First) {
		r.First = &at
	}
	if r.Last == nil || at.After(*r.Last) {
		r.Last = &at
	}
}

// Totals are one side's.
type Totals struct {
	Events      int                     `json:"events"`       // that count for somebody
	NamesNobody int                     `json:"names_nobody"` // records without an identifier by these rules
	Invalid     int                     `json:"invalid"`      // records that are no events, by any rules
	Profiles    int                     `json:"profiles"`     // live
	Anchors     int                     `json:"anchors"`
	Shadows     int                     `json:"shadows"`
	Identifiers int                     `json:"identifiers"` // that have an owner
	Merges      int                     `json:"merges"`      // of profiles, collapses included
	Relinks     int                     `json:"relinks"`
	Conflicts   map[identity.Reason]int `json:"conflicts"`
}

// Tally counts the differences of one kind, and the profiles in them.
type Tally struct {
	Differences int `json:"differences"`
	Current     int `json:"current"`
	New         int `json:"new"`
}

// Same tells that the rules make no difference on what was read.
func (r *Report) Same() bool { return len(r.Differences)+len(r.Comparison.Conflicts) == 0 }

func (r *Report) count() {
	r.Tally = map[Kind]Tally{}
	for _, k := range Kinds {
		r.Tally[k] = Tally{}
	}
	for i := range r.Differences {
		d := &r.Differences[i]
		t := r.Tally[d.Kind]
		t.Differences++
		t.Current += len(d.Current)
		t.New += len(d.New)
		r.Tally[d.Kind] = t
	}
	r.ConflictsAppear, r.ConflictsGo = map[identity.Reason]int{}, map[identity.Reason]int{}
	for _, c := range r.Comparison.Conflicts {
		if c.Appears {
			r.ConflictsAppear[c.Reason]++
		} else {
			r.ConflictsGo[c.Reason]++
		}
	}
}
