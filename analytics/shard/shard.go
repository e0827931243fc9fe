// Package shard knows on which servers the rows are: on one, or on the shards of a cluster. What
// writes, and what asks where it has to go on, speaks to each shard's server itself, and to the
// tables' parts there; what only asks uses the tables of all shards, whatever server it is connected to
// (schema.Engines says how they are called).
//
// Of each shard's replicas it is always the same one that is spoken to: the one of the DSN where that is
// in the shard, else the first that the cluster's configuration names. Another replica may be behind,
// and would say of rows that were acknowledged that they are not there. While it is away its shard
// waits.
//
// Whoever calls Open closes; nothing is connected to before it is needed.
package shard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
)

// Layout is where the rows of a database are.
type Layout struct {
	Cluster string   // name of the cluster of shards; empty where all is on one server
	Hosts   []string // host:port of the server of each shard that is written to; of one server none
}

// Local is the name of a table's part on one shard; on one server, of the table.
func (l Layout) Local(table string) string { return schema.Engines{Cluster: l.Cluster}.Local(table) }

// The table of all shards over the parts of events names its cluster first.
const clusterOf = `
SELECT engine, extract(engine_full, '^Distributed\\(\'([^\']*)\'') FROM system.tables
WHERE database = currentDatabase() AND name = 'events'`

