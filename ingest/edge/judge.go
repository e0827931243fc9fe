package edge

import (
	"errors"

	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// judge says whether an event is good, and whom it names.
type judge struct {
	event event.Event
	ids   event.Identifiers
	large bool // the decoder has grown beyond what is worth keeping
}

// judge decodes an event. foreign: it was rewritten from an SDK's message, and may be of a type that
// the native endpoints do not take.
func (j *judge) judge(data []byte, foreign bool, g *key.Grant, lim event.Limits) *event.Error {
	j.large = j.large || len(data) > keepDecoder
	j.ids.Dropped = 0
	if err := j.event.Decode(data, lim); err != nil {
		var verdict *event.Error
		if !errors.As(err, &verdict) {
			return &event.Error{Code: event.CodeInvalidEvent, Message: err.Error()}
		}
		return verdict
	}
	if !foreign && !j.event.Type.Native() {
		return &event.Error{Code: event.CodeInvalidEvent, Field: "event_type", Message: "event_type must be identify, track or page"}
	}
	j.event.Names(&g.Settings, &j.ids)
	if !j.ids.Empty() {
		return nil
	}
	switch {
	case j.event.Identity != nil:
		return &event.Error{Code: event.CodeInvalidEvent, Field: "identity", Message: "identity names nobody: its value stands for nobody, is not of its kind, or is of no kind the tenant has"}
	case j.event.AnonymousID != nil:
		return &event.Error{Code: event.CodeInvalidEvent, Field: "anonymous_id", Message: "anonymous_id stands for nobody"}
	}
	return &event.Error{Code: event.CodeInvalidEvent, Field: "anonymous_id", Message: "give anonymous_id or identity"}
}

// saysUserAgent tells whether the event's context has the member user_agent.
func (j *judge) saysUserAgent() bool {
	v := event.Member(j.event.Context, "user_agent")
	return v != nil && jsonscan.KindOf(v) != jsonscan.Null
}
