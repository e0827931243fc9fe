package edge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keystone-cdp/keystone/internal/event"
)

const corpus = "../../internal/jsonscan/testdata/"

// undecided are the files that a JSON parser may take or not (i_*, and those about what becomes of
// values), with what Keystone does. The rules behind it, which are the specification's (1.2):
// numbers are text and never too large; lone surrogates are escapes that browsers really send, so
// they are taken; bytes that are no UTF-8 are not; a byte order mark is allowed before the whole body, not
// inside; nesting is bounded.
var undecided = map[string]bool{
	"i_number_double_huge_neg_exp": true, "i_number_huge_exp": true, "i_number_neg_int_huge_exp": true, "i_number_pos_double_huge_exp": true,
	"i_number_real_neg_overflow": true, "i_number_real_pos_overflow": true, "i_number_real_underflow": true, "i_number_too_big_neg_int": true,
	"i_number_too_big_pos_int": true, "i_number_very_big_negative_int": true,

	"i_object_key_lone_2nd_surrogate": true, "i_string_1st_surrogate_but_2nd_missing": true, "i_string_1st_valid_surrogate_2nd_invalid": true,
	"i_string_incomplete_surrogate_and_escape_valid": true, "i_string_incomplete_surrogate_pair": true, "i_string_incomplete_surrogates_escape_valid": true,
	"i_string_invalid_lonely_surrogate": true, "i_string_invalid_surrogate": true, "i_string_inverted_surrogates_U+1D11E": true, "i_string_lone_second_surrogate": true,

	"i_string_UTF-16LE_with_BOM": false, "i_string_UTF-8_invalid_sequence": false, "i_string_UTF8_surrogate_U+D800": false, "i_string_invalid_utf-8": false,
	"i_string_iso_latin_1": false, "i_string_lone_utf8_continuation_byte": false, "i_string_not_in_unicode_range": false, "i_string_overlong_sequence_2_bytes": false,
	"i_string_overlong_sequence_6_bytes": false, "i_string_overlong_sequence_6_bytes_null": false, "i_string_truncated-utf-8": false,
	"i_string_utf16BE_no_BOM": false, "i_string_utf16LE_no_BOM": false,

	"i_structure_500_nested_arrays": false, "i_structure_UTF-8_BOM_empty_object": false,

	"number_-9223372036854775808": true, "number_-9223372036854775809": true, "number_1.0": true, "number_1.000000000000000005": true,
	"number_1000000000000000": true, "number_10000000000000000999": true, "number_1e-999": true, "number_1e6": true, "number_9223372036854775807": true,
	"number_9223372036854775808": true, "object_key_nfc_nfd": true, "object_key_nfd_nfc": true, "object_same_key_different_values": true,
	"object_same_key_same_value": true, "object_same_key_unclear_values": true, "string_1_escaped_invalid_codepoint": true,
	"string_2_escaped_invalid_codepoints": true, "string_3_escaped_invalid_codepoints": true, "string_with_escaped_NULL": true,
	"string_1_invalid_codepoint": false, "string_2_invalid_codepoints": false, "string_3_invalid_codepoints": false,
}

// specified is the fate of a file's text as a value in a payload: y_ is taken, n_ is not, and the rest
// is decided above.
func specified(t *testing.T, name string) bool {
	t.Helper()
	name = strings.TrimSuffix(name, ".json")
	switch {
	case strings.HasPrefix(name, "y_"):
		return true
	case strings.HasPrefix(name, "n_"):
		return false
	}
	taken, ok := undecided[name]
	if !ok {
		t.Errorf("%s has no specified answer", name)
	}
	return taken
}

// Every file of the corpus has its answer: alone, where none is an event; as a value in a payload; and as
// an item of a batch, where it decides on nothing but itself. What is taken is in the log byte for byte.
func TestCorpus(t *testing.T) {
	r := newRig(t, options{})
	files, err := filepath.Glob(corpus + "jsontestsuite/*.json")
	if err != nil || len(files) != 318 {
		t.Fatal(len(files), err)
	}
	more, err := filepath.Glob(corpus + "jsontransform/*.json")
	if err != nil || len(more) != 22 {
		t.Fatal(len(more), err)
	}
	var lines [][]byte
	var logged []string
	good := 0
	for _, file := range slices.Concat(files, more) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		taken := specified(t, name)
		a := r.post("/ingest", trackerKey, jsonType, string(data))
		code, _ := a.failure(t)
		if a.status != 400 || strings.HasPrefix(name, "n_") && code != event.CodeInvalidJSON || taken && code != event.CodeInvalidEvent {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		inside := fmt.Appendf(nil, `{"message_id":"%d","anonymous_id":"a","event_type":"page","payload":{"x":%s}}`, len(lines), data)
		a = r.do("POST", "/ingest", inside, "X-API-Key", trackerKey)
		if taken != (a.status == 200) || !taken && a.status != 400 {
			t.Errorf("%s inside a payload: %d %s", name, a.status, a.body)
		}
		if !taken {
			if code, _ := a.failure(t); code != event.CodeInvalidJSON {
				t.Errorf("%s inside a payload: %s", name, a.body)
			}
		} else {
			logged = append(logged, string(inside))
		}
		if !bytes.Contains(data, []byte("\n")) {
			lines = append(lines, inside)
			if taken {
				good++
			}
		}
	}
	for i, rec := range r.records(event.TopicEvents, len(logged)) {
		if string(rec.Value) != logged[i] {
			t.Errorf("%s became %s", logged[i], rec.Value)
		}
	}
	a := r.post("/ingest/batch", integrationKey, "application/x-ndjson", string(bytes.Join(lines, []byte("\n"))))
	got := a.json(t)
	if a.status != 202 || int(got["accepted"].(float64)) != good || len(got["rejected"].([]any)) != len(lines)-good {
		t.Errorf("%d: %v accepted of %d, want %d", a.status, got["accepted"], len(lines), good)
	}
	r.records(event.TopicBackfill, good)
	r.conserved()
}
