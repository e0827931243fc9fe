// Package sizing computes, from named inputs, what an installation of a given rate needs: the tables of
// docs/sizing.md. An input was measured, or is assumed; what follows from any of them is an estimate, and no more.
package sizing

import (
	"fmt"
	"strings"
)

// Kind says how an input is known.
type Kind string

// The kinds.
const (
	Measured Kind = "measured"
	Setting  Kind = "setting" // of the code, by default
	Assumed  Kind = "assumed"
)

// Input is one number that the tables are made of.
type Input struct {
	Name  string
	Value float64
	Unit  string
	Kind  Kind
	From  string // how it was measured, where it is set, why it is assumed
}

// inputs are all of them, in the order of the page.
var inputs []Input

func input(kind Kind, value float64, unit, name, from string) float64 {
	inputs = append(inputs, Input{name, value, unit, kind, from})
	return value
}

func measured(value float64, unit, name, from string) float64 {
	return input(Measured, value, unit, name, from)
}

func assumed(value float64, unit, name, from string) float64 {
	return input(Assumed, value, unit, name, from)
}

const (
	footprint  = "`bench/footprint`"
	benchEdge  = "[bench](../bench/README.md#beside-others)"
	benchStore = "[bench](../bench/README.md#the-processor), an ordinary day, 2 partitions"
	benchSink  = "[README](../README.md#how-fast-so-far)"
)

// What an event costs in processor time, in microseconds.
var (
	edgeCPU      = measured(25, "µs of CPU", "edge, an event alone in its request, 64 connections; of an earlier session, with other work on the machine, a quiet one has less", benchEdge)
	processorCPU = measured(22, "µs of CPU", "processor, with kfake in its process", benchStore)
	storeCPU     = measured(29, "µs of CPU", "state store: PostgreSQL, one server", benchStore)
	sinkCPU      = measured(6.3, "µs of CPU", "sink", benchSink)
	columnsCPU   = measured(15, "µs of CPU", "ClickHouse: an insert, with merges of the same minutes", benchSink)
)

// What bounds one partition of the log, which is one worker's.
var (
	workerTime  = measured(50, "µs", "a worker's time for an event, PostgreSQL on the same machine (a batch of 1000: 50 ms)", benchStore)
	batchTrips  = measured(5, "", "round trips to the state store in a batch of 1000", benchStore)
	batchEvents = input(Setting, 1000, "events", "events of a batch, behind a backlog", "`consume.Config.BatchRecords`")
)

// What an event leaves behind, in bytes; single events, snappy as the edge compresses, not replicated.
var (
	_            = measured(742, "B", "an event as JSON, a shop's mix", footprint)
	logEvents    = measured(656, "B", "in `keystone.events`, single events at 1.7 a batch", footprint)
	_            = measured(182, "B", "in `keystone.backfill`, requests of 100 at 40 a batch", footprint)
	logChanges   = measured(40, "B", "in `keystone.changes`", footprint)
	storeMessage = measured(102, "B", "state store, the message's id, index included", footprint)
	_            = measured(457, "B", "state store, a profile", footprint)
	profileRows  = measured(0.076, "", "profiles of an event", footprint)
	storeVisitor = measured(82, "B", "state store, what visitors leave once: profiles, identifiers, merges, spans", footprint+", where every visitor is new")
	storeDeed    = measured(27, "B", "state store, what each visit adds: lineage, orders, products", footprint)
	columnsEvent = measured(105, "B", "ClickHouse, the table `events`, merged", footprint)
	columnsRest  = measured(23, "B", "ClickHouse, all other tables, merged", footprint)
	seenMessages = input(Setting, 16e6, "messages", "that each sink knows to be in ClickHouse, of all partitions", "`sink.Config.SeenMessages`, at 7 to 14 bytes each")
	messageDays  = input(Setting, 7, "days", "message ids are remembered", "`store.Config`")
)

// What nobody has measured here.
var (
	meanOfPeak     = assumed(0.5, "", "a day's mean, of its busiest minute", "a shop's day; yours is in your web server's log")
	utilisation    = assumed(0.5, "", "of each processor at the peak, on purpose", "a machine of each role may be away, and a backlog be caught up with")
	replicas       = assumed(3, "", "replicas of the log and of the state store", "the usual number")
	columnReplicas = assumed(2, "", "replicas in ClickHouse", "the usual number")
	roundTrip      = assumed(0.005, "s", "a round trip to a replicated state store, with its consensus", "three zones of one region")
	storeFactor    = assumed(5, "", "times the processor time of one PostgreSQL, for CockroachDB with three replicas", "SQL in three places, Raft, an LSM tree: to be measured before anything is bought")
	queryShare     = assumed(1, "", "of what inserts take of ClickHouse, for questions", "your analysts decide")
	brokerBytes    = assumed(100e6, "B/s", "a broker writes, replication included", "far below what makers of brokers show")
	logDays        = assumed(3, "days", "the log is kept", "`retention.ms`; a weekend to notice")
	columnDays     = assumed(365, "days", "events are kept in ClickHouse", "`retention_days` of a tenant")
	storeDays      = assumed(365, "days", "the state store has grown", "nothing of it but message ids goes away")
	diskFull       = assumed(0.6, "", "of a disk that is used", "merges, compactions, and time to react")
	nodeCores      = assumed(16, "cores", "of a node of a store", "a common size")
	newVisitors    = assumed(0.25, "", "of a year's visitors, of each event, that are new", "the measured month has new ones only; ask your analysts")
	nodeDisk       = assumed(4e12, "B", "of disk of a node of the state store", "what is brought back in hours when one is lost")
	columnNodeDisk = assumed(16e12, "B", "of disk of a node of ClickHouse", "the same; no object storage behind it")
	brokerCores    = assumed(4, "cores", "of a broker", "the same")
	leastCores     = assumed(6, "cores", "of our roles, at the least", "two processes of each, a core each")
	priceCore      = assumed(30, "$/month", "a core with 4 GB of memory", "order of magnitude of the large clouds; put yours in")
	priceDisk      = assumed(100, "$/month", "a terabyte of solid disk", "the same; network is not in it")
)

// quantity is a number with its unit, which a letter for thousands joins: 100 MB/s, but 16 M messages.
func (in Input) quantity() string {
	text := number(in.Value)
	if !strings.HasPrefix(in.Unit, "B") && !strings.HasSuffix(text, " ") {
		text += " "
	}
	return strings.TrimSpace(text + in.Unit)
}

// number is a value as people write it; a unit may follow.
func number(v float64) string {
	for _, s := range []struct {
		from, size float64
		sign       string
	}{{1e15, 1e15, "P"}, {1e12, 1e12, "T"}, {1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}} {
		if v >= s.from {
			return fmt.Sprintf("%.3g %s", v/s.size, s.sign)
		}
	}
	return fmt.Sprintf("%.4g ", v)
}
