package main

import (
	"bufio"
	"errors"
	"iter"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/processor/store"
)

// line is one thing known of a person: one of its members is there.
type line struct {
	Profile         *store.ProfileRow      `json:"profile,omitempty"`
	Identifier      *store.IdentifierRow   `json:"identifier,omitempty"`
	Merge           *store.MergeRow        `json:"merge,omitempty"`
	AttributeChange *event.AttributeChange `json:"attribute_change,omitempty"`
	Order           *store.OrderRow        `json:"order,omitempty"`
	Event           *query.PersonEvent     `json:"event,omitempty"`
}

// personFlags say who it is that a command is about.
type personFlags struct {
	Who     string    `help:"An identifier of the person." placeholder:"KIND:VALUE"`
	Profile uuid.UUID `help:"The profile's id, in place of --who." placeholder:"ID"`
}

func (f *personFlags) check() error {
	if (f.Who == "") == (f.Profile == uuid.Nil) {
		return errors.New("say who it is, by --who email:ann@example.com or by --profile ID")
	}
	return nil
}

// find answers the profile, and the identifier's node or the profile again: what was asked for.
func (f *personFlags) find(a *app, reader *store.Store, tenant *control.Tenant) (profile, asked uuid.UUID, err error) {
	if f.Who == "" {
		return f.Profile, f.Profile, nil
	}
	id, err := event.ParseIdentifier(f.Who, tenant.ID, &tenant.Settings)
	if err != nil {
		return uuid.Nil, uuid.Nil, err
	}
	profile, err = reader.Owner(a.ctx, tenant.ID, id.Node)
	return profile, id.Node, err
}

// runPerson hands out all that is known of one person, in both stores.
func (c *exportCmd) runPerson(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.resolve(needStore | needClickHouse); err != nil {
		return err
	}
	conn, err := query.Open(c.ClickhouseDSN, 1)
	if err != nil {
		return err
	}
	defer conn.Close()
	return c.withStore(a, func(plane *control.Plane, reader *store.Store) error {
		tenant, err := plane.Tenant(a.ctx, c.Tenant)
		if err != nil {
			return err
		}
		profile, _, err := c.find(a, reader, &tenant)
		if err != nil {
			return err
		}
		known, err := reader.Explain(a.ctx, tenant.ID, profile)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.stdout, 64<<10)
		if err := writeLines(out, person(a, reader, tenant.ID, known)); err != nil {
			return err
		}
		live := known.Profile.ProfileID
		if err := writeLines(out, lines(query.PersonEvents(a.ctx, conn, tenant.ID, live), func(e *query.PersonEvent) line { return line{Event: e} })); err != nil {
			return err
		}
		return out.Flush()
	})
}

// person is what the state store knows: of the live profile, and of those that went into it.
func person(a *app, reader *store.Store, tenant uuid.UUID, known store.Explained) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		if !yield(line{Profile: known.Profile}, nil) {
			return
		}
		for i := range known.Spans {
			if !yield(line{Identifier: &known.Spans[i]}, nil) {
				return
			}
		}
		profiles := []uuid.UUID{known.Profile.ProfileID}
		for i := range known.Merges {
			if m := &known.Merges[i]; m.UndoneAt == nil {
				profiles = append(profiles, m.LoserID)
			}
			if !yield(line{Merge: &known.Merges[i]}, nil) {
				return
			}
		}
		for _, id := range profiles {
			for l, err := range lines(reader.LineageOf(a.ctx, tenant, id), func(c *event.AttributeChange) line { return line{AttributeChange: c} }) {
				if !yield(l, err) || err != nil {
					return
				}
			}
		}
		orders, err := reader.OrdersOf(a.ctx, tenant, known.Profile.ProfileID)
		if err != nil {
			yield(line{}, err)
			return
		}
		for i := range orders {
			if !yield(line{Order: &orders[i]}, nil) {
				return
			}
		}
	}
}

// lines makes a line of each row.
func lines[T any](rows iter.Seq2[T, error], of func(*T) line) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		for row, err := range rows {
			if !yield(of(&row), err) || err != nil {
				return
			}
		}
	}
}
