package load

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/valyala/fasthttp"
)

// maxAnswerBytes bounds an answer: a batch's answer may list every event.
const maxAnswerBytes = 64 << 20

// conn is one keep-alive connection, used for one request at a time: what is acknowledged on it one
// after the other is in the log in that order (spec 1.3), which a pool of connections would not
// promise. It dials when first used, and again after an error.
type conn struct {
	timeout time.Duration
	addr    string
	tls     *tls.Config // nil: plain
	head    []byte      // of every request, up to the length of its body
	list    bool        // lines become an array
	gzip    *gzip.Writer
	form    []byte       // a body's other form
	packed  bytes.Buffer // a body compressed

	mu   sync.Mutex // guards the field net against interrupt; its owner alone changes it
	net  net.Conn
	in   *bufio.Reader
	out  []byte
	resp fasthttp.Response
}

func newConn(cfg Config, target *url.URL) *conn {
	c := &conn{timeout: cfg.Timeout, addr: target.Host, in: bufio.NewReader(nil)}
	port := "80"
	if target.Scheme == "https" {
		port = "443"
		c.tls = &tls.Config{ServerName: target.Hostname(), MinVersion: tls.VersionTLS12}
	}
	if target.Port() == "" {
		c.addr = net.JoinHostPort(target.Hostname(), port)
	}
	kind := "application/json"
	if cfg.Path == PathBatch && !cfg.List {
		kind = "application/x-ndjson"
	}
	if cfg.ContentType != "" {
		kind = cfg.ContentType
	}
	c.list = cfg.Path == PathBatch && cfg.List
	c.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nX-API-Key: %s\r\nContent-Type: %s\r\nUser-Agent: keystone-load\r\n",
		cfg.Path, target.Host, cfg.Key, kind)
	if cfg.Gzip {
		c.gzip = gzip.NewWriter(nil)
		c.head = append(c.head, "Content-Encoding: gzip\r\n"...)
	}
	c.head = append(c.head, "Content-Length: "...)
	return c
}

// post sends a body and reads the answer into c.resp. The connection is closed on any error.
func (c *conn) post(body []byte) (status int, err error) {
	deadline := time.Now().Add(c.timeout)
	if c.net == nil {
		if err := c.dial(deadline); err != nil {
			return 0, err
		}
	}
	defer func() {
		if err != nil || c.resp.ConnectionClose() {
			c.close()
		}
	}()
	if err := c.net.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if body, err = c.encode(body); err != nil {
		return 0, err
	}
	c.out = append(c.out[:0], c.head...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.net.Write(c.out); err != nil {
		return 0, err
	}
	if err := c.resp.ReadLimitBody(c.in, maxAnswerBytes); err != nil {
		return 0, err
	}
	return c.resp.StatusCode(), nil
}

// encode puts a body of lines into the form that is asked for.
func (c *conn) encode(body []byte) ([]byte, error) {
	if c.list {
		c.form = append(c.form[:0], '[')
		for line := range bytes.SplitSeq(body, []byte{'\n'}) {
			c.form = append(append(c.form, line...), ',')
		}
		c.form[len(c.form)-1] = ']'
		body = c.form
	}
	if c.gzip == nil {
		return body, nil
	}
	c.packed.Reset()
	c.gzip.Reset(&c.packed)
	if _, err := c.gzip.Write(body); err != nil {
		return nil, err
	}
	if err := c.gzip.Close(); err != nil {
		return nil, err
	}
	return c.packed.Bytes(), nil
}

func (c *conn) dial(deadline time.Time) error {
	d := net.Dialer{Deadline: deadline}
	raw, err := d.Dial("tcp", c.addr)
	if err != nil {
		return err
	}
	if c.tls != nil {
		raw = tls.Client(raw, c.tls) // shakes hands with the first write
	}
	c.mu.Lock()
	c.net = raw
	c.mu.Unlock()
	c.in.Reset(raw)
	return nil
}

func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.net != nil {
		_ = c.net.Close()
		c.net = nil
	}
}

// interrupt ends the attempt that is under way. Any goroutine may call it.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.net != nil {
		_ = c.net.SetDeadline(time.Unix(1, 0))
	}
}

// header is a header of the last answer.
func (c *conn) header(name string) string { return string(c.resp.Header.Peek(name)) }
