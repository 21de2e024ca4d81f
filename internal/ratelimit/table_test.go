package ratelimit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
)

const (
	perSecond = ratelimitv3.RateLimitUnit_SECOND
	perMinute = ratelimitv3.RateLimitUnit_MINUTE
	perDay    = ratelimitv3.RateLimitUnit_DAY
)

// at is a time of a day, to the second.
func at(clock string) time.Time {
	t, err := time.Parse(time.RFC3339, "2026-03-04T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return t
}

func one(counter string, n uint32, unit ratelimitv3.RateLimitUnit) []ask {
	return []ask{{counter: counter, limit: Limit{n, unit}, hits: 1}}
}

// Windows are aligned to their unit, whenever the first request comes.
func TestWindows(t *testing.T) {
	cases := map[string]struct {
		limit Limit
		at    []string
		want  string // of each: + let through, - refused
	}{
		"Minute":         {Limit{2, perMinute}, []string{"10:00:30", "10:00:31", "10:00:59", "10:01:00", "10:01:01", "10:01:02"}, "++-++-"},
		"Second":         {Limit{1, perSecond}, []string{"10:00:00", "10:00:00", "10:00:01", "10:00:01"}, "+-+-"},
		"Day":            {Limit{1, perDay}, []string{"00:00:00", "23:59:59"}, "+-"},
		"Zero":           {Limit{0, perMinute}, []string{"10:00:00", "10:01:00"}, "--"},
		"Skipped":        {Limit{1, perMinute}, []string{"10:00:00", "10:09:00", "10:09:59"}, "++-"},
		"LateReader":     {Limit{1, perMinute}, []string{"10:01:00", "10:00:59", "10:01:01"}, "+--"}, // read the clock before, came after
		"ClockSetBack":   {Limit{1, perMinute}, []string{"10:09:00", "10:00:00", "10:00:01"}, "++-"},
		"ClockSetFar":    {Limit{1, perMinute}, []string{"10:00:00", "20:00:00", "10:00:00"}, "+++"},
		"RefusedIsNoUse": {Limit{1, perMinute}, []string{"10:00:00", "10:00:01", "10:00:02", "10:01:00"}, "+--+"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			table, got := NewTable(100), ""
			for _, when := range tc.at {
				if _, over := table.take(at(when), one("c", tc.limit.Requests, tc.limit.Unit)); over {
					got += "-"
				} else {
					got += "+"
				}
			}
			if got != tc.want {
				t.Errorf("at %v: %s, want %s", tc.at, got, tc.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	table := NewTable(100)
	now := at("10:00:15").Add(time.Second / 4)
	take := func(asks ...ask) []answer {
		answers, _ := table.take(now, asks)
		return answers
	}
	limit := Limit{10, perMinute}
	reset := 44*time.Second + 750*time.Millisecond
	steps := []struct {
		name string
		got  []answer
		want []answer
	}{
		{"First", take(ask{"a", limit, 1}), []answer{{remaining: 9, reset: reset}}},
		{"Several", take(ask{"a", limit, 4}), []answer{{remaining: 5, reset: reset}}},
		{"TooManyAtOnce", take(ask{"a", limit, 6}), []answer{{over: true, remaining: 5, reset: reset}}},
		{"Endless", take(ask{"a", limit, 1<<64 - 1}), []answer{{over: true, remaining: 5, reset: reset}}},
		{"Asking", take(ask{"a", limit, 0}), []answer{{remaining: 5, reset: reset}}},
		{"AllThatIsLeft", take(ask{"a", limit, 5}), []answer{{remaining: 0, reset: reset}}},
		{"AskingAtTheLimit", take(ask{"a", limit, 0}), []answer{{remaining: 0, reset: reset}}},
		{"Refused", take(ask{"a", limit, 1}), []answer{{over: true, reset: reset}}},
		{"Lowered", take(ask{"a", Limit{3, perMinute}, 1}), []answer{{over: true, reset: reset}}},
		{"Raised", take(ask{"a", Limit{12, perMinute}, 1}), []answer{{remaining: 1, reset: reset}}},
		{"OneOfTwo", take(ask{"b", limit, 1}, ask{"a", limit, 1}), []answer{{remaining: 10, reset: reset}, {over: true, reset: reset}}},
		{"TheOtherDidNotCount", take(ask{"b", limit, 1}), []answer{{remaining: 9, reset: reset}}},
		{"TwiceTheSame", take(ask{"b", limit, 4}, ask{"b", limit, 5}), []answer{{remaining: 5, reset: reset}, {remaining: 0, reset: reset}}},
		{"TwiceIsTooMuch", take(ask{"c", limit, 6}, ask{"c", limit, 6}), []answer{{remaining: 10, reset: reset}, {over: true, remaining: 4, reset: reset}}},
		{"AndDidNotCount", take(ask{"c", limit, 10}), []answer{{remaining: 0, reset: reset}}},
		{"Nothing", take(), []answer{}},
	}
	for _, s := range steps {
		if diff := cmp.Diff(s.want, s.got, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

// Against a model that remembers every request that was let through.
func TestAgainstModel(t *testing.T) {
	type passed struct {
		counter string
		at      int64
		hits    uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		table, now := NewTable(1000), at("10:00:00").Unix()
		var log []passed
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now += rapid.Int64Range(0, 40).Draw(t, "later")
			var asks []ask
			for range rapid.IntRange(1, 3).Draw(t, "asks") {
				unit := rapid.SampledFrom([]ratelimitv3.RateLimitUnit{perSecond, perMinute}).Draw(t, "unit")
				name := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "counter") + unit.String()
				asks = append(asks, ask{name, Limit{rapid.Uint32Range(0, 4).Draw(t, "limit"), unit}, rapid.Uint64Range(0, 2).Draw(t, "hits")})
			}
			want, pending := false, []passed{}
			for _, a := range asks {
				used := a.hits
				for _, p := range append(log[:len(log):len(log)], pending...) {
					if p.counter == a.counter && p.at/a.limit.seconds() == now/a.limit.seconds() {
						used += p.hits
					}
				}
				want = want || used > uint64(a.limit.Requests) && a.hits > 0
				pending = append(pending, passed{a.counter, now, a.hits})
			}
			if _, got := table.take(time.Unix(now, 0), asks); got != want {
				t.Fatalf("at %d, %+v: refused %v, want %v", now, asks, got, want)
			}
			if !want {
				log = append(log, pending...)
			}
		}
	})
}

// Many at once get exactly as many through as the limit says, and requests with several counters do not lock each other out.
func TestManyAtOnce(t *testing.T) {
	const callers, each, limit = 16, 500, 3000
	table, now := NewTable(10_000), at("10:00:00")
	var through atomic.Int64
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				all := ask{"all", Limit{limit, perDay}, 1}
				mine := ask{fmt.Sprintf("caller %d", c), Limit{each, perDay}, 1}
				some := ask{fmt.Sprintf("some %d", i%7), Limit{each * callers, perDay}, 1}
				asks := []ask{all, mine, some}
				if i%2 == 1 {
					asks = []ask{some, mine, all}
				}
				if _, over := table.take(now, asks); !over {
					through.Add(1)
				}
				if i%100 == 0 {
					table.Sweep(now)
				}
			}
		})
	}
	wg.Wait()
	if got := through.Load(); got != limit {
		t.Errorf("%d requests got through, want %d", got, limit)
	}
}

// A table that is full takes new counters still, stays as large as it may be, and keeps those that have counted something.
func TestFull(t *testing.T) {
	const room, heavy = 10_000, 100
	table, now := NewTable(room), at("10:00:00")
	use := func(counter string) (over bool) {
		_, over = table.take(now, one(counter, 5, perDay))
		return over
	}
	for h := range heavy {
		for range 5 {
			use(fmt.Sprintf("heavy %d", h))
		}
	}
	for i := range 10 * room {
		if use(fmt.Sprintf("made up %d", i)) {
			t.Fatalf("request %d of nobody was refused", i)
		}
	}
	n, evicted := table.Size()
	if n > room+shards || evicted == 0 {
		t.Errorf("%d counters, %d evicted; want at most %d, and some", n, evicted, room+shards)
	}
	forgotten := 0
	for h := range heavy {
		if !use(fmt.Sprintf("heavy %d", h)) {
			forgotten++
		}
	}
	if forgotten > 0 {
		t.Errorf("of %d callers at their limit, %d were forgotten", heavy, forgotten)
	}
	// Counters whose window is over make room first: nothing that counts is lost.
	now = now.Add(24 * time.Hour)
	for i := range room / 10 {
		use(fmt.Sprintf("next day %d", i))
	}
	if _, later := table.Size(); later != evicted {
		t.Errorf("%d counters of the day were given up although those of the day before were there", later-evicted)
	}
}

// What is over is not kept.
func TestSweep(t *testing.T) {
	for when, want := range map[string]int{"10:00:00": 900, "10:00:01": 600, "10:00:59": 600, "10:01:00": 300, "23:59:59": 300} {
		table := NewTable(10_000)
		for i := range 300 { // several in each shard
			for _, unit := range []ratelimitv3.RateLimitUnit{perSecond, perMinute, perDay} {
				table.take(at("10:00:00"), one(fmt.Sprint(unit, i), 1, unit))
			}
		}
		table.Sweep(at(when))
		if got, _ := table.Size(); got != want {
			t.Errorf("Sweep(%s) leaves %d counters, want %d", when, got, want)
		}
		for i := range 300 { // what is left is what it was
			if _, over := table.take(at("10:00:00"), one(fmt.Sprint(perDay, i), 1, perDay)); !over {
				t.Errorf("Sweep(%s) lost the count of a day", when)
			}
		}
	}
}

// Requests that are refused make no counters: whoever is at a limit of zero fills no table.
func TestRefusedTakesNoRoom(t *testing.T) {
	table := NewTable(100)
	table.take(at("10:00:00"), append(one("a", 5, perDay), one("b", 0, perDay)...))
	if n, _ := table.Size(); n != 0 {
		t.Errorf("%d counters, want none", n)
	}
}

func BenchmarkTake(b *testing.B) {
	now := at("10:00:00")
	counters := make([]string, 100_000)
	for i := range counters {
		counters[i] = fmt.Sprintf("organizations/o/tenants/t/workspaces/w/gatewaygroups/g/ingressgateways/i http[0] rule 1 10.%d.%d.1", i/256, i%256)
	}
	b.Run("OneCounter", func(b *testing.B) {
		table := NewTable(500_000)
		for b.Loop() {
			table.take(now, one(counters[0], 1<<31, perDay))
		}
	})
	b.Run("Parallel", func(b *testing.B) {
		table := NewTable(500_000)
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				table.take(now, one(counters[i%len(counters)], 1<<31, perDay))
			}
		})
	})
	b.Run("Full", func(b *testing.B) { // each request makes room for its counter
		table := NewTable(50_000)
		for i := 0; b.Loop(); i++ {
			table.take(now, one(counters[i%len(counters)], 1<<31, perDay))
		}
	})
}
