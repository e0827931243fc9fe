package edge

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// stripes is how many counters share the count of requests under way.
const stripes = 64

// inFlight counts the requests under way, from their headers to their answers. Each of the pool's
// request objects has its stripe, and a pool hands an object out on the processor that gave it back: so
// seldom do two cores write one cache line. The sum is made by who looks at it, not by requests.
type inFlight struct {
	next    atomic.Uint32 // stripe to give out
	stripes [stripes]stripe
}

// stripe has a cache line (two, for processors that fetch pairs) of its own.
type stripe struct {
	atomic.Int64
	_ [120]byte
}

// stripe is one for a new request object.
func (f *inFlight) stripe() *stripe { return &f.stripes[f.next.Add(1)%stripes] }

func (f *inFlight) sum() (n int64) {
	for i := range f.stripes {
		n += f.stripes[i].Load()
	}
	return n
}

// register makes a metric of it.
func (f *inFlight) register(reg prometheus.Registerer) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keystone_edge_requests_in_flight",
		Help: "Requests under way: their headers have arrived, their answers are not ready."}, func() float64 { return float64(f.sum()) }))
}
