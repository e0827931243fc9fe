package shop

// The wheel's slots and how long each lasts: together the longest pause between two visits.
const (
	wheelSlots  = 1 << 18
	slotMillis  = 4_000
	longestWait = (wheelSlots - 1) * slotMillis // 12 days
)

// nobodyNext ends a slot's list.
const nobodyNext = -1

// wheel tells whose turn it is. A slot holds all who are due within the same four seconds, as a
// list through household.next: scheduling costs the same for ten households and for a million.
type wheel struct {
	slots []int32
	tick  int64
	count int
}

func (w *wheel) start(at int64) {
	w.slots = make([]int32, wheelSlots)
	for i := range w.slots {
		w.slots[i] = nobodyNext
	}
	w.tick = at / slotMillis
}

// add schedules household i for a time in milliseconds since 1970, at most longestWait from now.
func (w *wheel) add(all []household, i int32, at int64) {
	tick := min(max(at/slotMillis, w.tick), w.tick+wheelSlots-1)
	slot := &w.slots[tick%wheelSlots]
	all[i].next, *slot = *slot, i
	w.count++
}

// next takes the household that is due first.
func (w *wheel) next(all []household) (int32, bool) {
	if w.count == 0 {
		return 0, false
	}
	for w.slots[w.tick%wheelSlots] == nobodyNext {
		w.tick++
	}
	slot := &w.slots[w.tick%wheelSlots]
	i := *slot
	*slot = all[i].next
	w.count--
	return i, true
}
