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
	until time.Time
}

// part says how the object goes from one form to the next: the forms between, in the order of their ends; none when nobody notices.
func (e *Engine) part(was, is *want, now time.Time) []parting {
	if was == nil {
		return nil
	}
	var all []parting
	for i := range e.cfg.Keep {
		if until := e.keepsUntil(&e.cfg.Keep[i], was, is, now); until.After(now) {
			all = append(all, parting{keep: &e.cfg.Keep[i], until: until})
		}
	}
	slices.SortStableFunc(all, func(a, b parting) int { return a.until.Compare(b.until) })
	before, _ := was.form(now)
	var forms []parting
	for i, p := range all {
		if p.want = e.between(before, is, all[i:]); p.want != nil {
			forms = append(forms, p)
		}
	}
	return forms
}

// keepsUntil is until when an object that changes keeps something. What it has lost before must not stay with each further change.
func (e *Engine) keepsUntil(k *Keep, was, is *want, now time.Time) time.Time {
	if e.kept(was, is, k) != nil {
		if k.Routed {
			return e.routed.Add(k.For)
		}
		return now.Add(k.For)
	}
	for _, p := range was.parting {
		if p.keep == k {
			return p.until
		}
	}
	return now
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

// form is the object as it should be now, and until when, unless that is the end.
func (w *want) form(now time.Time) (*want, time.Time) {
	for _, p := range w.parting {
		if now.Before(p.until) {
			return p.want, p.until
		}
	}
	return w, time.Time{}
}
