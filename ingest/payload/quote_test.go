package payload

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendQuotedIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		quoted := AppendQuoted([]byte("x"), text)[1:]
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil || back != text {
			t.Fatalf("%q became %s: %q %v", text, quoted, back, err)
		}
		if string(AppendQuoted(nil, []byte(text))) != string(quoted) {
			t.Fatal("bytes and strings differ")
		}
	})
}
