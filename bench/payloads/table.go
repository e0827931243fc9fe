package payloads

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"strings"

	"github.com/goccy/go-json"
)

// accepted is the fate of what is taken; any other fate is an error's code.
const accepted = "accepted"

// fate is one line of FATES.tsv: where a file goes, and what becomes of it there.
type fate struct {
	path   string
	bundle string // the batch that the message goes into together with others; empty: alone
	anon   bool   // an anonymousId is added, as an SDK does
	code   string // accepted, or the error's code
}

// readFates reads the table: file, request, fate, why, with tabs between. A request is a path, with
// "#bundle" where the file is one message of a batch, with "+anonymousId" where one is added. A file
// may have several lines.
func readFates() (map[string][]fate, error) {
	data, err := files.ReadFile("testdata/FATES.tsv")
	if err != nil {
		return nil, fmt.Errorf("read the fates: %w", err)
	}
	all := map[string][]fate{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) != 4 || columns[3] == "" {
			return nil, fmt.Errorf("read the fates: %q has no file, request, fate and reason", line)
		}
		f := fate{path: columns[1], code: columns[2]}
		f.path, f.anon = strings.CutSuffix(f.path, "+anonymousId")
		f.path, f.bundle, _ = strings.Cut(f.path, "#")
		all[columns[0]] = append(all[columns[0]], f)
	}
	return all, nil
}

// readIndex lists a collection's files.
func readIndex(collection fs.FS) ([]string, error) {
	data, err := fs.ReadFile(collection, "INDEX.jsonl")
	if err != nil {
		return nil, fmt.Errorf("read the index: %w", err)
	}
	var all []string
	for line := range bytes.Lines(data) {
		var entry struct {
			File string `json:"file"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		all = append(all, entry.File)
	}
	return all, nil
}
