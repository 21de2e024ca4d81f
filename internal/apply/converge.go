package apply

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// fightingAfter is how many repairs of one object in a row are made without a pause. Somebody who undoes each of them
// is then answered ever more slowly, instead of heating the API server.
const fightingAfter = 10

// calmAfter is how long an object has to stay as wanted until its history is forgotten.
const calmAfter = 10 * time.Second

// result gathers what one pass finds.
type result struct {
	mu       sync.Mutex
	bad      map[ID]NotOK
	leftover int
	wrote    int
	settle   bool // something was written that others may refer to, and nobody may have heard of it
	wait     time.Duration
	// keepsFrom is the first revision of which an object still has what routes led to; 0 for none.
	keepsFrom int64
}

func (r *result) notOK() []NotOK {
	return slices.SortedFunc(maps.Values(r.bad), func(a, b NotOK) int { return cmp.Compare(a.ID, b.ID) })
}

func (r *result) add(n NotOK) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad[n.ID] = n
}

func (r *result) again(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait = min(r.wait, max(d, time.Millisecond))
}

func (r *result) keeps(form *parting) {
	r.again(time.Until(form.until))
	r.mu.Lock()
	defer r.mu.Unlock()
	if form.keep.Routed && (r.keepsFrom == 0 || form.since < r.keepsFrom) {
		r.keepsFrom = form.since
	}
}

func (r *result) write(leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrote++
	r.settle = r.settle || leads
}

// converge makes all puts, wave by wave, and then the removals in the opposite order. One object that cannot be made
// stops no other.
func (e *Engine) converge(ctx context.Context, missing map[schema.GroupVersionKind]error) *result {
	e.mu.Lock()
	wants, since := e.wants, e.since
	p := &result{bad: maps.Clone(e.bad), wait: time.Hour}
	var drop []ID
	for id := range e.inventory {
		if wants[id] == nil && e.current.Objects[id] == nil {
			drop = append(drop, id)
		}
	}
	waves := byWave(wants, func(w *want) uint32 { return e.wave(w.Wave) })
	leaving := byWave(toMap(drop), func(id ID) uint32 { return e.wave(e.inventory[id]) })
	e.mu.Unlock()

	for _, wave := range slices.Sorted(maps.Keys(waves)) {
		e.settle(ctx, p)
		e.each(ctx, len(waves[wave]), func(i int) { e.put(ctx, p, waves[wave][i], missing) })
	}
	if e.holds(p, since) {
		p.leftover = len(drop)
		return p
	}
	order := slices.Sorted(maps.Keys(leaving))
	slices.Reverse(order)
	for _, wave := range order {
		e.each(ctx, len(leaving[wave]), func(i int) { e.prune(ctx, p, leaving[wave][i], missing) })
	}
	return p
}

func (e *Engine) wave(n uint32) uint32 {
	if e.cfg.Unordered {
		return 0
	}
	return n
}

// holds says whether removals have to wait: what replaces them may be among the puts that are being tried again.
func (e *Engine) holds(p *result, since time.Time) bool {
	left := e.cfg.Hold - time.Since(since)
	if left <= 0 {
		return false
	}
	for _, n := range p.bad {
		if n.Outcome == Failed {
			p.again(left)
			return true
		}
	}
	return false
}

func toMap(ids []ID) map[ID]ID {
	m := make(map[ID]ID, len(ids))
	for _, id := range ids {
		m[id] = id
	}
	return m
}

func byWave[T any](m map[ID]T, wave func(T) uint32) map[uint32][]T {
	out := map[uint32][]T{}
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out[wave(m[id])] = append(out[wave(m[id])], m[id])
	}
	return out
}

