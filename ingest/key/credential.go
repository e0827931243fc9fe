package key

import (
	"bytes"
	"encoding/base64"

	"github.com/valyala/fasthttp"
)

// Scratch is where FromHeader decodes to.
type Scratch [MaxBytes]byte

// FromHeader is the key that a request's headers name: the first of X-API-Key, Authorization Basic
// (the user), Authorization Bearer and X-Write-Key (spec 1.5), or nil. It is valid as long as the
// request and scratch are.
func FromHeader(h *fasthttp.RequestHeader, scratch *Scratch) []byte {
	if k := bytes.TrimSpace(h.Peek("X-Api-Key")); len(k) > 0 {
		return k
	}
	if k := fromAuthorization(h.Peek(fasthttp.HeaderAuthorization), scratch); len(k) > 0 {
		return k
	}
	return FromWriteKey(bytes.TrimSpace(h.Peek("X-Write-Key")))
}

func fromAuthorization(value []byte, scratch *Scratch) []byte {
	scheme, rest, ok := bytes.Cut(bytes.TrimSpace(value), []byte(" "))
	if !ok {
		return nil
	}
	rest = bytes.TrimSpace(rest)
	switch {
	case foldEqual(scheme, "bearer"):
		return rest
	case foldEqual(scheme, "basic"):
		return fromBasic(rest, scratch)
	}
	return nil
}

// fromBasic is the user of Basic credentials, or the password where there is no user. What does not
// decode is a key as well, an unknown one: it must not fall through to another source.
func fromBasic(text []byte, scratch *Scratch) []byte {
	if base64.StdEncoding.DecodedLen(len(text)) > len(scratch) {
		return text
	}
	encoding := base64.StdEncoding
	if len(text)%4 != 0 {
		encoding = base64.RawStdEncoding
	}
	n, err := encoding.Decode(scratch[:], text)
	if err != nil {
		return text
	}
	user, password, _ := bytes.Cut(scratch[:n], []byte(":"))
	if len(user) == 0 {
		return password
	}
	return user
}

// FromWriteKey is the key in a value of the form "id:secret" or "key": the part that looks like one
// of ours, else the secret. Empty is nil.
func FromWriteKey(value []byte) []byte {
	id, secret, ok := bytes.Cut(value, []byte(":"))
	if !ok || (ours(id) && !ours(secret)) {
		secret = id
	}
	if len(secret) == 0 {
		return nil
	}
	return secret
}

func ours(text []byte) bool {
	return bytes.HasPrefix(text, []byte(PrefixTracker)) || bytes.HasPrefix(text, []byte(PrefixIntegration))
}
