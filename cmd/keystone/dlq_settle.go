package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/processor/deadletter"
	"github.com/keystone-cdp/keystone/processor/store"
)

// letterChoice is which letters a command is about: some, or all that are open.
type letterChoice struct {
	letterFilter
	IDs []string `arg:"" optional:"" name:"id" help:"topic/partition/offset, as dlq list prints it."`
	All bool     `help:"All that are open; --tenant and --reason choose among them."`
}

func (c *letterChoice) check() error {
	switch {
	case c.All == (len(c.IDs) > 0):
		return errors.New("name letters by their ids, or take --all")
	case !c.All && c.Reason != "":
		return errors.New("--reason goes with --all")
	}
	return nil
}

// letters are those chosen, in the order of the log. Each id must be there.
func (c *letterChoice) letters(a *app, q *deadletter.Queue, tenant *uuid.UUID) (iter.Seq2[store.DeadLetterRow, error], error) {
	if c.All {
		return q.Open(a.ctx, tenant, c.Reason), nil
	}
	var found []store.DeadLetterRow
	for _, text := range c.IDs {
		id, err := deadletter.ParseID(text)
		if err != nil {
			return nil, err
		}
		letter, err := q.Find(a.ctx, id, tenant)
		if err != nil {
			return nil, err
		}
		found = append(found, *letter)
	}
	slices.SortFunc(found, func(x, y store.DeadLetterRow) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.Offset, y.Offset))
	})
	found = slices.CompactFunc(found, func(x, y store.DeadLetterRow) bool { return x.Key() == y.Key() })
	return func(yield func(store.DeadLetterRow, error) bool) {
		for _, l := range found {
			if !yield(l, nil) {
				return
			}
		}
	}, nil
}

type dlqReplayCmd struct {
	target
	letterChoice
	Again  bool `help:"Also what was replayed or dropped before. With ids only."`
	DryRun bool `help:"Only tell what would be done."`
}

// Help is shown below the usage.
func (dlqReplayCmd) Help() string {
	return `Puts records into the log again as they were: same topic, partition, key, value and headers, and
what they went through. The processor takes them like any other; one that fails again is a new letter.
A record counts once, however often it is replayed: message ids are remembered for seven days.

Examples:
  keystone dlq replay keystone.events/3/1042
  keystone dlq replay --all --reason unknown_tenant --dry-run
  keystone dlq list --state replaying --json | jq -r .id | xargs -r keystone dlq replay --again`
}

// Run replays.
func (c *dlqReplayCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Again && c.All {
		return errors.New("--again needs ids: it would replay all there ever was")
	}
	return c.withQueue(a, &c.target, func(q *deadletter.Queue, _ *control.Plane, tenant *uuid.UUID) error {
		letters, err := c.letters(a, q, tenant)
		if err != nil {
			return err
		}
		t := tally{app: a, verb: "replayed"}
		if c.DryRun {
			t.verb = "would be replayed"
		}
		return t.done(q.Replay(a.ctx, letters, deadletter.ReplayOptions{Again: c.Again, DryRun: c.DryRun}, t.report))
	})
}

type dlqDropCmd struct {
	target
	letterChoice
	Why string `required:"" help:"Why it can go, for whoever asks later." placeholder:"TEXT"`
}

// Help is shown below the usage.
func (dlqDropCmd) Help() string {
	return `The letter stays listed, as dropped, with when, by whom and why; its record stays in keystone.dlq until
retention takes it, and keystone dlq replay --again takes the drop back.

Examples:
  keystone dlq drop keystone.events/3/1042 --why "a probe of the security team"
  keystone dlq drop --all --tenant none --why "a stranger wrote into the topic"`
}

// Run drops.
func (c *dlqDropCmd) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.withQueue(a, &c.target, func(q *deadletter.Queue, _ *control.Plane, tenant *uuid.UUID) error {
		letters, err := c.letters(a, q, tenant)
		if err != nil {
			return err
		}
		t := tally{app: a, verb: "dropped"}
		return t.done(q.Drop(a.ctx, letters, c.Why, t.report))
	})
}

// tally prints what became of each letter, and fails where something did not.
type tally struct {
	*app
	verb    string
	did     int
	refused int
}

func (t *tally) report(r deadletter.Result) {
	switch id := deadletter.IDOf(r.Letter); {
	case r.Err != nil:
		t.refused++
		fmt.Fprintf(t.stdout, "%s not %s: %v\n", id, t.verb, r.Err)
	case r.As != deadletter.ID{}:
		t.did++
		fmt.Fprintf(t.stdout, "%s %s as %s\n", id, t.verb, r.As)
	default:
		t.did++
		fmt.Fprintf(t.stdout, "%s %s\n", id, t.verb)
	}
}

func (t *tally) done(err error) error {
	if t.did+t.refused == 0 && err == nil {
		fmt.Fprintln(t.stdout, "no letter is open")
	}
	if t.refused > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d letters were not %s", t.refused, t.did+t.refused, t.verb))
	}
	return err
}
