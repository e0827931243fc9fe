package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/access"
	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/analytics/schema"
	"github.com/keystone-cdp/keystone/internal/control"
)

type analystsCmd struct {
	Create  analystsCreateCmd  `cmd:"" help:"Create a login and print its password, once."`
	List    analystsListCmd    `cmd:"" help:"Print the logins, one JSON object a line."`
	Drop    analystsDropCmd    `cmd:"" help:"Drop a login."`
	Refresh analystsRefreshCmd `cmd:"" help:"Let the logins read what migrations have added; run it after keystone migrate."`
}

type analystsCreateCmd struct {
	target
	Tenant          string        `required:"" help:"Slug or id." placeholder:"TENANT"`
	Name            string        `arg:"" help:"The login: a-z, 0-9 and _."`
	Memory          int64         `help:"Bytes of memory for all queries at one time." default:"1073741824" placeholder:"BYTES"`
	QueryTime       time.Duration `help:"Time for one query; it may ask for twice as much." default:"1m"`
	QueriesPerHour  int64         `help:"Queries in an hour." default:"10000"`
	ReadRowsPerHour int64         `help:"Rows read in an hour." default:"100000000000"`
	TimePerHour     time.Duration `help:"Time of all queries in an hour." default:"2h"`
	AcceptHoles     bool          `help:"Keep the login where this ClickHouse is known to show an analyst what the filters should hide."`
}

// Help is shown below the usage.
func (analystsCreateCmd) Help() string {
	return `The login reads the tenant's rows of every table and view, and can do nothing else: no writing, no other table,
no file, no other server, no system log. Settings that bind it cannot be changed. ClickHouse holds a hash of the password.

Before the password is printed, the command logs in with it and tries the ways around such filters that some
versions of ClickHouse have left open. Where one works the login is dropped again, unless --accept-holes.
The embedded engine (26.7.2) has one: the table function mergeTreeIndex.

Without --clickhouse-dsn it is the embedded engine of the keystone dev on --data-dir, which is started again with
the new login: queries and inserts under way are broken off, the sink repeats its own. With it, a server's user with
ACCESS MANAGEMENT; a tenant is a role with row policies there.

Examples:
  keystone analysts create --tenant demo ann
  keystone analysts create --tenant demo grafana --queries-per-hour 100000 --clickhouse-dsn "$ADMIN"`
}

// createdAnalyst is what is printed of a new login.
type createdAnalyst struct {
	Name     string    `json:"name"`
	TenantID uuid.UUID `json:"tenant_id"`
	Password string    `json:"password"`
}

// Run creates the login. The output is the only place where the password ever appears.
func (c *analystsCreateCmd) Run(a *app) error {
	var tenant uuid.UUID
	server, err := c.withControlAnd(a, func(plane *control.Plane) (err error) {
		tenant, err = tenantID(a, plane, c.Tenant)
		return err
	})
	if err != nil {
		return err
	}
	defer server.close()
	analyst, password, err := access.New(c.Name, tenant, access.Limits{MemoryBytes: c.Memory, QueryTime: c.QueryTime,
		QueriesPerHour: c.QueriesPerHour, ReadRowsPerHour: c.ReadRowsPerHour, TimePerHour: c.TimePerHour})
	if err != nil {
		return err
	}
	if err := server.Create(a.ctx, analyst); err != nil {
		return err
	}
	holes, err := server.holes(a.ctx, c.Name, password)
	if err != nil || len(holes) > 0 && !c.AcceptHoles {
		err = errors.Join(err, server.Drop(context.WithoutCancel(a.ctx), c.Name))
		if len(holes) > 0 {
			err = errors.Join(fmt.Errorf("this ClickHouse shows an analyst %s. The login is dropped again; use another version, or --accept-holes",
				strings.Join(holes, "; ")), err)
		}
		return err
	}
	for _, hole := range holes {
		fmt.Fprintln(a.stderr, "accepted: this ClickHouse shows an analyst", hole)
	}
	return printJSON(a, createdAnalyst{c.Name, tenant, password})
}

type analystsListCmd struct{ target }

// Run lists the logins.
func (c *analystsListCmd) Run(a *app) error {
	server, err := c.analysts()
	if err != nil {
		return err
	}
	defer server.close()
	all, err := server.List(a.ctx)
	if err != nil {
		return err
	}
	for i := range all {
		all[i].PasswordSHA256 = ""
	}
	return printLines(a, all)
}

type analystsDropCmd struct {
	target
	Name string `arg:"" help:"The login."`
}

// Run drops the login.
func (c *analystsDropCmd) Run(a *app) error {
	server, err := c.analysts()
	if err != nil {
		return err
	}
	defer server.close()
	return server.Drop(a.ctx, c.Name)
}

type analystsRefreshCmd struct{ target }

// Run puts grants and filters on what is new.
func (c *analystsRefreshCmd) Run(a *app) error {
	server, err := c.analysts()
	if err != nil {
		return err
	}
	defer server.close()
	return server.Refresh(a.ctx)
}

// analystServer is where a command's analysts are.
type analystServer struct {
	access.Server
	dsn   string // with the pipeline's or the administrator's credentials
	close func()
}

// withControlAnd looks something up in the control plane and then finds the analysts' server.
func (t *target) withControlAnd(a *app, look func(*control.Plane) error) (*analystServer, error) {
	server, err := t.analysts()
	if err != nil {
		return nil, err
	}
	if err := t.withControl(a, look); err != nil {
		server.close()
		return nil, err
	}
	return server, nil
}

// analysts is a server with SQL where its DSN is given, else the embedded engine of a running dev.
func (t *target) analysts() (*analystServer, error) {
	given := t.ClickhouseDSN != ""
	if err := t.resolve(needClickHouse); err != nil {
		return nil, err
	}
	conn, err := query.Open(t.ClickhouseDSN, commandConns)
	if err != nil {
		return nil, err
	}
	server := &analystServer{dsn: t.ClickhouseDSN, close: func() { _ = conn.Close() }} // nothing is lost with it
	if given {
		database, err := databaseOf(t.ClickhouseDSN)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		server.Server = access.SQL{Conn: conn, Database: database}
		return server, nil
	}
	server.Server = access.File{
		Dir:    t.DataDir,
		Tables: func(ctx context.Context) ([]access.Table, error) { return access.Tables(ctx, conn) },
		Apply:  func(ctx context.Context) error { return askDev(ctx, t.DataDir) },
	}
	return server, nil
}

// holes tries the login.
func (s *analystServer) holes(ctx context.Context, name, password string) ([]string, error) {
	dsn, err := withLogin(s.dsn, name, password)
	if err != nil {
		return nil, err
	}
	conn, err := query.Open(dsn, 1)
	if err != nil {
		return nil, err
	}
	holes, err := access.Holes(ctx, conn)
	return holes, errors.Join(err, conn.Close())
}

// databaseOf is the database a DSN is about.
func databaseOf(dsn string) (string, error) {
	u, err := parseDSN(dsn)
	if err != nil {
		return "", err
	}
	if name := strings.Trim(u.Path, "/"); name != "" {
		return name, nil
	}
	return schema.DefaultDatabase, nil
}
