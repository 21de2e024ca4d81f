package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

var errNotRead = errors.New("not read yet")

// resources is how kinds are found; *Resources has it.
type resources interface {
	Resource(context.Context, schema.GroupVersionKind) (Resource, error)
	Forget(schema.GroupVersionKind)
}

// stateStore keeps a State where a new process finds it; *Secrets has it.
type stateStore interface {
	Load(context.Context) (*State, error)
	Save(context.Context, *State) error
}

// Config says what an Engine needs. Fields without a comment are required.
type Config struct {
	Dynamic   dynamic.Interface
	Resources resources
	State     stateStore
	// Report is called after each pass whose result is not the one before, never twice at a time.
	Report func(Report)

	Manager string        // field manager; "" means isthmus
	Log     *slog.Logger  // nil discards
	Workers int           // writes at a time within a wave; 0 means 8
	Retry   time.Duration // first wait after a failure, doubling to 16 times it; 0 means 300ms
	Timeout time.Duration // of one request; 0 means 15s
	Keep    []Keep        // none: objects lose at once what the next bundle does not say
	// Routes says that an object leads to others; nil: none does. See Keep.
	Routes func(Ref) bool
	// Lingers is how long an object that is not wanted any more stays for those who may still refer to it; nil: none does.
	Lingers func(Ref) time.Duration
	// Leads says that the objects of the next waves may refer to one: they wait a while after it was written; nil: none.
	Leads func(Ref) bool
	// Unordered leaves the waves out, which is only good to see what they are for.
	Unordered bool
	Settle    time.Duration // how long they wait; 0 means 500ms
	Hold      time.Duration // how long failed puts hold up removals; 0 means 10s
	Believe   time.Duration // how long a write of ours counts before a watch has shown it; 0 means 1m
}

// Outcome says why one object is not as wanted.
type Outcome int

// Outcomes.
const (
	Foreign  Outcome = iota + 1 // somebody else made an object of this name; it is left alone
	Rejected                    // the API server or a webhook refused it
	Waiting                     // its namespace or kind does not exist yet
	Failed                      // anything that is tried again
)

// NotOK is one object that is not as wanted.
type NotOK struct {
	ID      ID
	Digest  string
	Outcome Outcome
	Reason  string
}

// Report is how a cluster stands to a bundle. Wanted objects that NotOK does not name are as wanted.
type Report struct {
	At    Generation
	Total int
	NotOK []NotOK // in ID order
	// Leftover counts objects that are no longer wanted and still there.
	Leftover int
	// Wrote counts the writes of the pass.
	Wrote int
	// KeepsFrom is a revision after which objects have lost what Keep still leaves them for changed routes, the first one; 0 when none
	// have.
	KeepsFrom int64
}

// Engine keeps a cluster as the newest bundle says.
type Engine struct {
	cfg     Config
	watches watches
	wake    chan struct{}

	mu        sync.Mutex
	latest    *Bundle // set from outside, maybe not taken up yet
	current   *Bundle // stored and being applied; nil before the first one: nothing is touched
	wants     map[ID]*want
	bad       map[ID]NotOK // objects that cannot even be read
	inventory map[ID]uint32
	written   map[ID]written
	mine      map[types.UID]bool
	tries     map[ID]*try
	unwanted  map[ID]time.Time // since when objects of the inventory that linger are not wanted
	since     time.Time        // when current was taken up
	routed    time.Time        // when a bundle changed routes
	reported  *Report
	reportOf  *Bundle // that reported is about
	lost      bool    // the inventory of those before this process is not known
}

// try is the history of one object that needed more than one attempt.
type try struct {
	digest string
	n      int
	next   time.Time
	last   NotOK
}

// New makes an Engine that does nothing until Run.
func New(cfg Config) *Engine {
	cfg.Manager = cmp.Or(cfg.Manager, ManagedBy)
	cfg.Workers = cmp.Or(cfg.Workers, 8)
	cfg.Retry = cmp.Or(cfg.Retry, 300*time.Millisecond)
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Second)
	cfg.Settle = cmp.Or(cfg.Settle, 500*time.Millisecond)
	cfg.Hold = cmp.Or(cfg.Hold, 10*time.Second)
	cfg.Believe = cmp.Or(cfg.Believe, time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		cfg: cfg, wake: make(chan struct{}, 1), inventory: map[ID]uint32{}, written: map[ID]written{},
		mine: map[types.UID]bool{}, tries: map[ID]*try{}, unwanted: map[ID]time.Time{},
	}
	e.watches = watches{engine: e, absent: map[schema.GroupVersionKind]absence{}, kinds: map[schema.GroupVersionKind]*kindWatch{}}
	return e
}

func (e *Engine) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Restore takes up the state that a process before this one left. Call it once, before Run.
func (e *Engine) Restore(ctx context.Context) error {
	st, err := e.cfg.State.Load(ctx)
	if errors.Is(err, ErrStateLost) {
		e.cfg.Log.ErrorContext(ctx, "the stored bundle is lost; the cluster stays as it is until the next one comes", "error", err)
		st, err = nil, nil
	}
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if st == nil {
		e.lost = true
		return nil
	}
	e.inventory = st.Inventory
	e.adopt(st.Bundle)
	e.latest = st.Bundle
	return nil
}

// Bundle is the newest one that was set or restored; nil when there is none.
func (e *Engine) Bundle() *Bundle {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest
}

// Set makes b what the cluster should be. b has to be complete. It does not wait.
func (e *Engine) Set(b *Bundle) {
	e.mu.Lock()
	e.latest = b
	e.mu.Unlock()
	e.poke()
}

