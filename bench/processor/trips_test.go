package processor_test

import (
	"sync/atomic"
	"testing"

	"github.com/keystone-cdp/keystone/bench/machine"
	"github.com/keystone-cdp/keystone/bench/shop"
	"github.com/keystone-cdp/keystone/processor/store/faultproxy"
)

// BenchmarkRoundTrips counts what the processor asks of the state store, from behind a proxy: round
// trips and statements for 1000 events, claiming of partitions and clearing of the outbox included. Its
// time means nothing.
func BenchmarkRoundTrips(b *testing.B) {
	for _, mix := range []shop.Mix{shop.DefaultMix(), shop.AnonymousMix(), shop.IdentifyStormMix()} {
		b.Run(mix.Name, func(b *testing.B) {
			r := &bench{B: b, scenario: scenario{mix, 2, 0, busy}}
			r.start()
			proxy, err := faultproxy.Start(r.dsn)
			r.must(err)
			defer proxy.Close()
			r.dsn = proxy.DSN()
			var statements atomic.Int64
			proxy.Set(func(string) faultproxy.Fault {
				statements.Add(1)
				return faultproxy.Fault{}
			})
			var records, trips float64
			for round := range warmUp + b.N {
				before := proxy.RoundTrips()
				if round == warmUp {
					statements.Store(0)
				}
				log := r.fill(round)
				if r.drain(log); round >= warmUp {
					records += float64(log.Records)
					trips += float64(proxy.RoundTrips() - before)
				}
			}
			perThousand := func(n float64) float64 { return 1000 * n / records }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(perThousand(trips), "trips/kevent")
			b.ReportMetric(perThousand(float64(statements.Load())), "statements/kevent")
			machine.Print("processor "+mix.Name, "%.1f round trips and %.1f statements for 1000 events", perThousand(trips), perThousand(float64(statements.Load())))
		})
	}
}
