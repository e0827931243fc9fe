package access

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/embedded"
	"github.com/keystone-cdp/keystone/internal/embedded/clickhouse"
)

// FileName is where the analysts of the embedded engine are kept, in the data folder of keystone.
const FileName = "analysts.json"

// File is the analysts of the embedded engine: a file beside its data, and whatever makes the engine
// start again with it.
type File struct {
	Dir string
	// Tables lists what there is to read.
	Tables func(context.Context) ([]Table, error)
	// Apply returns when the engine runs with what the file says.
	Apply func(context.Context) error
}

// Contents is what the file holds.
type Contents struct {
	Tables   []Table   `json:"tables"`
	Analysts []Analyst `json:"analysts"`
}

// Read reads the file in a folder; without one there are no analysts.
func Read(dir string) (c Contents, text []byte, err error) {
	text, err = os.ReadFile(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil, nil
	}
	if err != nil {
		return c, nil, fmt.Errorf("read analysts: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, nil, fmt.Errorf("read analysts: %w", err)
	}
	return c, text, nil
}

// Users are the logins as the engine's configuration has them.
func (c Contents) Users(database string) []clickhouse.User {
	var users []clickhouse.User
	for _, a := range c.Analysts {
		u := clickhouse.User{
			Name: a.Name, PasswordSHA256: a.PasswordSHA256, Settings: map[string]string{},
			Bounds: map[string][2]string{},
			Quota: clickhouse.Quota{Interval: time.Hour, Queries: a.Limits.QueriesPerHour,
				ReadRows: a.Limits.ReadRowsPerHour, ExecutionTime: a.Limits.TimePerHour},
		}
		for _, s := range a.Limits.settings() {
			u.Settings[s.name] = s.value
			if s.most != "" {
				u.Bounds[s.name] = [2]string{s.least, s.most}
			} else {
				u.Fixed = append(u.Fixed, s.name)
			}
		}
		for _, t := range c.Tables {
			u.Grants = append(u.Grants, "GRANT SELECT ON "+database+"."+t.Name)
			if t.Filtered {
				u.RowFilters = append(u.RowFilters, clickhouse.RowFilter{Database: database, Table: t.Name, Condition: condition(a.Tenant)})
			}
		}
		users = append(users, u)
	}
	return users
}

// Create implements Server.
func (f File) Create(ctx context.Context, a Analyst) error {
	return f.change(ctx, func(c *Contents) error {
		if slices.ContainsFunc(c.Analysts, func(x Analyst) bool { return x.Name == a.Name }) {
			return ErrExists
		}
		c.Analysts = append(c.Analysts, a)
		slices.SortFunc(c.Analysts, func(a, b Analyst) int { return strings.Compare(a.Name, b.Name) })
		return nil
	})
}

// List implements Server.
func (f File) List(context.Context) ([]Analyst, error) {
	c, _, err := Read(f.Dir)
	return c.Analysts, err
}

// Drop implements Server.
func (f File) Drop(ctx context.Context, name string) error {
	return f.change(ctx, func(c *Contents) error {
		before := len(c.Analysts)
		c.Analysts = slices.DeleteFunc(c.Analysts, func(a Analyst) bool { return a.Name == name })
		if len(c.Analysts) == before {
			return ErrUnknown
		}
		return nil
	})
}

// Refresh implements Server. Where nothing is new it does nothing: the engine is not started again.
func (f File) Refresh(ctx context.Context) error {
	c, _, err := Read(f.Dir)
	if err != nil || len(c.Analysts) == 0 {
		return err
	}
	tables, err := f.Tables(ctx)
	if err != nil || slices.Equal(tables, c.Tables) {
		return err
	}
	return f.change(ctx, func(*Contents) error { return nil })
}

// change writes the file anew and applies it. One process at a time changes it.
func (f File) change(ctx context.Context, edit func(*Contents) error) error {
	path := filepath.Join(f.Dir, FileName)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock analysts: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock analysts: %w", err)
	}
	c, before, err := Read(f.Dir)
	if err != nil {
		return err
	}
	if err := edit(&c); err != nil {
		return err
	}
	if c.Tables, err = f.Tables(ctx); err != nil {
		return err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write analysts: %w", err)
	}
	if err := embedded.WriteFile(path, text); err != nil {
		return fmt.Errorf("write analysts: %w", err)
	}
	if err := f.Apply(ctx); err != nil {
		if before == nil {
			return errors.Join(err, os.Remove(path))
		}
		return errors.Join(err, embedded.WriteFile(path, before))
	}
	return nil
}
