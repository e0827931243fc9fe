// Package edge is the HTTP server in front of everything: routes, CORS, keys, limits, status codes.
// It judges events with internal/event, turns SDK messages into events with ingest/segment, and
// answers 2xx only when a lane says that they are durable. It keeps nothing itself.
//
// # Never lying
//
// A 2xx means durable, a 4xx that nothing was taken. A 503 means that nothing was taken either: what
// is refused before it was handed to the log certainly is not there. One case is left, where the log
// was asked, did not answer in time, and then the disk failed as well: the event may still arrive.
// Its message id was either the client's, so that the client's repetition counts once; or it was
// minted here, and then the edge remembers it (doubt.go) and gives the same id to the same event when
// it comes again.
//
// A batch is judged event by event: those that could not be made durable are listed as rejected with
// the code "unavailable" beside those that were wrong, and the rest is taken.
//
// New starts nothing. Start listens, Stop drains; the lanes, the key cache and the recorder of jobs
// belong to the caller and must outlive the server.
package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"

	"github.com/keystone-cdp/keystone/ingest/job"
	"github.com/keystone-cdp/keystone/ingest/key"
	"github.com/keystone-cdp/keystone/ingest/payload"
	"github.com/keystone-cdp/keystone/ingest/produce"
	"github.com/keystone-cdp/keystone/ingest/tracker"
	"github.com/keystone-cdp/keystone/internal/service"
	"github.com/keystone-cdp/keystone/internal/trace"
)

// Keys tells what an API key allows; *key.Cache is one.
type Keys interface {
	Lookup(text []byte) (*key.Grant, error)
}

// Lane makes records durable; *produce.Lane is one.
type Lane interface {
	Submit(records []*kgo.Record) produce.Ticket
	Wait(t produce.Ticket) produce.Outcome
	Ready() error
}

// Jobs keeps the progress of batches; *job.Recorder is one.
type Jobs interface {
	Save(j job.Job)
	Status(ctx context.Context, tenant, id uuid.UUID) (job.Status, error)
}

// Deps are what the server stands on.
type Deps struct {
	Keys     Keys
	Live     Lane // into event.TopicEvents
	Backfill Lane // into event.TopicBackfill
	Jobs     Jobs
	Log      *slog.Logger
	Registry prometheus.Registerer
	Tracer   *trace.Tracer // nil: no traces
}

// Server is the HTTP side of the edge.
type Server struct {
	cfg      Config
	deps     Deps
	log      *slog.Logger
	metrics  *metrics
	bodies   *payload.Reader
	script   *tracker.File
	types    *tracker.File // the script's TypeScript declarations
	http     *fasthttp.Server
	clock    clock
	ids      idSource
	doubt    doubt
	inFlight inFlight
	courtesy courtesy
	requests sync.Pool // of *request
	desks    sync.Pool // of *desk
	chunks   sync.Pool // of *chunk

	listener    *listener
	certificate *certificate // nil: no TLS
	unwatch     func()       // ends the look-out for another certificate

	serving  sync.WaitGroup
	stopping atomic.Bool
	served   chan error // the end of Serve; capacity 1
	stopOnce sync.Once
	stopErr  error
}

// New makes a server.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	script, err := tracker.Script()
	if err != nil {
		return nil, err
	}
	types, err := tracker.Declarations()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, deps: deps, log: deps.Log, script: script, types: types,
		metrics:  newMetrics(deps.Registry),
		bodies:   payload.NewReader(cfg.BodyMemory, cfg.BodyWait),
		ids:      newIDSource(),
		courtesy: courtesy{now: time.Now, sleep: time.Sleep},
		served:   make(chan error, 1),
	}
	s.requests.New = func() any {
		r := &request{s: s, stripe: s.inFlight.stripe(), turns: turns{s: s}}
		r.batch.Worked, r.arrived, r.inflated = r.turns.worked, r.turns.arrived, r.turns.inflated
		return r
	}
	s.desks.New = func() any { return new(desk) }
	s.inFlight.register(deps.Registry)
	s.chunks.New = func() any { return new(chunk) }
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.malformed,
		HeaderReceived:               s.allowance,
		NoDefaultServerHeader:        true,
		ReadBufferSize:               cfg.HeaderBytes,
		WriteBufferSize:              4 << 10,
		ReadTimeout:                  cfg.ReadTimeout,
		WriteTimeout:                 cfg.WriteTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		MaxConnsPerIP:                cfg.MaxConnsPerIP,
		MaxRequestBodySize:           cfg.BatchBytes,
		StreamRequestBody:            true, // bodies are read within their own limits, after the key was checked
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true,
		SecureErrorLogMessage:        true,
		Concurrency:                  cfg.MaxConns + 1024, // the listener refuses first, with an answer in our form
		Logger:                       connectionLog{deps.Log},
	}
	return s, nil
}

