package doctor

import "time"

// maxSkew is what a clock may be off. CockroachDB's own nodes end themselves at half a second; nothing
// of Keystone's breaks there, but an edge's clock is in every event.
const maxSkew = 500 * time.Millisecond

// clock compares a clock with this machine's: it told a time between from and to when it was here
// between before and after.
func (d *Doctor) clock(whose string, before, after, from, to time.Time) {
	if off := skew(before, after, from, to); off.Abs() > maxSkew {
		d.report.add("clocks", Warning, "synchronise both machines (chrony, NTP): received_at, and the order of people's events between edges, are the edge's clock",
			"the clock of %s is %s off this machine's", whose, off.Round(time.Millisecond))
		return
	}
	d.report.ok("clocks", "%s: within %s of this machine", whose, maxSkew)
}

// skew is by how much the intervals miss each other: positive where the other clock is ahead.
func skew(before, after, from, to time.Time) time.Duration {
	switch {
	case from.After(after):
		return from.Sub(after)
	case to.Before(before):
		return to.Sub(before)
	}
	return 0
}
