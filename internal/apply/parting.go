package apply

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Keep is something that an object has for a while after a bundle does not say it any more.
type Keep struct {
	// What puts into is, the next form of an object, what others may still refer to in was, its form until now, and says
	// whether there is any.
	What func(was, is *unstructured.Unstructured) bool
	// For is how long.
	For time.Duration
	// Routed says that others only refer to it by routes that a bundle has changed: For begins with the last bundle that did, and
	// nothing is kept after that.
	Routed bool
}

// parting is a form that an object has while those who refer to it let go of what it loses. What is added to an object is
// there before others refer to it, because of the waves; what it loses has to be there after they do not any more, and
// until everybody has heard of that.
type parting struct {
	*want
	keep  *Keep // whose end is the end of the form
	since int64 // revision after which was lost what is kept
	until time.Time
}

// part says how the object goes from one form to the next: the forms between, in the order of their ends; none when nobody notices.
func (e *Engine) part(was, is *want, after int64, now time.Time) []parting {
	if was == nil {
		return nil
	}
	var all []parting
	for i := range e.cfg.Keep {
		p := parting{keep: &e.cfg.Keep[i], since: after}
		if e.lasts(&p, was, is, now); p.until.After(now) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b parting) int { return a.until.Compare(b.until) })
	before := was.form(now)
	var forms []parting
	for i, p := range all {
		if p.want = e.between(before, is, all[i:]); p.want != nil {
			forms = append(forms, p)
		}
	}
	return forms
}

// lasts says until when an object that changes keeps something. What it has lost before must not stay with each further change.
func (e *Engine) lasts(p *parting, was, is *want, now time.Time) {
	i := slices.IndexFunc(was.parting, func(o parting) bool { return o.keep == p.keep && now.Before(o.until) })
	switch lost := e.kept(was, is, p.keep) != nil; {
	case !lost && i >= 0:
		p.since, p.until = was.parting[i].since, was.parting[i].until
	case !lost:
	case p.keep.Routed:
		p.until = e.routed.Add(p.keep.For)
	default:
		p.until = now.Add(p.keep.For)
	}
	if i >= 0 {
		p.since = min(p.since, was.parting[i].since)
	}
}

// between is the object in its next form with what several keep of the one before; nil when that is nothing.
func (e *Engine) between(was, is *want, all []parting) *want {
	keeps := make([]*Keep, len(all))
	for i, p := range all {
		keeps[i] = p.keep
	}
	after := e.kept(was, is, keeps...)
	if after == nil {
		return nil
	}
	text, err := json.Marshal(after)
	if err != nil {
		return nil
	}
	// It is that of the new object all the same: whose name, digest and wave it has.
	w, err := newWant(&Object{ID: is.ID, Digest: is.Digest, Wave: is.Wave, JSON: text})
	if err != nil {
		return nil
	}
	return w
}

// kept is the object in its next form with what others may still refer to in the one before; nil when that is nothing.
func (e *Engine) kept(was, is *want, keeps ...*Keep) *unstructured.Unstructured {
	before, err := decode(was.ref, was.JSON)
	if err != nil {
		return nil
	}
	after, err := decode(is.ref, is.JSON)
	if err != nil {
		return nil
	}
	any := false
	for _, k := range keeps {
		any = k.What(before, after) || any
	}
	if !any {
		return nil
	}
	return after
}

// lingers says how long an object that is not wanted any more has to stay for those who refer to it.
func (e *Engine) lingers(ref Ref) time.Duration {
	if e.cfg.Lingers == nil || e.cfg.Lingers(ref) <= 0 {
		return 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	since, known := e.unwanted[ref.ID()]
	if !known {
		since = time.Now()
		e.unwanted[ref.ID()] = since
	}
	return time.Until(since.Add(e.cfg.Lingers(ref)))
}

// settle waits after a wave in which something was written that the next ones may refer to: who watches both kinds hears of each by
// itself, and may hear of what was written later first.
func (e *Engine) settle(ctx context.Context, p *result) {
	if !p.settle {
		return
	}
	p.settle = false
	select {
	case <-ctx.Done():
	case <-time.After(e.cfg.Settle):
	}
}

// form is the object as it should be now.
func (w *want) form(now time.Time) *want {
	if p := w.between(now); p != nil {
		return p.want
	}
	return w
}

// between is the form between that the object has now; nil at the end.
func (w *want) between(now time.Time) *parting {
	for i := range w.parting {
		if now.Before(w.parting[i].until) {
			return &w.parting[i]
		}
	}
	return nil
}