// Find asks the connection's database. It must have its tables.
func Find(ctx context.Context, conn driver.Conn) (Layout, error) {
	rows, err := conn.Query(ctx, clusterOf)
	if err != nil {
		return Layout{}, fmt.Errorf("look for shards: %w", err)
	}
	defer rows.Close()
	var engine string
	var l Layout
	for rows.Next() {
		if err := rows.Scan(&engine, &l.Cluster); err != nil {
			return Layout{}, fmt.Errorf("look for shards: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return Layout{}, fmt.Errorf("look for shards: %w", err)
	}
	if engine == "" {
		return Layout{}, errors.New("look for shards: there is no table events yet: run keystone migrate")
	}
	if l.Cluster == "" {
		return Layout{}, nil
	}
	l.Hosts, err = Hosts(ctx, conn, l.Cluster)
	return l, err
}

const hostsOf = `
SELECT shard_num, host_name, port FROM system.clusters WHERE cluster = $1
ORDER BY shard_num, is_local DESC, replica_num LIMIT 1 BY shard_num`

// Hosts are the addresses of one server of each shard of a cluster, in the shards' order.
func Hosts(ctx context.Context, conn driver.Conn, cluster string) ([]string, error) {
	rows, err := conn.Query(ctx, hostsOf, cluster)
	if err != nil {
		return nil, fmt.Errorf("list the shards of %s: %w", cluster, err)
	}
	defer rows.Close()
	var hosts []string
	for rows.Next() {
		var number uint32
		var host string
		var port uint16
		if err := rows.Scan(&number, &host, &port); err != nil {
			return nil, fmt.Errorf("list the shards of %s: %w", cluster, err)
		}
		hosts = append(hosts, net.JoinHostPort(host, strconv.Itoa(int(port))))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list the shards of %s: %w", cluster, err)
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("list the shards of %s: the server's configuration (remote_servers) has no such cluster", cluster)
	}
	return hosts, nil
}

// DSN is the address of another server of the same cluster, with the same login.
func DSN(dsn, host string) (string, error) { return change(dsn, host, "") }

// change has another host or another database in a DSN; empty is the same. (Not by net/url: there may be
// several hosts.)
func change(dsn, host, database string) (string, error) {
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok {
		return "", errors.New("parse clickhouse dsn: it is not a clickhouse:// address") // itself may hold a password
	}
	address, query, parameters := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(address, "/")
	login := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		login, authority = authority[:i+1], authority[i+1:]
	}
	if host != "" {
		authority = host
	}
	if database != "" {
		path = database
	}
	changed := scheme + "://" + login + authority + "/" + path
	if parameters {
		changed += "?" + query
	}
	return changed, nil
}

// DSNs are the addresses of one server of each shard; of one server, its own. For a database without
// tables it wants the cluster's name.
func DSNs(ctx context.Context, dsn, cluster string) (all []string, err error) {
	asked := dsn
	if cluster != "" { // the database may not be there yet; this one always is
		var err error
		if asked, err = change(dsn, "", "system"); err != nil {
			return nil, err
		}
	}
	conn, err := query.Open(asked, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	l := Layout{Cluster: cluster}
	if cluster == "" {
		l, err = Find(ctx, conn)
	} else {
		l.Hosts, err = Hosts(ctx, conn, cluster)
	}
	if err != nil || l.Cluster == "" {
		return []string{dsn}, err
	}
	for _, host := range l.Hosts {
		other, err := DSN(dsn, host)
		if err != nil {
			return nil, err
		}
		all = append(all, other)
	}
	return all, nil
}

// Servers are connections to a database, wherever its rows are. It is safe for use by several goroutines.
type Servers struct {
	dsn   string
	conns int // to each server
	home  driver.Conn

	mu   sync.Mutex
	wrap func(driver.Conn) driver.Conn
	set  *Set // nil until it is known
}

// Open reads a DSN and connects to nothing yet; conns bounds the connections to each server.
func Open(dsn string, conns int) (*Servers, error) {
	home, err := query.Open(dsn, conns)
	if err != nil {
		return nil, err
	}
	return &Servers{dsn: dsn, conns: conns, home: home}, nil
}

// Wrap has all connections pass through f before they are used: for tests that break them.
func (s *Servers) Wrap(f func(driver.Conn) driver.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrap = f
}

// Get asks the database where its rows are, once.
func (s *Servers) Get(ctx context.Context) (*Set, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set != nil {
		return s.set, nil
	}
	l, err := Find(ctx, s.home)
	if err != nil {
		return nil, err
	}
	set := &Set{Layout: l}
	if l.Cluster == "" {
		set.conns = []driver.Conn{s.home}
	}
	for _, host := range l.Hosts {
		dsn, err := DSN(s.dsn, host)
		if err != nil {
			return nil, errors.Join(err, set.close())
		}
		conn, err := query.Open(dsn, s.conns)
		if err != nil {
			return nil, errors.Join(err, set.close())
		}
		set.conns = append(set.conns, conn)
	}
	if s.wrap != nil {
		for i := range set.conns {
			set.conns[i] = s.wrap(set.conns[i])
		}
	}
	s.set = set
	return set, nil
}

// Home is a connection by the DSN itself: for what is the same on all servers.
func (s *Servers) Home() driver.Conn { return s.home }

// Ping tells whether all servers answer.
func (s *Servers) Ping(ctx context.Context) error {
	set, err := s.Get(ctx)
	if err != nil {
		return err
	}
	if err := set.Each(func(_ int, conn driver.Conn) error { return conn.Ping(ctx) }); err != nil {
		return fmt.Errorf("ping clickhouse: %w", err)
	}
	return nil
}

// Close ends all connections that Open and Get have made.
func (s *Servers) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.home.Close()
	if s.set != nil && s.set.Cluster != "" {
		err = errors.Join(err, s.set.close())
	}
	return err
}

// Set is a connection to one server of each shard; of a server alone, to that.
type Set struct {
	Layout
	conns []driver.Conn
}

func (s *Set) close() (err error) {
	for _, conn := range s.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// First is where what is of no shard is kept: one table, on one server.
func (s *Set) First() driver.Conn { return s.conns[0] }

// All are the connections in the shards' order.
func (s *Set) All() []driver.Conn { return s.conns }

// Each does something on all shards at once. It waits for all of them, whoever fails, and tells which did.
func (s *Set) Each(do func(shard int, conn driver.Conn) error) error {
	errs := make([]error, len(s.conns))
	var running sync.WaitGroup
	for i, conn := range s.conns {
		running.Go(func() {
			if err := do(i, conn); err != nil && s.Cluster != "" {
				errs[i] = fmt.Errorf("shard %d of %d (%s): %w", i+1, len(s.conns), s.Hosts[i], err)
			} else {
				errs[i] = err
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Of is the shard for the rows of a partition of the log. The log puts one routing node into one partition,
// so that all of a device is on one shard, and a batch of one partition is one insert on one server.
// Where the numbers of partitions are multiples of that of the shards, both lanes agree on the shard.
func (s *Set) Of(partition int32) driver.Conn { return s.conns[OfPartition(partition, len(s.conns))] }
