package sizing

import "math"

// Plan is what a rate needs. Cores are of the peak, disks of the mean over the time they keep things.
type Plan struct {
	Rate       float64 // events a second, in the busiest minute
	EventsADay float64

	EdgeCores, ProcessorCores, SinkCores float64
	SeenHours                            float64 // how far back a sink knows a message again, as set
	Partitions                           int     // of keystone.events

	Brokers int
	LogDisk float64 // bytes of all brokers together, as are those below

	StoreNodes   int
	StoreDisk    float64
	Profiles     float64 // after storeDays
	StoreByDisk  bool    // disks, not processors, ask for so many nodes
	ColumnNodes  int
	ColumnDisk   float64
	ColumnByDisk bool

	Dollars float64 // a month
}

// For is the plan for a rate.
func For(rate float64) Plan {
	p := Plan{Rate: rate, EventsADay: rate * meanOfPeak * 86_400}
	cores := func(micros float64) float64 { return rate * micros / 1e6 / utilisation }
	p.EdgeCores, p.ProcessorCores, p.SinkCores = cores(edgeCPU), cores(processorCPU), cores(sinkCPU)
	p.SeenHours = seenMessages / (rate * meanOfPeak) / 3600
	p.Partitions = powerOfTwo(rate / (PartitionRate() * utilisation))

	written := rate * (logEvents + logChanges) * replicas
	p.Brokers = max(3, ceil(written/brokerBytes))
	p.LogDisk = p.EventsADay * logDays * (logEvents + logChanges) * replicas / diskFull

	p.Profiles = p.EventsADay * storeDays * profileRows * newVisitors
	p.StoreDisk = p.EventsADay * ((storeVisitor*newVisitors+storeDeed)*storeDays + storeMessage*messageDays) * replicas / diskFull
	p.StoreNodes, p.StoreByDisk = nodes(3, cores(storeCPU*storeFactor), p.StoreDisk/nodeDisk)

	p.ColumnDisk = p.EventsADay * columnDays * (columnsEvent + columnsRest) * columnReplicas / diskFull
	p.ColumnNodes, p.ColumnByDisk = nodes(int(columnReplicas), cores(columnsCPU)*(1+queryShare)*columnReplicas, p.ColumnDisk/columnNodeDisk)

	ours := p.EdgeCores + p.ProcessorCores + p.SinkCores
	all := max(ours, leastCores) + float64(p.Brokers)*brokerCores + float64(p.StoreNodes+p.ColumnNodes)*nodeCores
	p.Dollars = all*priceCore + (p.LogDisk+p.StoreDisk+p.ColumnDisk)/1e12*priceDisk
	return p
}

// PartitionRate is how many events a second one partition's worker gets through: it does one batch after the other, and
// waits for the state store in between.
func PartitionRate() float64 {
	return batchEvents / (batchEvents*workerTime/1e6 + batchTrips*roundTrip)
}

// nodes are as many as the processors or the disks ask for, and no fewer than least.
func nodes(least int, cores, disks float64) (n int, byDisk bool) {
	byCores, byBytes := ceil(cores/nodeCores), ceil(disks)
	return max(least, byCores, byBytes), byBytes > max(least, byCores)
}

func ceil(v float64) int { return int(math.Ceil(v)) }

// powerOfTwo is the next one: a topic's partitions are for ever, and should divide by any number of processors.
func powerOfTwo(v float64) int {
	n := 4
	for float64(n) < v {
		n *= 2
	}
	return n
}