// Start listens on the configured address and serves.
func (s *Server) Start(ctx context.Context) error {
	if err := s.loadCertificate(); err != nil {
		return err // before the port is taken
	}
	listen := service.Listen
	if s.cfg.ReusePort {
		listen = listenShared
	}
	l, err := listen(ctx, s.cfg.Listen)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// loadCertificate reads the certificate, if there is to be TLS and it has not been read yet.
func (s *Server) loadCertificate() (err error) {
	if s.cfg.TLSCert != "" && s.certificate == nil {
		s.certificate, err = newCertificate(s.cfg, s.log, s.metrics)
	}
	return err
}

// Serve serves a listener that the caller has opened, in the background. Start calls it. After an
// error the listener is the caller's.
func (s *Server) Serve(l net.Listener) error {
	if err := s.loadCertificate(); err != nil {
		return err
	}
	s.listener = newListener(l, s.cfg, s.metrics)
	top := net.Listener(s.listener)
	if c := s.certificate; c != nil {
		top = c.listen(top)
		var ctx context.Context
		ctx, s.unwatch = context.WithCancel(context.Background()) // until Stop
		s.serving.Go(func() { c.watch(ctx, s.cfg.TLSPoll) })
	}
	s.serving.Go(func() {
		err := s.http.Serve(top)
		if err != nil && !s.stopping.Load() {
			s.log.Error("the edge has stopped accepting connections", "error", err)
		}
		s.served <- err
	})
	return nil
}

// Addr is where it listens, after Start.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Ready is nil while the server takes events; else it names what is in the way. Call it after Start.
func (s *Server) Ready() error {
	switch {
	case s.stopping.Load():
		return errors.New("edge: stopping")
	case len(s.served) > 0:
		return errors.New("edge: not accepting connections")
	}
	if err := s.deps.Live.Ready(); err != nil {
		return fmt.Errorf("edge: %w", err)
	}
	return nil
}

// Stop drains, stops accepting, lets the requests under way finish until ctx ends, and closes what is
// left.
func (s *Server) Stop(ctx context.Context) error {
	s.Drain(ctx)
	s.stopOnce.Do(func() {
		if s.listener == nil {
			return
		}
		if err := s.http.ShutdownWithContext(ctx); err != nil {
			s.stopErr = fmt.Errorf("drain connections: %w", err)
		}
		if s.unwatch != nil {
			s.unwatch()
		}
		s.listener.closeAll()
		s.serving.Wait()
		s.listener.wait()
	})
	return s.stopErr
}

// largeBody is from where on a body gets more time to arrive.
const largeBody = 256 << 10

// allowance gives large bodies the time they need. No body is read before its handler asks for it, which
// spares small ones a copy: the server would read 8 KiB, of as much as we said is allowed.
func (s *Server) allowance(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	c.MaxRequestBodySize = 1
	if n := h.ContentLength(); n > largeBody || n == -1 {
		c.ReadTimeout = s.cfg.BatchTimeout
	}
	return c
}

// handle serves one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	r := s.requests.Get().(*request)
	r.desk = s.desks.Get().(*desk)
	underWay := r.stripe
	underWay.Add(1)
	defer func() {
		underWay.Add(-1)
		if p := recover(); p != nil { // r is not used again: somebody may still hold its memory
			s.metrics.panics.Inc()
			s.log.Error("bug: a request made the edge panic", "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			ctx.Response.Reset()
			r.refuse(ctx, unavailable("the edge has failed on this request"))
			ctx.SetConnectionClose()
			s.bodies.Release(&r.body, true)
		}
	}()
	r.serve(ctx)
	if s.stopping.Load() {
		ctx.SetConnectionClose() // the client's next request goes to another edge
	}
	r.release()
}

// malformed answers what is no HTTP request, or not all of one.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	r := &request{s: s}
	r.begin(ctx)
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		r.refuse(ctx, fail(codeHeadersTooLarge, "the request line and headers exceed the limit"))
	case timedOut(ctx.Conn()):
		r.refuse(ctx, fail(codeTimeout, "the request did not arrive in time"))
	default:
		r.refuse(ctx, fail(codeBadRequest, "this is not a valid HTTP request"))
	}
}

// connectionLog takes fasthttp's lines, which are about single connections.
type connectionLog struct{ log *slog.Logger }

func (l connectionLog) Printf(format string, args ...any) {
	l.log.Debug("connection", "detail", fmt.Sprintf(format, args...))
}
