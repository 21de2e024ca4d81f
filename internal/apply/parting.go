package apply

import (
	"context"
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Keep puts into is, the next form of an object, what others may still refer to in was, its form until now, and says
// whether there is any.
type Keep func(was, is *unstructured.Unstructured) bool

// parting is the form that an object has while those who refer to it let go of what it loses. What is added to an object is
// there before others refer to it, because of the waves; what it loses has to be there after they do not any more, and
// until everybody has heard of that.
type parting struct {
	*want
	until time.Time
}

// part says how the object goes from one form to the next; nil when nobody notices.
func (e *Engine) part(was, is *want) *parting {
	if was == nil || e.cfg.Keep == nil {
		return nil
	}
	now := time.Now()
	after := e.kept(was.form(now), is)
	if after == nil {
		return nil
	}
	until := now.Add(e.cfg.Part)
	if was.form(now) != was && e.kept(was, is) == nil {
		until = was.parting.until // it loses nothing more, and what it has lost must not stay with each further change
	}
	text, err := json.Marshal(after)
	if err != nil {
		return nil
	}
	// It is that of the new object all the same: whose name, digest and wave it has.
	kept, err := newWant(&Object{ID: is.ID, Digest: is.Digest, Wave: is.Wave, JSON: text})
	if err != nil {
		return nil
	}
	return &parting{want: kept, until: until}
}

// kept is the object in its next form with what others may still refer to in the one before; nil when that is nothing.
func (e *Engine) kept(was, is *want) *unstructured.Unstructured {
	before, err := decode(was.ref, was.JSON)
	if err != nil {
		return nil
	}
	after, err := decode(is.ref, is.JSON)
	if err != nil || !e.cfg.Keep(before, after) {
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
	if w.parting != nil && now.Before(w.parting.until) {
		return w.parting.want
	}
	return w
}
