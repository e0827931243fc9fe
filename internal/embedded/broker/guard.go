package broker

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxRequestBytes is Kafka's own default limit of a request.
	maxRequestBytes = 100 << 20
	headerBytes     = 8 // length, key, version
	lengthBytes     = 4 // of the header, not counted by the length itself
)

// guardedListener keeps bytes that are no Kafka request from kfake, which
// believes every length it is told and takes every request key for known: one
// HTTP request to its port would end this process.
type guardedListener struct{ net.Listener }

func (l guardedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: conn}, nil
}

// guardedConn reads request by request. Only one goroutine reads a connection.
type guardedConn struct {
	net.Conn
	buf    [headerBytes]byte
	header []byte // of the current request, not yet handed on
	body   int    // bytes of the current request still to come
}

func (c *guardedConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.header) == 0 && c.body == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.header) > 0 {
		n := copy(p, c.header)
		c.header = c.header[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p[:min(len(p), c.body)])
	c.body -= n
	return n, err
}

// next reads the header of the next request and refuses what is none.
func (c *guardedConn) next() error {
	if _, err := io.ReadFull(c.Conn, c.buf[:]); err != nil {
		return err
	}
	length := int64(binary.BigEndian.Uint32(c.buf[:]))
	key := int16(binary.BigEndian.Uint16(c.buf[4:]))
	if length < headerBytes-lengthBytes || length > maxRequestBytes {
		return fmt.Errorf("request of %d bytes refused", length)
	}
	if kmsg.RequestForKey(key) == nil {
		return fmt.Errorf("request key %d refused", key)
	}
	c.header, c.body = c.buf[:], int(length)-(headerBytes-lengthBytes)
	return nil
}
