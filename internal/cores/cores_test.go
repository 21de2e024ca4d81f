package cores

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Each number is done once, by what one start returned, however many there are.
func TestEach(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for n, most := range map[int]int64{0: 1, 1: 1, block: 1, block + 1: 2, 1000: 4} {
		done := make([]int32, n)
		var starts, total atomic.Int64
		Each(n, func() func(int) {
			starts.Add(1)
			own := 0 // no two may write it at once: the race detector says so
			return func(i int) {
				own++
				total.Add(1)
				atomic.AddInt32(&done[i], 1)
			}
		})
		for i, times := range done {
			if times != 1 {
				t.Errorf("Each(%d) did %d %d times", n, i, times)
			}
		}
		if total.Load() != int64(n) || starts.Load() < 1 || starts.Load() > most {
			t.Errorf("Each(%d) did %d in %d starts, want at most %d starts", n, total.Load(), starts.Load(), most)
		}
	}
}
