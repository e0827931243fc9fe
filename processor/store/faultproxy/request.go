package faultproxy

import (
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// request reads one request of the client and answers it.
func (s *session) request() error {
	for {
		m, err := s.client.Receive()
		if err != nil {
			return err
		}
		switch q := m.(type) {
		case *pgproto3.Terminate:
			s.server.Send(q)
			_ = s.server.Flush()
			return errCut
		case *pgproto3.Query:
			return s.query(q)
		case *pgproto3.Parse:
			s.statements[q.Name] = q.Query
		case *pgproto3.Bind:
			s.portals[q.DestinationPortal] = s.statements[q.PreparedStatement]
		case *pgproto3.Execute:
			switch f := s.fault(s.portals[q.Portal]); f.Action {
			case Pass:
			case CutBefore:
				return errCut
			case Refuse:
				return s.refuse(s.portals[q.Portal], f)
			default: // the rest of the request is done as well
				s.server.Send(q)
				return s.finish(f)
			}
		case *pgproto3.Sync:
			s.server.Send(q)
			return s.answer(Fault{})
		}
		s.server.Send(m)
	}
}

func (s *session) fault(statement string) Fault {
	f := (*s.proxy.decide.Load())(normal(statement))
	if f.Action != Pass {
		s.proxy.faults.Add(1)
	}
	return f
}

func normal(statement string) string {
	return strings.ToLower(strings.Join(strings.Fields(statement), " "))
}

// query is a request of the simple protocol: BEGIN, COMMIT and ROLLBACK among others.
func (s *session) query(q *pgproto3.Query) error {
	f := s.fault(q.String)
	switch f.Action {
	case CutBefore:
		return errCut
	case Refuse:
		status, err := s.spoil(q.String)
		if err != nil {
			return err
		}
		return s.fail(f, status)
	}
	s.server.Send(q)
	return s.answer(f)
}

// refuse answers an error instead of running a statement of the extended protocol. What precedes it
// in the request has run; what follows is skipped, as a server does.
func (s *session) refuse(statement string, f Fault) error {
	s.server.Send(&pgproto3.Sync{})
	if err := s.server.Flush(); err != nil {
		return err
	}
	for {
		m, err := s.server.Receive()
		if err != nil {
			return err
		}
		if r, ok := m.(*pgproto3.ReadyForQuery); ok {
			s.status = r.TxStatus
			break
		}
		s.client.Send(m)
	}
	status, err := s.spoil(statement)
	if err != nil {
		return err
	}
	if err := s.skip(); err != nil {
		return err
	}
	return s.fail(f, status)
}

// finish sends the rest of a request whose answer will be spoiled.
func (s *session) finish(f Fault) error {
	for {
		m, err := s.client.Receive()
		if err != nil {
			return err
		}
		s.server.Send(m)
		if _, ok := m.(*pgproto3.Sync); ok {
			return s.answer(f)
		}
	}
}

func (s *session) skip() error {
	for {
		m, err := s.client.Receive()
		if err != nil {
			return err
		}
		if _, ok := m.(*pgproto3.Sync); ok {
			return nil
		}
	}
}

// spoil leaves the server's transaction as an error in its middle would, or rolled back at a COMMIT.
func (s *session) spoil(statement string) (status byte, err error) {
	switch {
	case s.status != 'T':
		return s.status, nil
	case strings.HasPrefix(normal(statement), "commit"):
		return 'I', s.run("rollback")
	default:
		return 'E', s.run("this is no statement")
	}
}

// run runs a statement of the proxy's own, swallowing its answer.
func (s *session) run(statement string) error {
	s.server.Send(&pgproto3.Query{String: statement})
	if err := s.server.Flush(); err != nil {
		return err
	}
	for {
		m, err := s.server.Receive()
		if err != nil {
			return err
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return nil
		}
	}
}

// fail answers an error.
func (s *session) fail(f Fault, status byte) error {
	s.status = status
	s.client.Send(failure(f))
	s.client.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	return s.client.Flush()
}

func failure(f Fault) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: f.Code, Message: "injected by faultproxy"}
}

// answer passes the server's answer on, up to its end, or spoils it.
func (s *session) answer(f Fault) error {
	s.proxy.trips.Add(1)
	if err := s.server.Flush(); err != nil {
		return err
	}
	if f.Action == Delay && !s.proxy.wait(f.Late) {
		return errCut
	}
	for {
		m, err := s.server.Receive()
		if err != nil {
			return err
		}
		switch r := m.(type) {
		case *pgproto3.ReadyForQuery:
			switch f.Action {
			case CutAfter:
				return errCut
			case RefuseAfter:
				return s.fail(f, r.TxStatus)
			}
			s.status = r.TxStatus
			s.client.Send(r)
			return s.client.Flush()
		case *pgproto3.ErrorResponse, *pgproto3.ParameterStatus, *pgproto3.NoticeResponse:
			s.client.Send(m)
		default:
			if f.Action == Pass || f.Action == Delay {
				s.client.Send(m)
			}
		}
	}
}

// wait is how late an answer is. It answers false when the proxy ends before.
func (p *Proxy) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.closing:
		return false
	}
}
