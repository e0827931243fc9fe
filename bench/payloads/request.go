package payloads

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-json"
)

// builder turns files into cases.
type builder struct {
	collection fs.FS
	cases      []Case
	bundles    map[string]int // by name: which case
}

func (b *builder) add(file string, f fate) error {
	data, err := fs.ReadFile(b.collection, file)
	if err != nil {
		return err
	}
	c := Case{Name: file, Files: []string{file}, Method: http.MethodPost, Path: f.path, ContentType: "application/json", Body: data}
	switch {
	case f.bundle != "":
		return b.bundle(file, f, data)
	case f.path == "/v1/batch":
		c.Key = BasicAuth
		err = c.batch(data)
	case f.path == "/tenant/ingest/batch":
		c.Key, c.ContentType = IntegrationKey, "application/x-ndjson"
		c.lines(file, data)
	case f.path == "/ingest":
		c.Body = envelope(nil, file, data)
		c.single(f, name(file))
	case strings.HasPrefix(f.path, "/api/s/"):
		c.Key = XWriteKey
		err = c.message(f, data)
	default:
		c.Key, c.ContentType = BasicAuth, "text/plain" // what Segment's browser library says
		if f.anon {
			c.Name += "+anonymousId"
			c.Body = withAnonymousID(file, data)
		}
		err = c.message(f, data)
	}
	b.cases = append(b.cases, c)
	return err
}

// close ends the bundles' bodies and puts the cases in the order of their names.
func (b *builder) close() {
	for _, i := range b.bundles {
		b.cases[i].Body = append(b.cases[i].Body, `],"sentAt":"2026-11-23T10:00:00.000Z"}`...)
	}
	slices.SortFunc(b.cases, func(x, y Case) int { return strings.Compare(x.Name, y.Name) })
}

// bundle puts a message into a batch with others of its vendor.
func (b *builder) bundle(file string, f fate, data []byte) error {
	i, ok := b.bundles[f.bundle]
	if !ok {
		i = len(b.cases)
		b.bundles[f.bundle] = i
		b.cases = append(b.cases, Case{Name: path.Dir(file) + "/bundle:" + f.bundle, Method: http.MethodPost, Path: f.path,
			ContentType: "application/json", Key: BasicAuth, Body: []byte(`{"batch":[`), Want: Want{Status: http.StatusOK}})
	}
	c := &b.cases[i]
	if len(c.Files) > 0 {
		c.Body = append(c.Body, ',')
	}
	c.Files = append(c.Files, file)
	c.Body = append(c.Body, bytes.TrimSpace(data)...)
	if f.code != accepted {
		c.Want.Rejected++
		return nil
	}
	id, err := messageID(data)
	c.Want.Accepted++
	c.Want.MessageIDs = append(c.Want.MessageIDs, id)
	return err
}

// single is the fate of a request that holds one event.
func (c *Case) single(f fate, messageID string) {
	if f.code != accepted {
		c.Want = Want{Status: http.StatusBadRequest, Code: f.code}
		return
	}
	c.Want = Want{Status: http.StatusOK, Accepted: 1, MessageIDs: []string{messageID}}
}

// message is a Segment message alone.
func (c *Case) message(f fate, data []byte) error {
	id, err := messageID(data)
	c.single(f, id)
	return err
}

// batch is a Segment batch all of whose messages are good.
func (c *Case) batch(data []byte) error {
	var body struct {
		Batch []json.RawMessage `json:"batch"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	c.Want = Want{Status: http.StatusOK, Accepted: len(body.Batch)}
	for _, message := range body.Batch {
		id, err := messageID(message)
		if err != nil {
			return err
		}
		c.Want.MessageIDs = append(c.Want.MessageIDs, id)
	}
	return nil
}

// lines makes an event of every line of a file.
func (c *Case) lines(file string, data []byte) {
	c.Body, c.Want = nil, Want{Status: http.StatusAccepted}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		c.Want.Accepted++
		numbered := fmt.Sprintf("%s:%d", file, c.Want.Accepted)
		c.Body = append(envelope(c.Body, numbered, line), '\n')
		c.Want.MessageIDs = append(c.Want.MessageIDs, name(numbered))
	}
}

// name is the message id and the anonymous id of what is sent in an envelope.
func name(file string) string { return "payload:" + file }

// envelope appends a native event that has the file, byte for byte, as its payload.
func envelope(dst []byte, file string, payload []byte) []byte {
	dst = fmt.Appendf(dst, `{"message_id":%q,"anonymous_id":%q,"event_type":"track","event_name":%q,"payload":`,
		name(file), name(file), path.Dir(file))
	dst = append(dst, payload...)
	return append(dst, '}')
}

// withAnonymousID adds the id that an SDK would have added.
func withAnonymousID(file string, message []byte) []byte {
	message = bytes.TrimSpace(message)
	return append(fmt.Appendf(nil, `{"anonymousId":%q,`, name(file)), message[1:]...)
}

func messageID(message []byte) (string, error) {
	var m struct {
		MessageID string `json:"messageId"`
	}
	err := json.Unmarshal(message, &m)
	return m.MessageID, err
}
