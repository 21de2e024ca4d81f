// Package cores shares work out between processors.
package cores

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// block is how much is taken at a time: what is less is not worth waking another processor for.
const block = 64

// Each does 0 to n-1, in any order. When there are many, all processors take part: start is called once on each of them,
// and what it returns does one after the other, so that it may keep things for itself.
func Each(n int, start func() func(i int)) {
	var next atomic.Int64
	work := func() {
		do := start()
		for {
			from := int(next.Add(block)) - block
			if from >= n {
				return
			}
			for i := from; i < min(from+block, n); i++ {
				do(i)
			}
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+block-1)/block) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}
