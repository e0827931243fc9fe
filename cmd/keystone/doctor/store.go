package doctor

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keystone-cdp/keystone/sql"
)

var (
	doctorServer      = sql.Statement("doctor_server")
	doctorPrivileges  = sql.Statement("doctor_privileges")
	doctorDeadLetters = sql.Statement("doctor_dead_letters")
)

const (
	checkNameStore = "state_store"
	// minPostgres is the oldest major version that the statements are for.
	minPostgres = 15
	// deadLettersShown bounds the count.
	deadLettersShown = 1000
)

var postgresMajor = regexp.MustCompile(`^PostgreSQL (\d+)`)

func (d *Doctor) checkStore(ctx context.Context) {
	if d.pool == nil {
		return
	}
	var server, user string
	var there time.Time
	if err := d.pool.Ping(ctx); err != nil {
		d.report.add(checkNameStore, Stops, "start CockroachDB or mend --store-dsn: processors wait, and edges serve only the keys they know", "does not answer: %v", redact(err))
		return
	}
	before := time.Now()
	if err := d.pool.QueryRow(ctx, doctorServer).Scan(&server, &there, &user); err != nil {
		d.report.add(checkNameStore, Stops, "mend the state store", "cannot be asked: %v", redact(err))
		return
	}
	d.clock("the state store", before, time.Now(), there, there)
	server, _, _ = strings.Cut(server, ", ")
	d.report.ok(checkNameStore, "%s, as %s", server, user)
	if m := postgresMajor.FindStringSubmatch(server); m != nil {
		if major, _ := strconv.Atoi(m[1]); major < minPostgres {
			d.report.add(checkNameStore, Warning, "upgrade to PostgreSQL 15 or later, or use CockroachDB", "%s is older than what the statements are for", m[0])
		}
	}
	err := sql.CheckSchema(ctx, d.pool)
	switch {
	case errors.Is(err, sql.ErrSchema):
		d.report.add("migrations", Stops, "run keystone migrate, with this build", "%v", err)
		return
	case err != nil:
		d.report.add("migrations", Stops, "let the account read schema_migrations", "state store: %v", redact(err))
		return
	}
	d.report.ok("migrations", "the state store has this build's schema")
	d.checkPrivileges(ctx, user)
	d.checkDeadLetters(ctx)
}

func (d *Doctor) checkPrivileges(ctx context.Context, user string) {
	rows, err := d.pool.Query(ctx, doctorPrivileges)
	var tables []string
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var table string
			if err = rows.Scan(&table); err != nil {
				break
			}
			tables = append(tables, table)
		}
		err = errors.Join(err, rows.Err())
	}
	switch {
	case err != nil:
		d.report.add("permissions", Skipped, "", "state store: cannot be asked: %v", redact(err))
	case len(tables) > 0:
		d.report.add("permissions", Stops, "GRANT SELECT, INSERT, UPDATE, DELETE on them to "+user,
			"state store: %s may not read and write %s", user, strings.Join(tables, ", "))
	default:
		d.report.ok("permissions", "state store: %s may read and write every table", user)
	}
}

func (d *Doctor) checkDeadLetters(ctx context.Context) {
	var open int64
	if err := d.pool.QueryRow(ctx, doctorDeadLetters, deadLettersShown).Scan(&open); err != nil {
		d.report.add("dead_letters", Skipped, "", "cannot be counted: %v", redact(err))
		return
	}
	if open == 0 {
		d.report.ok("dead_letters", "none is open")
		return
	}
	more := ""
	if open == deadLettersShown {
		more = " or more"
	}
	d.report.add("dead_letters", Warning, "keystone dlq list; then dlq replay or dlq drop", "%d%s records could not be processed", open, more)
}

var (
	secretURL  = regexp.MustCompile(`(://[^:@/\s]+:)[^@\s]+@`)
	secretWord = regexp.MustCompile(`(password=)\S+`)
)

// redact is an error in one line, and keeps passwords of addresses out of a report that people send around.
func redact(err error) string {
	text := secretURL.ReplaceAllString(err.Error(), "${1}xxxxx@")
	return strings.ReplaceAll(secretWord.ReplaceAllString(text, "${1}xxxxx"), "\n\t", "; ")
}
