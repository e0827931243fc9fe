package store

import "time"

// recent is a map that forgets what was not used for a while. It has two generations: what is used
// moves to the younger, and when that is full, or old, the older one goes. It holds limit entries at
// least and twice as many at most.
type recent[K comparable, V any] struct {
	limit      int
	maxAge     time.Duration // of a generation; 0: any
	began      time.Time     // the younger one
	young, old map[K]V
}

func newRecent[K comparable, V any](limit int, maxAge time.Duration) *recent[K, V] {
	return &recent[K, V]{limit: limit, maxAge: maxAge, young: map[K]V{}}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		delete(r.old, k)
		r.young[k] = v
	}
	return v, ok
}

func (r *recent[K, V]) put(k K, v V) {
	delete(r.old, k)
	r.young[k] = v
}

func (r *recent[K, V]) drop(k K) {
	delete(r.young, k)
	delete(r.old, k)
}

// turn begins a generation where it is time. An entry is forgotten when it was not put for two.
func (r *recent[K, V]) turn(now time.Time) {
	if len(r.young) >= r.limit || r.maxAge > 0 && now.Sub(r.began) >= r.maxAge {
		r.old, r.young, r.began = r.young, make(map[K]V, len(r.young)), now
	}
}