// each calls f for 0 to n-1, some at a time, and returns when all are done.
func (e *Engine) each(ctx context.Context, n int, f func(int)) {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, e.cfg.Workers) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() == nil {
					f(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// namespaceOf says how an object's namespace stands.
func (e *Engine) namespaceOf(ref Ref, k *kindWatch) namespaceState {
	if !k.Namespaced {
		return namespaceOpen
	}
	ns := e.lookup(e.watches.of(namespaceKind()), Ref{GroupVersionKind: namespaceKind(), Name: ref.Namespace})
	switch {
	case ns == nil:
		return namespaceMissing
	case ns.DeletionTimestamp != nil:
		return namespaceTerminating
	}
	return namespaceOpen
}

// put brings one object to what is wanted.
func (e *Engine) put(ctx context.Context, p *result, w *want, missing map[schema.GroupVersionKind]error) {
	if now := time.Now(); w.between(now) != nil {
		between := w.between(now)
		p.keeps(between)
		w = between.want
	}
	no := func(o Outcome, reason string) {
		p.add(NotOK{ID: w.ID, Digest: w.Digest, Outcome: o, Reason: reason})
	}
	for _, gvk := range []schema.GroupVersionKind{w.ref.GroupVersionKind, namespaceKind()} {
		switch err := missing[gvk]; {
		case errors.Is(err, ErrNoKind):
			no(Waiting, "the cluster has no "+w.ref.Kind+" of "+w.ref.GroupVersion().String())
			p.again(10 * e.cfg.Retry)
			return
		case err != nil:
			no(Failed, err.Error())
			p.again(10 * e.cfg.Retry)
			return
		}
	}
	k := e.watches.of(w.ref.GroupVersionKind)
	l, ns := e.lookup(k, w.ref), e.namespaceOf(w.ref, k)
	e.mu.Lock()
	v, why := judge(w, l, ns, e.mine)
	if l != nil && l.ours() {
		e.mine[l.UID] = true
	}
	e.mu.Unlock()
	switch v {
	case asWanted:
		e.calm(w)
	case isForeign:
		no(Foreign, why)
	case isWaiting:
		no(Waiting, why)
	default:
		e.write(ctx, p, w, k, v)
	}
}

// write makes the one request that an object needs, unless it is not its turn yet.
func (e *Engine) write(ctx context.Context, p *result, w *want, k *kindWatch, v verdict) {
	if last, wait := e.mustWait(w); wait > 0 {
		p.add(last)
		p.again(wait)
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Timeout, errSilent)
	defer cancel()
	got, wrote, err := e.request(ctx, w, k, v)
	if wrote {
		p.write(e.cfg.Leads != nil && e.cfg.Leads(w.ref))
	}
	var n NotOK
	if err != nil {
		n = NotOK{ID: w.ID, Digest: w.Digest, Outcome: outcomeOf(err), Reason: reasonOf(ctx, err)}
	}
	if got != nil {
		e.mu.Lock()
		e.written[w.ID] = written{live: got, at: time.Now()}
		e.mine[got.UID] = true
		e.mu.Unlock()
	}
	if wait := e.attempted(w, n); err != nil {
		p.add(n)
		if n.Outcome != Foreign {
			p.again(wait)
		}
	}
}

var (
	errSilent  = errors.New("the API server does not answer")
	errForeign = errors.New("an object with this name exists that somebody else made")
)

// request creates or updates. An update starts from what the API server has at this moment, and goes through only if
// it still has it then.
func (e *Engine) request(ctx context.Context, w *want, k *kindWatch, v verdict) (*live, bool, error) {
	var client dynamic.ResourceInterface = e.cfg.Dynamic.Resource(k.GroupVersionResource)
	if k.Namespaced {
		client = e.cfg.Dynamic.Resource(k.GroupVersionResource).Namespace(w.ref.Namespace)
	}
	if v == toCreate {
		u, err := w.fresh()
		if err != nil {
			return nil, false, err
		}
		got, err := client.Create(ctx, u, metav1.CreateOptions{FieldManager: e.cfg.Manager})
		if err == nil {
			return newLive(got), true, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, true, err
		}
	}
	for {
		u, err := client.Get(ctx, w.ref.Name, metav1.GetOptions{})
		if err != nil {
			return nil, false, err // gone meanwhile: the next pass creates it
		}
		l := newLive(u)
		e.mu.Lock()
		mine := e.mine[l.UID]
		e.mu.Unlock()
		switch {
		case !l.ours() && !mine:
			return nil, false, errForeign
		case l.ours() && !w.differs(l):
			return l, false, nil
		}
		if err := w.merge(u); err != nil {
			return nil, false, err
		}
		got, err := client.Update(ctx, u, metav1.UpdateOptions{FieldManager: e.cfg.Manager})
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return nil, true, err
		}
		e.accept(w, newLive(got))
		return newLive(got), true, nil
	}
}

// accept notes that the API server keeps an object in another form than it was sent: it dropped a field that it does
// not know, or added a default. That form is as wanted from now on, or it would be repaired for ever.
func (e *Engine) accept(w *want, got *live) {
	if !w.differs(got) {
		return
	}
	e.cfg.Log.Warn("the API server keeps an object in another form", "object", string(w.ID))
	e.mu.Lock()
	defer e.mu.Unlock()
	changed := *w
	changed.fields = got.fields
	if e.wants[w.ID] == w {
		e.wants[w.ID] = &changed
	}
}

// prune removes one object of the inventory that is no longer wanted, if it is still ours.
func (e *Engine) prune(ctx context.Context, p *result, id ID, missing map[schema.GroupVersionKind]error) {
	ref, err := id.Ref()
	if err != nil || errors.Is(missing[ref.GroupVersionKind], ErrNoKind) {
		e.forget(id)
		return
	}
	if missing[ref.GroupVersionKind] != nil {
		p.left(10 * e.cfg.Retry)
		return
	}
	k := e.watches.of(ref.GroupVersionKind)
	l := e.lookup(k, ref)
	e.mu.Lock()
	mine := l != nil && (l.ours() || e.mine[l.UID])
	e.mu.Unlock()
	if !mine {
		e.forget(id)
		return
	}
	if l.DeletionTimestamp != nil {
		p.left(time.Hour) // its watch will tell
		return
	}
	if wait := e.lingers(ref); wait > 0 {
		p.left(wait)
		return
	}
	gone := &want{Object: &Object{ID: id}, ref: ref}
	if _, wait := e.mustWait(gone); wait > 0 {
		p.left(wait)
		return
	}
	e.remove(ctx, p, gone, k, l)
}

func (e *Engine) remove(ctx context.Context, p *result, gone *want, k *kindWatch, l *live) {
	ctx, cancel := context.WithTimeoutCause(ctx, e.cfg.Timeout, errSilent)
	defer cancel()
	var client dynamic.ResourceInterface = e.cfg.Dynamic.Resource(k.GroupVersionResource)
	if k.Namespaced {
		client = e.cfg.Dynamic.Resource(k.GroupVersionResource).Namespace(gone.ref.Namespace)
	}
	opts := metav1.DeleteOptions{}
	if l.UID != "" {
		opts.Preconditions = &metav1.Preconditions{UID: &l.UID}
	}
	p.write(false)
	err := client.Delete(ctx, gone.ref.Name, opts)
	if err != nil && !apierrors.IsNotFound(err) {
		e.cfg.Log.WarnContext(ctx, "not removed", "object", string(gone.ID), "error", err)
		p.left(e.attempted(gone, NotOK{ID: gone.ID, Outcome: outcomeOf(err), Reason: err.Error()}))
		return
	}
	e.mu.Lock()
	e.written[gone.ID] = written{deleted: l, at: time.Now()}
	delete(e.tries, gone.ID)
	e.mu.Unlock()
	if len(l.Finalizers) > 0 {
		p.left(time.Hour)
	}
}

func (r *result) left(wait time.Duration) {
	r.again(wait)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leftover++
}

// forget takes an object that is gone off the inventory.
func (e *Engine) forget(id ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.inventory, id)
	delete(e.tries, id)
	delete(e.unwanted, id)
}

