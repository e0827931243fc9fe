// Package migration is the rule by which both schemas change, so that builds of two versions can run
// beside each other, and a new one can be taken back: expand first, contract later.
//
// A migration adds (a table, a column with a default, an index, a view); builds from before it go on
// working. What takes something away, or changes it, is a migration of its own that says so in a line
//
//	-- keystone:contract 12
//
// which reads: builds made for schema 12 or later work after it, older ones do not. It waits until
// somebody says that no older build runs or will come back. A build that cannot do without it, because
// it cannot live beside the older ones at all, is what the rule is there to avoid; of those that came
// before the rule, such a step says `-- keystone:offline 9`.
//
// The package is pure; packages sql and analytics/schema apply the migrations.
package migration

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Step is one migration. Files for two servers may share one.
type Step struct {
	Version int64
	// From, where it is not 0, makes it a step that takes something away: the oldest build that works
	// after it, by the newest migration it was made with.
	From int64
	// Offline says that this build cannot do without the step.
	Offline bool
}

func (s Step) contracts() bool { return s.From > 0 }

// Steps are a build's migrations, in order.
type Steps []Step

var (
	numbered = regexp.MustCompile(`^(\d+)_.*\.sql$`)
	marked   = regexp.MustCompile(`(?m)^-- keystone:(contract|offline) (\d+)\s*$`)
)

// Read reads the files of a folder.
func Read(files fs.FS, dir string) (Steps, error) {
	names, err := fs.Glob(files, path.Join(dir, "*.sql"))
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	byVersion := map[int64]Step{}
	for _, name := range names {
		number := numbered.FindStringSubmatch(path.Base(name))
		if number == nil {
			return nil, fmt.Errorf("%s: no number at the beginning", name)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		step := Step{}
		step.Version, _ = strconv.ParseInt(number[1], 10, 64)
		if mark := marked.FindSubmatch(text); mark != nil {
			step.From, _ = strconv.ParseInt(string(mark[2]), 10, 64)
			step.Offline = string(mark[1]) == "offline"
			if step.From < 1 || step.From >= step.Version {
				return nil, fmt.Errorf("%s: a build from before it must work after it: %d is not between 1 and %d", name, step.From, step.Version-1)
			}
		}
		byVersion[step.Version] = step
	}
	steps := make(Steps, 0, len(byVersion))
	for _, step := range byVersion {
		steps = append(steps, step)
	}
	slices.SortFunc(steps, func(a, b Step) int { return int(a.Version - b.Version) })
	return steps, nil
}

// Newest is the version a build was made for.
func (s Steps) Newest() int64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Version
}

// ErrClosed says that steps that take something away are in the way.
var ErrClosed = errors.New("the schema has to take away what older builds need")

// Plan is what is to be done to a schema.
type Plan struct {
	Version int64  // apply up to this one; 0: nothing
	Floor   int64  // the oldest build that works afterwards, where that changes; else 0
	Left    []Step // what waits until no older build runs
}

// Plan tells what to apply of steps, where some are applied. Steps that take something away are left
// unless contract says that no older build runs, or there never was one. Where others come after them,
// or this build cannot do without, it is ErrClosed.
func (s Steps) Plan(applied map[int64]bool, contract bool) (Plan, error) {
	var p Plan
	contract = contract || len(applied) == 0
	for _, step := range s {
		switch {
		case applied[step.Version]:
		case step.contracts() && !contract:
			p.Left = append(p.Left, step)
			if step.Offline {
				return Plan{}, closed(p.Left, step.Version)
			}
		case len(p.Left) > 0:
			return Plan{}, closed(p.Left, step.Version)
		default:
			p.Version, p.Floor = step.Version, max(p.Floor, step.From)
		}
	}
	return p, nil
}

func closed(left []Step, next int64) error {
	return fmt.Errorf("%w: migration %d works with builds from schema %d on, and this build needs %d: bring every process to such a build, or stop them all; then keystone migrate --contract",
		ErrClosed, left[0].Version, Oldest(left), next)
}

// Oldest is the oldest build that works after all of some steps.
func Oldest(steps []Step) (from int64) {
	for _, step := range steps {
		from = max(from, step.From)
	}
	return from
}

// Check tells why a build with these steps does not work with a schema, of which floor is the oldest build
// it is for. Nil: it does.
func (s Steps) Check(applied map[int64]bool, floor int64) error {
	if newest := s.Newest(); floor > newest {
		return fmt.Errorf("it is for builds from schema %d on, and this one was made for %d: run a newer build", floor, newest)
	}
	var have, lacks int64
	for version := range applied {
		have = max(have, version)
	}
	for _, step := range s {
		if !applied[step.Version] && (!step.contracts() || step.Offline) {
			lacks = step.Version
		}
	}
	if lacks > 0 {
		return fmt.Errorf("it has version %d, this build needs %d: run keystone migrate", have, lacks)
	}
	return nil
}

// Comments are taken out before statements are looked at.
var (
	comment = regexp.MustCompile(`--.*`)
	takes   = []*regexp.Regexp{
		regexp.MustCompile(`(?i)\bdrop\s+(table|column|view|constraint|dictionary)\b`),
		regexp.MustCompile(`(?i)\brename\s+(table|column|to)\b`),
		regexp.MustCompile(`(?i)\balter\s+column\s+\S+\s+(type|set\s+(not|data))\b`),
		regexp.MustCompile(`(?i)\bmodify\s+(column|order|ttl)\b`),
		regexp.MustCompile(`(?i)\b(truncate\s|exchange\s|delete\s+from|update\s+\w+\s+set\b)`),
	}
	required = regexp.MustCompile(`(?i)\badd\s+column\s[^,;]*\bnot\s+null\b[^,;]*`)
	defaults = regexp.MustCompile(`(?i)\bdefault\b`)
)

// Unmarked finds what takes something away without saying so in the files of a folder, as far as their words tell:
// by file, a quotation. It is for tests.
func Unmarked(files fs.FS, dir string) (map[string]string, error) {
	names, err := fs.Glob(files, path.Join(dir, "*.sql"))
	if err == nil && len(names) == 0 {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	found := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		if taken := takesAway(string(text)); taken != "" && !marked.Match(text) {
			found[name] = taken
		}
	}
	return found, nil
}

// takesAway quotes what of a migration's way up is not fit for builds from before it; empty: nothing.
func takesAway(text string) string {
	_, text, _ = strings.Cut(text, "-- +goose Up")
	text, _, _ = strings.Cut(text, "-- +goose Down")
	text = comment.ReplaceAllString(text, "")
	for _, take := range takes {
		if found := take.FindString(text); found != "" {
			return found
		}
	}
	for _, column := range required.FindAllString(text, -1) {
		if !defaults.MatchString(column) {
			return column
		}
	}
	return ""
}
