package migration

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

func read(t *testing.T, marks ...string) Steps {
	t.Helper()
	files := fstest.MapFS{}
	for i, mark := range marks {
		files["m/"+string(rune('1'+i))+"_x.sql"] = &fstest.MapFile{Data: []byte("-- why\n" + mark + "\n\n-- +goose Up\n")}
	}
	steps, err := Read(files, "m")
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func upTo(version int64) map[int64]bool {
	applied := map[int64]bool{}
	for v := int64(1); v <= version; v++ {
		applied[v] = true
	}
	return applied
}

func TestPlan(t *testing.T) {
	pair := []string{"", "", "-- keystone:contract 2"}                         // 2 adds, 3 takes away what builds of 1 need
	two := append(pair, "", "-- keystone:contract 4")                          // the version after that one
	offline := []string{"", "-- keystone:offline 1", "-- keystone:contract 2"} // what the rule is there to avoid
	for name, x := range map[string]struct {
		marks    []string
		have     int64
		contract bool
		want     Plan
		closed   bool
	}{
		"a new installation has everything":                    {two, 0, false, Plan{Version: 5, Floor: 4}, false},
		"what takes away waits":                                {pair, 1, false, Plan{Version: 2, Left: []Step{{Version: 3, From: 2}}}, false},
		"and goes on waiting":                                  {pair, 2, false, Plan{Left: []Step{{Version: 3, From: 2}}}, false},
		"until somebody says that no older build runs":         {pair, 2, true, Plan{Version: 3, Floor: 2}, false},
		"nothing is left":                                      {pair, 3, false, Plan{}, false},
		"the next version wants the one before to be finished": {two, 2, false, Plan{}, true},
		"two versions at once, while nothing runs":             {two, 1, true, Plan{Version: 5, Floor: 4}, false},
		"then the next one":                                    {two, 3, false, Plan{Version: 4, Left: []Step{{Version: 5, From: 4}}}, false},
		"what cannot wait is refused":                          {offline, 1, false, Plan{}, true},
		"and done while nothing runs":                          {offline, 1, true, Plan{Version: 3, Floor: 2}, false},
		"what comes after it may wait":                         {offline, 2, false, Plan{Left: []Step{{Version: 3, From: 2}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(t, x.marks...).Plan(upTo(x.have), x.contract)
			if errors.Is(err, ErrClosed) != x.closed || !x.closed && err != nil {
				t.Fatal(err)
			}
			if got.Version != x.want.Version || got.Floor != x.want.Floor || len(got.Left) != len(x.want.Left) {
				t.Errorf("got %+v, want %+v", got, x.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	build := read(t, "", "", "-- keystone:contract 2")
	older := build[:1]
	for name, x := range map[string]struct {
		build       Steps
		have, floor int64
		want        string
	}{
		"its own schema":                           {build, 3, 2, ""},
		"what takes away need not be done":         {build, 2, 0, ""},
		"what it adds must be":                     {build, 1, 0, "it has version 1, this build needs 2: run keystone migrate"},
		"an empty store":                           {build, 0, 0, "it has version 0, this build needs 2: run keystone migrate"},
		"an older build on a schema that is open":  {older, 2, 0, ""},
		"an older build on one that was closed":    {older, 3, 2, "it is for builds from schema 2 on, and this one was made for 1: run a newer build"},
		"closed to others, with migrations unseen": {build, 9, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := x.build.Check(upTo(x.have), x.floor); err != nil {
				got = err.Error()
			}
			if got != x.want {
				t.Errorf("got %q, want %q", got, x.want)
			}
		})
	}
}

func TestMarksMustMakeSense(t *testing.T) {
	for _, mark := range []string{"-- keystone:contract 1", "-- keystone:contract 0"} { // it is migration 1 itself
		if _, err := Read(fstest.MapFS{"m/1_x.sql": {Data: []byte(mark)}}, "m"); err == nil || !strings.Contains(err.Error(), "1_x.sql") {
			t.Errorf("%s: %v", mark, err)
		}
	}
}

func TestTakesAway(t *testing.T) {
	for text, want := range map[string]string{
		"CREATE TABLE IF NOT EXISTS a (b TEXT); -- not DROP TABLE":              "",
		"ALTER TABLE a ADD COLUMN IF NOT EXISTS b INT8 NOT NULL DEFAULT 1":      "",
		"ALTER TABLE a ADD COLUMN IF NOT EXISTS b INT8":                         "",
		"ALTER TABLE a ADD COLUMN IF NOT EXISTS b INT8 NOT NULL":                "ADD COLUMN IF NOT EXISTS b INT8 NOT NULL",
		"ALTER TABLE a ALTER COLUMN b SET STORAGE EXTERNAL":                     "",
		"ALTER TABLE a ALTER COLUMN b SET NOT NULL":                             "ALTER COLUMN b SET NOT",
		"ALTER TABLE a ALTER COLUMN b TYPE TEXT":                                "ALTER COLUMN b TYPE",
		"drop table if exists a":                                                "drop table",
		"ALTER TABLE a RENAME COLUMN b TO c":                                    "RENAME COLUMN",
		"ALTER TABLE a MODIFY COLUMN b String":                                  "MODIFY COLUMN",
		"CREATE OR REPLACE VIEW a AS SELECT 1 COMMENT 'add, update or replace'": "",
	} {
		if got := takesAway("-- +goose Up\n" + text + ";\n-- +goose Down\nDROP TABLE a;"); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestUnmarked(t *testing.T) {
	files := fstest.MapFS{
		"m/1_adds.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE a (b TEXT);\n-- +goose Down\nDROP TABLE a;")},
		"m/2_says.sql":  {Data: []byte("-- keystone:contract 1\n-- +goose Up\nDROP TABLE a;")},
		"m/3_takes.sql": {Data: []byte("-- +goose Up\nDROP TABLE a;")},
	}
	found, err := Unmarked(files, "m")
	if err != nil || len(found) != 1 || found["m/3_takes.sql"] != "DROP TABLE" {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := Unmarked(files, "elsewhere"); err == nil {
		t.Error("a folder without migrations has nothing to say")
	}
}
