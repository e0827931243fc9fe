// Package segment rewrites the messages of the Segment, RudderStack and Jitsu SDKs into the native
// form of an event (spec 1.5), so that the rest of the pipeline knows one form only. Values are
// copied as raw text and never re-encoded: every digit of a number survives.
//
// It is a pure codec: routes, keys and answers are ingest/edge's. What it writes is meant to be
// decoded by internal/event, which judges it.
package segment

import (
	"bytes"
	"fmt"

	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Type is a message's type.
type Type uint8

// The types of messages. A Screen becomes a page.
const (
	Unknown Type = iota
	Identify
	Track
	Page
	Screen
	Group
	Alias
)

var native = [...]string{Identify: "identify", Track: "track", Page: "page", Screen: "page", Group: "group", Alias: "alias"}

// TypeOf reads a type's name, as it stands in a message or in a path ("track", or "t").
func TypeOf(name []byte) Type {
	for _, t := range [...]struct {
		name, short string
		is          Type
	}{
		{"track", "t", Track}, {"page", "p", Page}, {"identify", "i", Identify},
		{"screen", "s", Screen}, {"group", "g", Group}, {"alias", "a", Alias},
	} {
		if bytes.EqualFold(name, []byte(t.name)) || string(name) == t.short {
			return t.is
		}
	}
	return Unknown
}

// Message is one message of an SDK. Its slices point into the text it was parsed from. The zero
// value is ready, and can be used again and again.
type Message struct {
	text                         []byte
	typ, messageID               []byte
	anonymousID, userID          []byte
	previousID, groupID          []byte
	event, name                  []byte
	traits, properties, context  []byte
	timestamp, originalTimestamp []byte
	sentAt, writeKey             []byte
	members                      jsonscan.Members
}

// Parse reads a message. The error is an *event.Error: no JSON object, or nested too deep. One level
// less than the native limit is allowed, because the message itself goes into a member.
func (m *Message) Parse(text []byte, lim event.Limits) error {
	*m = Message{text: text, members: m.members}
	if len(text) > lim.EventBytes {
		return tooLarge(len(text), lim)
	}
	m.members.Reset(text, lim.Depth-1)
	for m.members.Next() {
		if dst := m.field(m.members.Key()); dst != nil {
			// The last of a duplicated member counts, and null is absence.
			if *dst = m.members.Value(); jsonscan.KindOf(*dst) == jsonscan.Null {
				*dst = nil
			}
		}
	}
	if err := m.members.Err(); err != nil {
		return event.JSONError(err)
	}
	return nil
}

func (m *Message) field(key []byte) *[]byte {
	switch string(key) {
	case "type":
		return &m.typ
	case "messageId":
		return &m.messageID
	case "anonymousId":
		return &m.anonymousID
	case "userId":
		return &m.userID
	case "previousId":
		return &m.previousID
	case "groupId":
		return &m.groupID
	case "event":
		return &m.event
	case "name":
		return &m.name
	case "traits":
		return &m.traits
	case "properties":
		return &m.properties
	case "context":
		return &m.context
	case "timestamp":
		return &m.timestamp
	case "originalTimestamp":
		return &m.originalTimestamp
	case "sentAt":
		return &m.sentAt
	case "writeKey":
		return &m.writeKey
	}
	return nil
}

// WriteKey is the text of the message's writeKey, or nil.
func (m *Message) WriteKey() []byte { return Text(m.writeKey) }

// UserAgent is the text of context.userAgent, or nil.
func (m *Message) UserAgent() []byte {
	if jsonscan.KindOf(m.context) != jsonscan.Object {
		return nil
	}
	return Text(event.Member(m.context, "userAgent"))
}

// Text is the text of a raw JSON string, or nil.
func Text(raw []byte) []byte {
	if jsonscan.KindOf(raw) != jsonscan.String {
		return nil
	}
	return jsonscan.Unquote(nil, raw)
}

func tooLarge(n int, lim event.Limits) error {
	return &event.Error{Code: event.CodeTooLarge, Message: fmt.Sprintf("the message has %d bytes, the limit is %d", n, lim.EventBytes)}
}
