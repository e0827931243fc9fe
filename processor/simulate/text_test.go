package simulate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-json"
	"pgregory.net/rapid"

	"github.com/keystone-cdp/keystone/processor/apply/applytest"
	"github.com/keystone-cdp/keystone/processor/identity"
)

// lines are values as JSON, sorted.
func lines[T any](t rapid.TB, all []T) []string {
	t.Helper()
	var out []string
	for _, x := range all {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(b))
	}
	slices.Sort(out)
	return out
}

// text is a difference on one line, its profiles by their identifiers.
func text(d *Difference) string {
	side := func(profiles []Profile) string {
		var all []string
		for _, p := range profiles {
			var ids []string
			for _, i := range p.Identifiers {
				ids = append(ids, i.Kind+"="+i.Value)
			}
			all = append(all, strings.Join(ids, ","))
		}
		slices.Sort(all)
		return strings.Join(all, " + ")
	}
	out := string(d.Kind) + " "
	if current := side(d.Current); current != "" {
		out += current + " "
	}
	out += "-> " + side(d.New)
	for _, x := range []struct {
		by     string
		causes []Cause
	}{{"current", d.CurrentJoins}, {"new", d.NewJoins}} {
		for n, c := range x.causes {
			if n == 0 {
				out += "; " + x.by + " by"
			}
			out += " " + c.MessageID
			for _, r := range c.Refused {
				out += "(" + string(r.Reason) + " " + r.LimitKind + ")"
			}
		}
	}
	return out
}

// A property proves nothing about what its logs and rules never do.
func TestRulesReachEverything(t *testing.T) {
	reached := map[string]int{}
	for seed := range 300 {
		log := applytest.Logs(logLength).Example(seed)
		a, b := someRules.Example(seed), someRules.Example(seed+1000)
		c := Compare(a.play(log), b.play(log))
		for _, d := range c.Differences {
			reached[string(d.Kind)]++
			for _, x := range slices.Concat(d.NewJoins, d.CurrentJoins) {
				if len(x.Refused) > 0 {
					reached["cause that was refused"]++
				}
			}
		}
		for _, x := range c.Conflicts {
			reached[fmt.Sprintf("%s appears %t", x.Reason, x.Appears)]++
		}
	}
	want := []string{"cause that was refused"}
	for _, k := range Kinds {
		want = append(want, string(k))
	}
	for _, r := range identity.Reasons {
		if r != identity.AttributeLimit { // too much for logs of this size
			want = append(want, fmt.Sprintf("%s appears true", r), fmt.Sprintf("%s appears false", r))
		}
	}
	for _, what := range want {
		if reached[what] < 10 {
			t.Errorf("%s: reached %d times", what, reached[what])
		}
	}
	t.Log(reached)
}
