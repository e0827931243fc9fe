package shop

const codeInvalidEvent = "invalid_event"

// mistakes are what broken clients send: objects, but no events (spec 1.2). All of them are to be
// refused with the same code.
var mistakes = [...]string{
	`"anonymous_id":"a-1","event_type":"track","payload":{"product_id":"P-00001"}}`,                         // no name
	`"anonymous_id":"a-1","event_type":"screen","event_name":"Home","payload":{}}`,                          // not a native type
	`"anonymous_id":"undefined","identity":null,"event_type":"page","payload":{}}`,                          // nobody
	`"event_type":"track","event_name":"Product Viewed","payload":{"product_id":"P-00001"}}`,                // nobody
	`"anonymous_id":"a-1","event_type":"track","event_name":"Product Viewed","payload":["P-00001"]}`,        // no object
	`"anonymous_id":{"id":"a-1"},"event_type":"page","payload":{}}`,                                         // no id
	`"anonymous_id":"a-1","identity":["a@example.com"],"event_type":"identify","payload":{"city":"Leeds"}}`, // no identity
}

func (s *Stream) invalid(dst []byte) ([]byte, Delivery, bool) {
	s.messages++
	s.deliveries++
	s.truth.Invalid++
	dst = append(dst, `{"message_id":"`...)
	dst = appendUUID(dst, mix(s.salt^s.messages), mix(s.salt+s.messages<<20))
	dst = append(dst, `",`...)
	dst = append(dst, mistakes[s.rng.IntN(len(mistakes))]...)
	return dst, Delivery{Lane: mix(s.messages), Type: Track, Invalid: codeInvalidEvent}, true
}