// Run converges until ctx ends. Before the first bundle it touches nothing.
func (e *Engine) Run(ctx context.Context) error {
	defer e.watches.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	storeTries := 0
	for {
		wait, err := e.pass(ctx)
		if err != nil && ctx.Err() == nil {
			storeTries++
			wait = min(wait, e.backoff(storeTries))
			e.cfg.Log.ErrorContext(ctx, "bundle not taken up", "error", err)
		} else {
			storeTries = 0
		}
		timer := time.NewTimer(wait)
		select {
		case <-e.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// backoff before attempt n+1.
func (e *Engine) backoff(n int) time.Duration {
	d := e.cfg.Retry
	for range min(n-1, 10) {
		d *= 2
	}
	return min(d, 16*e.cfg.Retry)
}

// adopt makes b current, and reads only those of its objects that are not as before.
func (e *Engine) adopt(b *Bundle) {
	wants, bad := make(map[ID]*want, len(b.Objects)), map[ID]NotOK{}
	var changed []*want
	for id, o := range b.Objects {
		if w := e.wants[id]; w != nil && w.Digest == o.Digest && w.Wave == o.Wave {
			wants[id] = w
			continue
		}
		w, err := newWant(o)
		if err != nil {
			bad[id] = NotOK{ID: id, Digest: o.Digest, Outcome: Rejected, Reason: err.Error()}
			continue
		}
		wants[id] = w
		changed = append(changed, w)
		e.inventory[id] = o.Wave
		delete(e.unwanted, id)
	}
	now := time.Now()
	if e.cfg.Routes != nil && slices.ContainsFunc(changed, func(w *want) bool { return e.cfg.Routes(w.ref) }) {
		e.routed = now
	}
	after := int64(1) // the revision before this one: what is lost may be of any since then
	if e.current != nil && e.current.At.Epoch == b.At.Epoch {
		after = e.current.At.Revision
	}
	for _, w := range changed {
		w.parting = e.part(e.wants[w.ID], w, after, now)
	}
	e.current, e.wants, e.bad, e.since = b, wants, bad, now
}

// takeUp makes the newest bundle current. Its inventory is stored before anything of it exists, so that what a crash
// leaves half done is still known to be ours; a bundle with the same objects is not stored again.
func (e *Engine) takeUp(ctx context.Context) error {
	e.mu.Lock()
	next, current, lost := e.latest, e.current, e.lost
	inventory := maps.Clone(e.inventory)
	e.mu.Unlock()
	if next == nil || next == current {
		return nil
	}
	if lost {
		if err := e.rediscover(ctx, next, inventory); err != nil {
			return fmt.Errorf("find what was made before: %w", err)
		}
	}
	if current == nil || !sameObjects(current, next) {
		for id, o := range next.Objects {
			inventory[id] = o.Wave
		}
		ctx, cancel := context.WithTimeout(ctx, 2*e.cfg.Timeout)
		defer cancel()
		if err := e.cfg.State.Save(ctx, &State{Bundle: next, Inventory: inventory}); err != nil {
			return fmt.Errorf("store bundle %d: %w", next.At.Revision, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if lost {
		e.inventory, e.lost = inventory, false
	}
	e.adopt(next)
	return nil
}

func sameObjects(a, b *Bundle) bool {
	return maps.EqualFunc(a.Objects, b.Objects, func(x, y *Object) bool { return x.Digest == y.Digest && x.Wave == y.Wave })
}

// pass takes up the newest bundle, brings the cluster to it, reports, and says when it has to be called again at the
// latest. While the newest bundle cannot be stored, the one before it is kept up.
func (e *Engine) pass(ctx context.Context) (time.Duration, error) {
	err := e.takeUp(ctx)
	e.mu.Lock()
	current := e.current
	e.mu.Unlock()
	if current == nil {
		return time.Hour, err // nothing heard yet is not nothing wanted
	}
	missing := e.watch(ctx)
	p := e.converge(ctx, missing)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	e.report(current, Report{At: current.At, Total: len(current.Objects), NotOK: p.notOK(), Leftover: p.leftover, Wrote: p.wrote, KeepsFrom: p.keepsFrom})
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.written) > 0 {
		return min(p.wait, e.cfg.Believe), err
	}
	return p.wait, err
}

// watch makes sure that every kind of the bundle and of the inventory is watched, and returns why some are not.
func (e *Engine) watch(ctx context.Context) map[schema.GroupVersionKind]error {
	need := map[schema.GroupVersionKind]bool{namespaceKind(): true}
	e.mu.Lock()
	for _, w := range e.wants {
		need[w.ref.GroupVersionKind] = true
	}
	for id := range e.inventory {
		if ref, err := id.Ref(); err == nil {
			need[ref.GroupVersionKind] = true
		}
	}
	e.mu.Unlock()
	missing := map[schema.GroupVersionKind]error{}
	for gvk := range need {
		if err := e.watches.need(ctx, gvk); err != nil {
			missing[gvk] = err
		}
	}
	e.watches.keep(need)
	e.watches.settle(ctx, 5*time.Second)
	for gvk := range need {
		if k := e.watches.of(gvk); k != nil {
			if err := k.problem(); err != nil {
				missing[gvk] = err
			}
		}
	}
	return missing
}

// report says each bundle's result at least once, and then only what changed.
func (e *Engine) report(of *Bundle, r Report) {
	if p := e.reported; p != nil && e.reportOf == of && p.Leftover == r.Leftover && p.KeepsFrom == r.KeepsFrom && slices.Equal(p.NotOK, r.NotOK) {
		return
	}
	e.reported, e.reportOf = &r, of
	if r.Wrote > 0 {
		e.cfg.Log.Info("applied", "revision", r.At.Revision, "objects", r.Total, "wrote", r.Wrote, "not_ok", len(r.NotOK))
	}
	e.cfg.Report(r)
}
