package simulate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystone-cdp/keystone/internal/event"
)

func (r *rig) differences(report *Report) (all []string) {
	for _, d := range report.Differences {
		all = append(all, text(&d))
	}
	return all
}

// Settings decide what a record says, not only what the fold makes of it.
func TestSettingsDecideWhatIsRead(t *testing.T) {
	r := newRig(t, 2)
	r.send(
		at(1*time.Second, 0, identify("m1", `"anonymous_id":"tab","payload":{"email":"Ann@Example.com"}`)),
		at(2*time.Second, 1, identify("m2", `"identity":{"crm_id":"u1"},"payload":{"email":"ann@example.com"}`)),
		at(3*time.Second, 0, identify("m3", `"identity":{"loyalty":"L1","email":"bob@example.com"}`)),
		at(4*time.Second, 0, identify("m4", `"identity":{"loyalty":"L1","phone":"0170 1234567"}`)))
	for name, x := range map[string]struct {
		change func(s *event.Settings)
		want   []string
	}{
		"nothing": {func(*event.Settings) {}, nil},
		"promote_traits off": {func(s *event.Settings) { s.PromoteTraits = false },
			[]string{"split crm_id=u1,email=ann@example.com,anonymous=tab -> anonymous=tab + crm_id=u1; current by m1 m2"}},
		"a kind of the tenant's own": {func(s *event.Settings) { s.Kinds = []string{"loyalty"} },
			[]string{"change email=bob@example.com -> email=bob@example.com,loyalty=L1; new by m3"}},
		"that, and a region in which the number is one": {func(s *event.Settings) { s.Kinds, s.DefaultRegion = []string{"loyalty"}, "DE" },
			[]string{"change email=bob@example.com -> email=bob@example.com,loyalty=L1,phone=+491701234567; new by m3 m4"}},
	} {
		if got := r.differences(r.run(func(c *Config) { x.change(&c.New) })); !slices.Equal(got, x.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A message counts once, whatever lane it comes again in, on each side that reads it.
func TestRepeatedMessagesCountOnce(t *testing.T) {
	r := newRig(t, 2)
	r.send(at(1*time.Second, 0, page("m1", "d")), at(2*time.Second, 1, page("m1", "d")), history(3*time.Second, page("m1", "d")), at(4*time.Second, 0, page("m2", "d")),
		at(5*time.Second, 0, `{"event_type":"page","anonymous_id":"null"}`), at(6*time.Second, 0, `{"event_type":"none"}`))
	report := r.run(nil)
	if got := report.Reading; got.Records != 6 || got.Events != 2 || got.Repeated != 2 || got.InWindow != 2 || got.Truncated || !got.First.Equal(noon.Add(time.Second)) || !got.Last.Equal(noon.Add(6*time.Second)) {
		t.Errorf("%+v", got)
	}
	for _, side := range []Totals{report.Current, report.New} {
		if side.Events != 2 || side.Profiles != 1 || side.Shadows != 1 || side.Identifiers != 1 || side.NamesNobody != 1 || side.Invalid != 1 {
			t.Errorf("%+v", side)
		}
	}
	if !report.Same() {
		t.Errorf("%+v", report.Comparison)
	}
}

// The window is cut where there are too many events, and the report says so.
func TestMaxEvents(t *testing.T) {
	r := newRig(t, 1)
	r.send(at(1*time.Second, 0, page("m1", "a")), at(2*time.Second, 0, page("m2", "b")), at(3*time.Second, 0, page("m2", "b")), at(4*time.Second, 0, page("m3", "c")))
	report := r.run(func(c *Config) { c.MaxEvents = 2 })
	if got := report.Reading; !got.Truncated || got.Events != 2 || got.Repeated != 1 || !got.Last.Equal(noon.Add(3*time.Second)) || report.New.Profiles != 2 {
		t.Errorf("%+v", got)
	}
	if report := r.run(func(c *Config) { c.MaxEvents = 3 }); report.Reading.Truncated || report.Reading.Events != 3 {
		t.Errorf("%+v", report.Reading)
	}
}

// Without history, a person's former names are unknown to the window; with it, what was joined under
// the current rules stays joined, and the new rules show in the window alone.
func TestHistory(t *testing.T) {
	r := newRig(t, 1)
	r.send(
		at(-2*time.Hour, 0, identify("h1", `"identity":{"crm_id":"u","email":"a@example.com"}`)),
		at(-1*time.Hour, 0, identify("h2", `"identity":{"crm_id":"u","email":"b@example.com"}`)),
		at(1*time.Second, 0, identify("m1", `"identity":{"crm_id":"u","email":"c@example.com"}`)))
	strict := func(c *Config) { c.New.Limits = map[string]int{event.KindEmail: 1} }

	blank := r.run(func(c *Config) { strict(c); c.Since, c.From = noon, noon })
	if got := r.differences(blank); len(got) != 0 || blank.History || blank.Reading.Events != 1 {
		t.Errorf("from nothing: %q, %+v", got, blank.Reading)
	}
	want := []string{"change crm_id=u,email=a@example.com,email=b@example.com,email=c@example.com -> crm_id=u,email=a@example.com,email=b@example.com; current by m1(link_limit email)"}
	after := r.run(func(c *Config) { strict(c); c.Since = noon })
	if got := r.differences(after); !slices.Equal(got, want) || !after.History || after.Reading.Events != 3 || after.Reading.InWindow != 1 {
		t.Errorf("after the whole history: %q, %+v", got, after.Reading)
	}
	part := r.run(func(c *Config) { strict(c); c.Since, c.From = noon, noon.Add(-90*time.Minute) })
	if got := part.Reading; got.Events != 2 || !part.From.Equal(noon.Add(-90*time.Minute)) {
		t.Errorf("%+v", got)
	}
	if all := r.run(strict); all.Since != nil || all.History || all.Current.Identifiers != 4 || all.New.Identifiers != 2 {
		t.Errorf("over the whole log: %+v", all)
	}
}

// Attributes that do not fit are conflicts too, and say when a merge would lose something.
func TestAttributeLimit(t *testing.T) {
	r := newRig(t, 1)
	large := func(name string) string { return `{"` + name + `":"` + strings.Repeat("x", 150<<10) + `"}` }
	r.send(
		at(1*time.Second, 0, identify("m1", `"identity":{"crm_id":"u1"},"payload":`+large("a"))),
		at(2*time.Second, 0, identify("m2", `"identity":{"crm_id":"u2"},"payload":`+large("b"))),
		at(3*time.Second, 0, identify("m3", `"identity":{"crm_id":"u2","email":"e@example.com"}`)),
		at(4*time.Second, 0, identify("m4", `"identity":{"crm_id":"u1","email":"e@example.com"}`)))
	report := r.run(func(c *Config) { c.New.Limits = map[string]int{event.KindCRM: 2} })
	if report.ConflictsAppear["attribute_limit"] != 1 || report.ConflictsGo["merge_limit"] != 1 || report.Tally[Merged] != (Tally{1, 2, 1}) {
		t.Errorf("%v %v %v", report.ConflictsAppear, report.ConflictsGo, report.Tally)
	}
}

func TestConfigNamesEveryBrokenRule(t *testing.T) {
	cfg := Config{From: noon, Since: noon.Add(-time.Second)}
	cfg.New.DefaultRegion = "x"
	cfg.New.Kinds = []string{"email"}
	err := cfg.Validate()
	for _, rule := range []string{"brokers", "tenant", "max_events", "from must not", "default_region", "kind \"email\""} {
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%s is not named in %v", rule, err)
		}
	}
}
