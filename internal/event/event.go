// Package event is the contract between the stages: what an event is on the wire and in the log,
// who it names, and what the processor tells the column store. It holds no I/O, no clock and no
// tenant's data; every stage may import it, and it imports none of them.
package event

import (
	"bytes"
	"fmt"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Limits of one event. The defaults are in DefaultLimits; the edge's configuration may change them.
type Limits struct {
	EventBytes     int // one event's JSON
	Depth          int // nesting, the event's own braces included
	MessageIDBytes int
	IdentityBytes  int // an anonymous id; a verified identifier may have four times as much
	NameBytes      int
}

// DefaultLimits is what the specification says (1.2): 900 KiB fits the broker's 1 MiB message.
func DefaultLimits() Limits {
	return Limits{EventBytes: 900 << 10, Depth: 64, MessageIDBytes: 128, IdentityBytes: 256, NameBytes: 1024}
}

// Type is what an event says: who somebody is, what they did, what they saw.
type Type uint8

// The event types. Group and Alias come from the Segment dialect only and are refused on the
// native endpoints; they count in event_count alone.
const (
	Unknown Type = iota
	Identify
	Track
	Page
	Group
	Alias
)

var typeNames = [...]string{"", "identify", "track", "page", "group", "alias"}

func (t Type) String() string { return typeNames[t] }

// Native tells whether clients of POST /ingest may send the type.
func (t Type) Native() bool { return t == Identify || t == Track || t == Page }

// TypeOf reads a type's name.
func TypeOf(name []byte) Type {
	switch string(name) {
	case "identify":
		return Identify
	case "track":
		return Track
	case "page":
		return Page
	case "group":
		return Group
	case "alias":
		return Alias
	}
	return Unknown
}

// Codes of errors, as the client sees them (spec 1.3).
const (
	CodeInvalidJSON  = "invalid_json"
	CodeInvalidEvent = "invalid_event"
	CodeTooLarge     = "too_large"
)

// Error is a verdict on one event: what the client did wrong, in its own terms. It never quotes
// the event.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Code + ": " + e.Message
	}
	return e.Code + ": " + e.Field + ": " + e.Message
}

func invalid(field, format string, args ...any) *Error {
	return &Error{Code: CodeInvalidEvent, Message: fmt.Sprintf(format, args...), Field: field}
}

// Event is one decoded event. Its slices point into the decoded document or into the event's own
// scratch space: they are valid until the document is reused or Decode is called again. An absent
// member and an explicit null are both nil.
type Event struct {
	Type        Type
	MessageID   []byte // text
	AnonymousID []byte // text; a number's exact decimal text
	PreviousID  []byte // text; alias only: the id that Identity replaces
	GroupID     []byte // text; group only: the account
	Name        []byte // text of event_name
	Identity    []byte // raw JSON: string, number or object of kinds
	Payload     []byte // raw JSON object
	Context     []byte // raw JSON object
	Timestamp   []byte // raw JSON
	SentAt      []byte // raw JSON
	Unknown     bool   // there are members of other names

	members jsonscan.Members
	scratch []byte
	nameErr error // of event_name, which an identify may have in any form: it is ignored there
}

// Decode reads and validates one event, in the wire's or the log's form (they are the same). It
// checks everything that needs no tenant: JSON, depth, types, limits, a known event type, a name
// on a track. Whether somebody is named at all depends on the tenant's settings: see Identifiers.
// The error is an *Error.
func (e *Event) Decode(data []byte, lim Limits) error {
	e.reset()
	if len(data) > lim.EventBytes {
		return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the event has %d bytes, the limit is %d", len(data), lim.EventBytes)}
	}
	if cap(e.scratch) < len(data) {
		// Unescaped text is never longer than its escaped form, so scratch never moves under a slice.
		e.scratch = make([]byte, 0, len(data))
	}
	var types int
	e.members.Reset(data, lim.Depth)
	for e.members.Next() {
		if err := e.member(e.members.Key(), e.members.Value(), &types); err != nil {
			return err
		}
	}
	if err := e.members.Err(); err != nil {
		if trimmed := bytes.TrimLeft(data, " \t\r\n"); jsonscan.KindOf(trimmed) != jsonscan.Object && jsonscan.Valid(data, lim.Depth) == nil {
			return invalid("", "an event must be an object")
		}
		return JSONError(err)
	}
	if types > 1 {
		return invalid("event_type", "event_type is given %d times", types)
	}
	return e.check(lim)
}

// JSONError turns jsonscan's error into the client's.
func JSONError(err error) *Error {
	return &Error{Code: CodeInvalidJSON, Message: err.Error()}
}

