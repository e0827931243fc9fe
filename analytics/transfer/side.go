package transfer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/secret"
)

// side is one ClickHouse, over HTTP.
type side struct {
	address  url.URL // without credentials and database
	user     *url.Userinfo
	database string
	access   secret.Access
	http     *http.Client
}

func newSide(text string) (*side, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("its address must look like http://user:password@host:8123/?database=keystone") // the cause would quote the password
	}
	query := u.Query()
	s := &side{user: u.User, database: query.Get("database"), access: secret.Take(query)}
	if err := s.access.Check(); err != nil {
		return nil, err
	}
	if s.access.PasswordFile != "" {
		password, err := secret.Password(s.access.PasswordFile)
		if err != nil {
			return nil, err
		}
		s.user = url.UserPassword(u.User.Username(), password)
	}
	s.http = s.access.Client()
	if s.database == "" {
		s.database = schema.DefaultDatabase
	}
	s.address = url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	return s, nil
}

// dsn is the side's address for clickhouse-go.
func (s *side) dsn() string {
	u := s.address
	parameters := s.access.Parameters()
	if u.Scheme == "https" {
		parameters.Set("secure", "true")
	}
	u.User, u.Path, u.RawQuery = s.user, "/"+s.database, parameters.Encode()
	return u.String()
}

// maxRefusal bounds what is read of an answer that says why not.
const maxRefusal = 4 << 10

func (s *side) do(ctx context.Context, body io.Reader, settings url.Values) (io.ReadCloser, error) {
	u := s.address
	query := url.Values{"database": {s.database}}
	for name, values := range settings {
		query[name] = values
	}
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, err
	}
	if s.user != nil {
		password, _ := s.user.Password()
		req.SetBasicAuth(s.user.Username(), password)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close() //nolint:errcheck // it was only read from
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return resp.Body, nil
}

// query starts a statement and answers its result as it comes.
func (s *side) query(ctx context.Context, statement string, settings url.Values) (io.ReadCloser, error) {
	return s.do(ctx, strings.NewReader(statement), settings)
}

// insert runs an INSERT whose rows are data.
func (s *side) insert(ctx context.Context, statement string, data io.Reader, settings url.Values) error {
	settings.Set("query", statement)
	out, err := s.do(ctx, data, settings)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, out)
	return errors.Join(err, out.Close())
}

// lines runs a statement and hands on each row's columns.
func (s *side) lines(ctx context.Context, statement string, row func(columns []string) error) error {
	out, err := s.query(ctx, statement+" FORMAT TSVRaw", url.Values{"wait_end_of_query": {"1"}})
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // it was only read from
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if err := row(strings.Split(scan.Text(), "\t")); err != nil {
			return err
		}
	}
	return scan.Err()
}

// print is what a chunk is known by.
type print struct {
	rows int64
	sum  uint64 // of the rows' hashes
}

// prints are those of all of a table's chunks.
func (s *side) prints(ctx context.Context, statement string) (map[string]print, error) {
	all := map[string]print{}
	err := s.lines(ctx, statement, func(c []string) error {
		rows, err := strconv.ParseInt(c[1], 10, 64)
		if err != nil {
			return err
		}
		sum, err := strconv.ParseUint(c[2], 10, 64)
		all[c[0]] = print{rows, sum}
		return err
	})
	return all, err
}

// place tells which of a cluster's shards the server is of, counted from 0, and how many there are.
func (s *side) place(ctx context.Context, cluster string) (own, shards int, err error) {
	found := 0
	err = s.lines(ctx, "SELECT shard_num, max(is_local) FROM system.clusters WHERE cluster = '"+cluster+"' GROUP BY shard_num", func(c []string) error {
		shards++
		if c[1] != "1" {
			return nil
		}
		found++
		n, err := strconv.Atoi(c[0])
		own = n - 1
		return err
	})
	if err == nil && found != 1 {
		err = fmt.Errorf("it is in %d shards of cluster %s, by system.clusters: it must be in one", found, cluster)
	}
	return own, shards, err
}

// empty removes a chunk.
func (s *side) empty(ctx context.Context, t *table, chunk string) error {
	out, err := s.query(ctx, "ALTER TABLE "+t.target+" DELETE WHERE "+t.inChunk(chunk), url.Values{"mutations_sync": {"2"}})
	if err != nil {
		return fmt.Errorf("empty chunk %s: %w", chunk, err)
	}
	return out.Close()
}
