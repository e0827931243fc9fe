package edge

import (
	"bytes"

	"github.com/keystone-cdp/keystone/ingest/segment"
)

// route is what a path stands for.
type route struct {
	endpoint endpoint
	methods  string       // as in Allow; OPTIONS included
	typ      segment.Type // segment, jitsu: from the path
	list     bool         // segment: the body is a batch
	types    bool         // tracker: its declarations
	param    []byte       // job: its id; settings: the key; a slice of the request
}

const (
	methodsPost = "POST, OPTIONS"
	methodsGet  = "GET, HEAD, OPTIONS"
)

var (
	routeIngest = route{endpoint: endpointIngest, methods: methodsPost}
	routeBatch  = route{endpoint: endpointBatch, methods: methodsPost}
)

// findRoute reads a path. Doubled slashes, a trailing slash and case make no difference: such a
// request is served in place, because SDKs turn a redirected POST into an empty GET.
func findRoute(path []byte) (route, bool) {
	switch string(path) { // the two that are hot
	case "/ingest", "/api/ingest":
		return routeIngest, true
	case "/tenant/ingest/batch", "/api/tenant/ingest/batch", "/ingest/batch":
		return routeBatch, true
	}
	if len(path) > maxPath {
		return route{}, false
	}
	var parts [6][]byte
	n := 0
	for part := range bytes.SplitSeq(path, []byte("/")) {
		if len(part) == 0 {
			continue
		}
		if n == len(parts) {
			return route{}, false
		}
		parts[n] = part
		n++
	}
	return match(parts[:n])
}

// maxPath is longer than any path that means something.
const maxPath = 512

func match(p [][]byte) (route, bool) {
	is := func(words ...string) bool {
		if len(p) != len(words) {
			return false
		}
		for i, word := range words {
			if word != "*" && !bytes.EqualFold(p[i], []byte(word)) {
				return false
			}
		}
		return true
	}
	switch {
	case is("ingest"), is("api", "ingest"):
		return routeIngest, true
	case is("tenant", "ingest", "batch"), is("api", "tenant", "ingest", "batch"), is("ingest", "batch"):
		return routeBatch, true
	case is("tenant", "ingest", "batch", "*"), is("api", "tenant", "ingest", "batch", "*"), is("ingest", "batch", "*"):
		return route{endpoint: endpointJob, methods: methodsGet, param: p[len(p)-1]}, true
	case is("v1", "js", "tracker.js"):
		return route{endpoint: endpointTracker, methods: methodsGet}, true
	case is("v1", "js", "tracker.d.ts"):
		return route{endpoint: endpointTracker, methods: methodsGet, types: true}, true
	case is("v1", "js", "cookie"):
		return route{endpoint: endpointCookie, methods: methodsPost}, true
	case is("v1", "projects", "*", "settings"):
		return route{endpoint: endpointSettings, methods: methodsGet, param: p[2]}, true
	case is("sourceConfig"):
		return route{endpoint: endpointSettings, methods: methodsGet}, true
	case is("v1", "batch"), is("v1", "b"), is("beacon", "v1", "batch"):
		return route{endpoint: endpointSegment, methods: methodsPost, list: true}, true
	case is("v1", "*"):
		typ := segment.TypeOf(bytes.ToLower(p[1]))
		return route{endpoint: endpointSegment, methods: methodsPost, typ: typ}, typ != segment.Unknown
	case is("api", "s", "*"), is("api", "s", "s2s", "*"):
		return jitsu(p[len(p)-1])
	}
	return route{}, false
}

// jitsu reads the last part of a Jitsu path. "event" leaves the type to the message.
func jitsu(name []byte) (route, bool) {
	r := route{endpoint: endpointJitsu, methods: methodsPost, typ: segment.TypeOf(name)}
	if len(name) == 1 {
		return r, false // the short names are Segment's
	}
	r.list = bytes.EqualFold(name, []byte("batch"))
	return r, r.typ != segment.Unknown || r.list || bytes.EqualFold(name, []byte("event"))
}