func (e *Event) reset() {
	// One by one: to put a whole event there would copy what is kept, and most of an event is.
	e.Type, e.Unknown, e.nameErr, e.scratch = Unknown, false, nil, e.scratch[:0]
	e.MessageID, e.AnonymousID, e.PreviousID, e.GroupID, e.Name = nil, nil, nil, nil, nil
	e.Identity, e.Payload, e.Context, e.Timestamp, e.SentAt = nil, nil, nil, nil, nil
}

func (e *Event) member(key, raw []byte, types *int) error {
	null := jsonscan.KindOf(raw) == jsonscan.Null
	if null {
		raw = nil
	}
	switch string(key) {
	case "event_type":
		*types++
		name, ok := e.text(raw, false)
		if !ok {
			return invalid("event_type", "event_type must be a string")
		}
		if e.Type = TypeOf(name); e.Type == Unknown {
			return invalid("event_type", "event_type must be identify, track or page")
		}
	case "message_id":
		return e.textMember(&e.MessageID, raw, "message_id", false)
	case "anonymous_id":
		return e.textMember(&e.AnonymousID, raw, "anonymous_id", true)
	case "previous_id":
		return e.textMember(&e.PreviousID, raw, "previous_id", true)
	case "group_id":
		return e.textMember(&e.GroupID, raw, "group_id", true)
	case "event_name":
		e.nameErr = e.textMember(&e.Name, raw, "event_name", false)
	case "identity":
		switch jsonscan.KindOf(raw) {
		case jsonscan.Invalid, jsonscan.String, jsonscan.Number, jsonscan.Object:
			e.Identity = raw
		default:
			return invalid("identity", "identity must be a string, a number or an object of kinds")
		}
	case "payload":
		return objectMember(&e.Payload, raw, "payload")
	case "context":
		return objectMember(&e.Context, raw, "context")
	case "timestamp":
		e.Timestamp = raw
	case "sent_at":
		e.SentAt = raw
	default:
		e.Unknown = true
	}
	return nil
}

func objectMember(dst *[]byte, raw []byte, field string) error {
	if raw != nil && jsonscan.KindOf(raw) != jsonscan.Object {
		return invalid(field, "%s must be an object", field)
	}
	*dst = raw
	return nil
}

func (e *Event) textMember(dst *[]byte, raw []byte, field string, number bool) error {
	if raw == nil {
		*dst = nil
		return nil
	}
	text, ok := e.text(raw, number)
	if !ok {
		if number {
			return invalid(field, "%s must be a string or a number", field)
		}
		return invalid(field, "%s must be a string", field)
	}
	*dst = text
	return nil
}

// text is the text of a raw string, or of a raw number where that is allowed.
func (e *Event) text(raw []byte, number bool) ([]byte, bool) {
	switch jsonscan.KindOf(raw) {
	case jsonscan.String:
		if bytes.IndexByte(raw, '\\') < 0 {
			return raw[1 : len(raw)-1], true
		}
		start := len(e.scratch)
		e.scratch = jsonscan.Unquote(e.scratch, raw)
		return e.scratch[start:], true
	case jsonscan.Number:
		return raw, number
	}
	return nil, false
}

func (e *Event) check(lim Limits) error {
	switch {
	case e.Type == Unknown:
		return invalid("event_type", "event_type is missing: give identify, track or page")
	case len(e.MessageID) > lim.MessageIDBytes:
		return invalid("message_id", "message_id has %d bytes, the limit is %d", len(e.MessageID), lim.MessageIDBytes)
	case len(e.AnonymousID) > lim.IdentityBytes:
		return invalid("anonymous_id", "anonymous_id has %d bytes, the limit is %d", len(e.AnonymousID), lim.IdentityBytes)
	case len(e.PreviousID) > 4*lim.IdentityBytes:
		return invalid("previous_id", "previous_id has %d bytes, the limit is %d", len(e.PreviousID), 4*lim.IdentityBytes)
	case jsonscan.KindOf(e.Identity) != jsonscan.Object && len(e.Identity) > 4*lim.IdentityBytes:
		return invalid("identity", "identity has %d bytes, the limit is %d", len(e.Identity), 4*lim.IdentityBytes)
	case e.Type != Identify && e.nameErr != nil:
		return e.nameErr
	case len(e.Name) > lim.NameBytes:
		return invalid("event_name", "event_name has %d bytes, the limit is %d", len(e.Name), lim.NameBytes)
	case e.Type == Track && len(bytes.TrimSpace(e.Name)) == 0:
		return invalid("event_name", "event_name is required for track")
	case e.Type == Group && len(e.GroupID) == 0:
		return invalid("group_id", "group_id is required for group")
	}
	return nil
}
