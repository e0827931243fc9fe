package access

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/shard"
)

// SQL is a ClickHouse server with access control by SQL. The connection's user needs ACCESS
// MANAGEMENT, and may grant what analysts get (WITH GRANT OPTION).
//
// A tenant is a role: with it go the grants and the row policies. An analyst is a user in that role,
// with a profile and a quota.
type SQL struct {
	Conn     driver.Conn
	Database string // the connection's

	cluster string // of shards, all servers of which are told; empty is none
}

// find learns what servers there are.
func (s *SQL) find(ctx context.Context) error {
	layout, err := shard.Find(ctx, s.Conn)
	s.cluster = layout.Cluster
	return err
}

// on is where a statement holds.
func (s SQL) on() string {
	if s.cluster == "" {
		return ""
	}
	return " ON CLUSTER `" + s.cluster + "`"
}

// ourPrefix begins the names of all that this package makes, but for the users.
const (
	rolePrefix    = "keystone_tenant_"
	analystPrefix = "keystone_analyst_"
)

func role(tenant uuid.UUID) string { return rolePrefix + hex.EncodeToString(tenant[:]) }

// Create implements Server. What it had done when it failed gives nobody any right.
func (s SQL) Create(ctx context.Context, a Analyst) error {
	if known, err := s.known(ctx, a.Name); err != nil {
		return err
	} else if known {
		return ErrExists
	}
	if err := s.find(ctx); err != nil {
		return err
	}
	tables, err := Tables(ctx, s.Conn)
	if err != nil {
		return err
	}
	return s.run(ctx, append(s.tenantStatements(a.Tenant, tables), s.analystStatements(a)...))
}

// tenantStatements make a tenant's role. The filters come before the grants.
func (s SQL) tenantStatements(tenant uuid.UUID, tables []Table) []string {
	r := role(tenant)
	all := []string{"CREATE ROLE IF NOT EXISTS " + r + s.on()}
	for _, t := range tables {
		if t.Filtered {
			// Where a policy hides a table from those it says nothing of (an option of the server), whoever
			// runs this must go on seeing it: the sink reads its place from it.
			all = append(all,
				fmt.Sprintf("CREATE ROW POLICY IF NOT EXISTS keystone_own%s ON %s FOR SELECT USING 1 TO CURRENT_USER", s.on(), s.name(t)),
				fmt.Sprintf("CREATE ROW POLICY OR REPLACE %s%s ON %s FOR SELECT USING %s TO %s", r, s.on(), s.name(t), condition(tenant), r))
		}
	}
	for _, t := range tables {
		all = append(all, fmt.Sprintf("GRANT%s SELECT ON %s TO %s", s.on(), s.name(t), r))
	}
	return all
}

func (s SQL) name(t Table) string { return s.Database + ".`" + t.Name + "`" }

// analystStatements make the user last, when all that binds it is there.
func (s SQL) analystStatements(a Analyst) []string {
	own := analystPrefix + a.Name
	var settings []string
	for _, x := range a.Limits.settings() {
		bound := " CONST"
		if x.most != "" {
			bound = " MIN " + x.least + " MAX " + x.most
		}
		settings = append(settings, x.name+" = '"+x.value+"'"+bound)
	}
	return []string{
		"CREATE SETTINGS PROFILE OR REPLACE " + own + s.on() + " SETTINGS " + strings.Join(settings, ", "),
		fmt.Sprintf("CREATE USER %s%s IDENTIFIED WITH sha256_hash BY '%s' DEFAULT ROLE NONE SETTINGS PROFILE '%s'", a.Name, s.on(), a.PasswordSHA256, own),
		fmt.Sprintf("CREATE QUOTA OR REPLACE %s%s KEYED BY user_name FOR INTERVAL 1 hour MAX queries = %d, read_rows = %d, execution_time = %d TO %s",
			own, s.on(), a.Limits.QueriesPerHour, a.Limits.ReadRowsPerHour, seconds(a.Limits.TimePerHour), a.Name),
		fmt.Sprintf("GRANT%s %s TO %s", s.on(), role(a.Tenant), a.Name),
		fmt.Sprintf("ALTER USER %s%s DEFAULT ROLE %s", a.Name, s.on(), role(a.Tenant)),
	}
}

// List implements Server.
func (s SQL) List(ctx context.Context) ([]Analyst, error) {
	rows, err := s.Conn.Query(ctx, `
SELECT user_name, granted_role_name FROM system.role_grants
WHERE startsWith(granted_role_name, $1) AND isNotNull(user_name) ORDER BY user_name`, rolePrefix)
	if err != nil {
		return nil, fmt.Errorf("list analysts: %w", err)
	}
	defer rows.Close()
	var all []Analyst
	for rows.Next() {
		var name *string
		var granted string
		if err := rows.Scan(&name, &granted); err != nil {
			return nil, fmt.Errorf("list analysts: %w", err)
		}
		tenant, err := uuid.Parse(strings.TrimPrefix(granted, rolePrefix))
		if err != nil {
			return nil, fmt.Errorf("list analysts: role %s is of no tenant", granted)
		}
		all = append(all, Analyst{Name: *name, Tenant: tenant})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list analysts: %w", err)
	}
	return all, nil
}

// known tells whether there is an analyst of that name.
func (s SQL) known(ctx context.Context, name string) (bool, error) {
	all, err := s.List(ctx)
	return slices.ContainsFunc(all, func(a Analyst) bool { return a.Name == name }), err
}

// Drop implements Server. The tenant's role stays, for its other analysts: it is nobody's login.
func (s SQL) Drop(ctx context.Context, name string) error {
	if known, err := s.known(ctx, name); err != nil {
		return err
	} else if !known {
		return ErrUnknown
	}
	if err := s.find(ctx); err != nil {
		return err
	}
	return s.run(ctx, s.dropStatements(name))
}

func (s SQL) dropStatements(name string) []string {
	return []string{
		"DROP USER IF EXISTS " + name + s.on(),
		"DROP QUOTA IF EXISTS " + analystPrefix + name + s.on(),
		"DROP SETTINGS PROFILE IF EXISTS " + analystPrefix + name + s.on(),
	}
}

// Refresh implements Server.
func (s SQL) Refresh(ctx context.Context) error {
	all, err := s.List(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	if err := s.find(ctx); err != nil {
		return err
	}
	tables, err := Tables(ctx, s.Conn)
	if err != nil {
		return err
	}
	done := map[uuid.UUID]bool{}
	for _, a := range all {
		if done[a.Tenant] {
			continue
		}
		done[a.Tenant] = true
		if err := s.run(ctx, s.tenantStatements(a.Tenant, tables)); err != nil {
			return err
		}
	}
	return nil
}

// run runs statements, which are in no log of queries: one holds a hash.
func (s SQL) run(ctx context.Context, statements []string) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"log_queries": 0,
		// Where the servers keep users in their Keeper, one statement is for all of them already.
		"ignore_on_cluster_for_replicated_access_entities_queries": 1,
	}))
	for _, statement := range statements {
		if err := s.Conn.Exec(ctx, statement); err != nil {
			what := strings.Join(strings.Fields(statement)[:3], " ") // no more: it may hold the hash
			return fmt.Errorf("%s ...: %w", strings.ToLower(what), err)
		}
	}
	return nil
}
