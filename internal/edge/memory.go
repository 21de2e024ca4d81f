package edge

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memoryLimit is what the collector aims at in a cluster of usual size; the budget of the whole process is 40 MB.
const memoryLimit = 30 << 20

// limitMemory keeps the process small until ctx ends.
func limitMemory(ctx context.Context) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		metrics.Read(live)
		debug.SetMemoryLimit(limitFor(live[0].Value.Uint64()))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// limitFor is the limit with so much in use. A limit near to that, or below it, would have the collector run all the
// time: in a cluster with many objects the edge takes more memory, and not all of the processor.
func limitFor(live uint64) int64 {
	return int64(max(memoryLimit, 2*live))
}