// mustWait returns how long an object still has to wait for its next attempt, and what the last one said.
func (e *Engine) mustWait(w *want) (NotOK, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tries[w.ID]
	if t == nil {
		return NotOK{}, 0
	}
	if t.digest != w.Digest || t.last.Outcome == 0 && time.Since(t.next) > calmAfter {
		delete(e.tries, w.ID)
		return NotOK{}, 0
	}
	return t.last, time.Until(t.next)
}

// attempted notes an attempt, and returns how long the next one has to wait.
func (e *Engine) attempted(w *want, n NotOK) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tries[w.ID]
	if t == nil || t.digest != w.Digest {
		t = &try{digest: w.Digest}
		e.tries[w.ID] = t
	}
	t.n++
	var wait time.Duration
	switch {
	case n.Outcome == Rejected: // a webhook may change its mind, but not soon
		wait = 20 * e.backoff(t.n)
	case n.Outcome == Failed, n.Outcome == Waiting:
		wait = e.backoff(t.n)
	case t.n > fightingAfter:
		wait = e.backoff(t.n - fightingAfter)
		n = NotOK{ID: w.ID, Digest: w.Digest, Outcome: Failed, Reason: "somebody keeps changing the object"}
	}
	t.next, t.last = time.Now().Add(wait), n
	return wait
}

// calm ends the history of an object that has stayed as wanted for a while.
func (e *Engine) calm(w *want) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tries[w.ID]; t != nil && time.Since(t.next) > calmAfter {
		delete(e.tries, w.ID)
	}
}

func outcomeOf(err error) Outcome {
	switch {
	case errors.Is(err, errForeign):
		return Foreign
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return Waiting
	case apierrors.IsNotFound(err):
		return Waiting
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsForbidden(err), apierrors.IsMethodNotSupported(err):
		return Rejected
	}
	return Failed
}

// reasonOf is one line, the same each time.
func reasonOf(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
