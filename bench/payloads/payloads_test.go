package payloads

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/event"
)

// Every file is what the index says it is, and says under which licence it is here.
func TestProvenance(t *testing.T) {
	index, err := files.ReadFile("testdata/INDEX.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"INDEX.jsonl": true, "FATES.tsv": true, "LICENSES.md": true}
	total := 0
	for line := range strings.Lines(string(index)) {
		var e struct{ File, SHA256, Repo, Commit, Path, License string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		data, err := files.ReadFile("testdata/" + e.File)
		if err != nil {
			t.Error(err)
			continue
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != e.SHA256 {
			t.Errorf("%s was changed", e.File)
		}
		if e.Repo == "" || len(e.Commit) != 40 || e.Path == "" || e.License == "" {
			t.Errorf("%s: repository %q, commit %q, path %q, licence %q", e.File, e.Repo, e.Commit, e.Path, e.License)
		}
		known[e.File] = true
		total += len(data)
	}
	count := 0
	err = fs.WalkDir(files, "testdata", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			count++
			if !known[strings.TrimPrefix(path, "testdata/")] {
				t.Errorf("%s is not in the index", path)
			}
		}
		return err
	})
	if err != nil || count > 203 || total > 1<<20 {
		t.Errorf("%d files of %d bytes, %v", count, total, err)
	}
}

func TestCasesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	counts := map[int]int{}
	for _, c := range All() {
		if seen[c.Name] || len(c.Files) == 0 || c.Method != http.MethodPost || !strings.HasPrefix(c.Path, "/") {
			t.Errorf("%s: %s %s, files %v", c.Name, c.Method, c.Path, c.Files)
		}
		seen[c.Name] = true
		counts[c.Want.Status]++
		switch w := c.Want; w.Status {
		case http.StatusBadRequest:
			if w.Code == "" || w.Accepted+w.Rejected+len(w.MessageIDs) > 0 {
				t.Errorf("%s: %+v", c.Name, w)
			}
		case http.StatusOK, http.StatusAccepted:
			if w.Code != "" || w.Accepted == 0 || len(w.MessageIDs) != w.Accepted {
				t.Errorf("%s: %+v", c.Name, w)
			}
		default:
			t.Errorf("%s: %+v", c.Name, w)
		}
		for line := range bytes.Lines(c.Body) {
			if c.ContentType == "application/x-ndjson" && !json.Valid(line) {
				t.Errorf("%s: a line is not JSON", c.Name)
			}
		}
		if c.ContentType != "application/x-ndjson" && !json.Valid(c.Body) {
			t.Errorf("%s is not JSON", c.Name)
		}
	}
	if counts[http.StatusOK] < 100 || counts[http.StatusBadRequest] < 30 || counts[http.StatusAccepted] < 10 {
		t.Errorf("statuses: %v", counts)
	}
}

// The native events among them meet their fate in the decoder that edge and processor share.
func TestNativeFates(t *testing.T) {
	settings := event.DefaultSettings()
	for _, c := range All() {
		if c.Path != "/ingest" && c.Path != "/tenant/ingest/batch" {
			continue
		}
		bodies := [][]byte{c.Body}
		if c.Path == "/tenant/ingest/batch" {
			bodies = bytes.Split(bytes.TrimSuffix(c.Body, []byte{'\n'}), []byte{'\n'})
		}
		taken := 0
		for _, body := range bodies {
			var e event.Event
			var ids event.Identifiers
			if err := e.Decode(body, event.DefaultLimits()); err != nil {
				var verdict *event.Error
				if !errors.As(err, &verdict) || verdict.Code != c.Want.Code {
					t.Errorf("%s: got %v, want %+v", c.Name, err, c.Want)
				}
				continue
			}
			if e.Identifiers(uuid.Nil, &settings, &ids); ids.Empty() {
				t.Errorf("%s names nobody", c.Name)
			}
			if got := string(e.MessageID); got != c.Want.MessageIDs[taken] {
				t.Errorf("%s: message id %q, want %q", c.Name, got, c.Want.MessageIDs[taken])
			}
			taken++
		}
		if taken != c.Want.Accepted {
			t.Errorf("%s: %d taken, want %d", c.Name, taken, c.Want.Accepted)
		}
	}
}

// A second reading of the dialect's rules, by what the messages hold: it must not contradict the
// table.
func TestDialectFatesAgreeWithTheMessages(t *testing.T) {
	for _, c := range All() {
		if !strings.HasPrefix(c.Path, "/v1/") || c.Path == "/v1/batch" {
			continue
		}
		var m struct {
			UserID, AnonymousID, PreviousID, GroupID, Event string
			Traits                                          struct{ Email, Phone string }
		}
		if err := json.Unmarshal(c.Body, &m); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		named := m.UserID != "" || m.AnonymousID != "" || c.Path == "/v1/identify" && m.Traits.Email+m.Traits.Phone != ""
		good := named && (c.Path != "/v1/track" || m.Event != "") && (c.Path != "/v1/group" || m.GroupID != "")
		if good != (c.Want.Status == http.StatusOK) {
			t.Errorf("%s: want %+v, but the message has %+v", c.Name, c.Want, m)
		}
	}
}

func TestDistinct(t *testing.T) {
	cases := []Case{{Want: Want{MessageIDs: []string{"a", ""}}}, {Want: Want{MessageIDs: []string{"", "a", "b"}}}}
	if n := Distinct(cases); n != 4 {
		t.Errorf("got %d, want 4", n)
	}
	all, taken := All(), 0
	for _, c := range all {
		taken += c.Want.Accepted
	}
	if n := Distinct(all); n >= taken || n < taken/2 {
		t.Errorf("%d distinct of %d", n, taken)
	}
}

func TestLoadWantsAFateForEveryFile(t *testing.T) {
	_, err := Load(fstest.MapFS{"INDEX.jsonl": {Data: []byte(`{"file":"new/one.json"}` + "\n")}, "new/one.json": {Data: []byte(`{}`)}})
	if err == nil || !strings.Contains(err.Error(), "new/one.json") {
		t.Errorf("got %v", err)
	}
}

// The whole collection, where KEYSTONE_PAYLOADS names its folder.
func TestLoadTheWholeCollection(t *testing.T) {
	dir := os.Getenv("KEYSTONE_PAYLOADS")
	if dir == "" {
		t.Skip("KEYSTONE_PAYLOADS is not set")
	}
	cases, err := Load(os.DirFS(dir))
	if err != nil || len(cases) <= len(All()) {
		t.Errorf("%d cases, %v", len(cases), err)
	}
}

func TestSetKey(t *testing.T) {
	for _, c := range []struct {
		place  KeyPlace
		header string
		want   string
	}{
		{XAPIKey, "X-API-Key", "trk"}, {IntegrationKey, "X-API-Key", "int"},
		{BasicAuth, "Authorization", "Basic dHJrOg=="}, {XWriteKey, "X-Write-Key", "trk"},
	} {
		h := http.Header{}
		(&Case{Key: c.place}).SetKey(h, "trk", "int")
		if got := h.Get(c.header); got != c.want {
			t.Errorf("%s: got %q, want %q", c.header, got, c.want)
		}
	}
}
