package ratelimit

import (
	crand "crypto/rand"
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// shards are locked one by one, so that requests about different counters seldom wait for each other.
	shards = 64
	// sample is among how many counters the one is chosen that makes room.
	sample = 8
)

// Table counts. It is told the time, knows nothing of rules, and is used by many at once.
//
// It holds a number of counters and no more, each of the same size whatever it counts. When it is full, a new counter
// takes the place of an old one: of some taken at random, one whose window is over, or else the one that has counted
// least. So whoever makes up a value for each request, which fills any table, drives out the counters of such values and
// hardly those that have counted something. A caller whose counter is gone begins at zero: some requests too many are
// let through, and none is refused that should not be.
type Table struct {
	secret [16]byte // nobody can foresee which counters share a shard
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	slots   []slot      // in no order, so that one can be taken at random
	where   map[key]int // of each key among them
	room    int
	evicted uint64
}

type slot struct {
	key    key
	window window
}

// key is a hash of a counter's text.
type key [16]byte

// window is the newest window of a counter. It never counts more than was let through.
type window struct {
	end   int64 // in seconds since the epoch; whole units
	count uint32
}

// answer to an ask.
type answer struct {
	over      bool
	remaining uint32
	reset     time.Duration // until the window ends
}

// NewTable has room for at least as many counters.
func NewTable(room int) *Table {
	t := &Table{}
	_, _ = crand.Read(t.secret[:]) // never fails
	for i := range t.shards {
		t.shards[i] = shard{where: map[key]int{}, room: max(1, (room+shards-1)/shards)}
	}
	return t
}

// take counts a request in everything that it asks, or in nothing when any of it is over its limit.
func (t *Table) take(now time.Time, asks []ask) (answers []answer, over bool) {
	keys := make([]key, len(asks))
	for i, a := range asks {
		keys[i] = t.key(a.counter)
	}
	defer t.lock(keys)()
	answers = make([]answer, len(asks))
	for i, a := range asks {
		w := t.window(now, keys[i], a.limit)
		used := min(uint64(w.count)+earlier(keys[:i], asks, keys[i]), math.MaxUint32)
		left := uint64(a.limit.Requests) - min(used, uint64(a.limit.Requests))
		answers[i] = answer{over: a.hits > left, remaining: uint32(left), reset: time.Unix(w.end, 0).Sub(now)}
		over = over || answers[i].over
	}
	if over {
		return answers, true
	}
	for i, a := range asks {
		answers[i].remaining -= uint32(a.hits) // not over: at most what was left
		if a.hits > 0 {
			w := t.window(now, keys[i], a.limit)
			w.count += uint32(a.hits)
			t.shard(keys[i]).put(now, keys[i], w)
		}
	}
	return answers, false
}

func (t *Table) key(counter string) key {
	sum := sha256.Sum256(append(t.secret[:], counter...)) // append copies: an array's slice is full
	return key(sum[:])
}

func (t *Table) shard(k key) *shard { return &t.shards[k[0]%shards] }

// lock the shards of keys, in one order for everybody, and return what unlocks them.
func (t *Table) lock(keys []key) (unlock func()) {
	var wanted [shards]bool
	for _, k := range keys {
		wanted[k[0]%shards] = true
	}
	for i := range wanted {
		if wanted[i] {
			t.shards[i].mu.Lock()
		}
	}
	return func() {
		for i := range wanted {
			if wanted[i] {
				t.shards[i].mu.Unlock()
			}
		}
	}
}

// window is the counter's window at a time: the one it has, or a new one. A request that read the clock just before a
// window began may arrive after one that read it later; it counts in the later one's window. A window further ahead means
// that the clock was set back.
func (t *Table) window(now time.Time, k key, l Limit) window {
	length := l.seconds()
	end := now.Unix() - now.Unix()%length + length
	if w, ok := t.shard(k).get(k); ok && (w.end == end || w.end == end+length) {
		return w
	}
	return window{end: end}
}

// earlier is what the same request asks of the same counter before.
func earlier(keys []key, asks []ask, k key) (hits uint64) {
	for i := range keys {
		if keys[i] == k {
			hits += min(asks[i].hits, math.MaxUint32)
		}
	}
	return hits
}

func (s *shard) get(k key) (window, bool) {
	i, ok := s.where[k]
	if !ok {
		return window{}, false
	}
	return s.slots[i].window, true
}

func (s *shard) put(now time.Time, k key, w window) {
	i, ok := s.where[k]
	switch {
	case ok:
	case len(s.slots) < s.room:
		i = len(s.slots)
		s.slots = append(s.slots, slot{})
	default:
		i = s.victim(now)
		delete(s.where, s.slots[i].key)
	}
	s.slots[i] = slot{key: k, window: w}
	s.where[k] = i
}

// victim chooses the slot that is used anew.
func (s *shard) victim(now time.Time) int {
	best := rand.IntN(len(s.slots))
	for range sample {
		i := rand.IntN(len(s.slots))
		if s.slots[i].window.over(now) {
			return i
		}
		if s.slots[i].window.count < s.slots[best].window.count {
			best = i
		}
	}
	s.evicted++
	return best
}

func (w window) over(now time.Time) bool { return w.end <= now.Unix() }

// Sweep gives up the counters whose window is over.
func (t *Table) Sweep(now time.Time) {
	for i := range t.shards {
		t.shards[i].sweep(now)
	}
}

func (s *shard) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.slots) - 1; i >= 0; i-- {
		if !s.slots[i].window.over(now) {
			continue
		}
		last := len(s.slots) - 1
		delete(s.where, s.slots[i].key)
		if i < last { // the last one, which stays, moves here
			s.slots[i] = s.slots[last]
			s.where[s.slots[i].key] = i
		}
		s.slots = s.slots[:last]
	}
}

// Size is the number of counters, and how many ever had to make room for others.
func (t *Table) Size() (counters int, evicted uint64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		counters += len(s.slots)
		evicted += s.evicted
		s.mu.Unlock()
	}
	return counters, evicted
}
