package storm

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Answer is what a request was answered with.
type Answer struct {
	Host, Path string
	// Front says that the gateway in front was asked from outside, and not the mesh from within.
	Front           bool
	Asked, Answered time.Time
	Error           string
	Status          int
	// Body is what was said with another status than 200.
	Body string
	// Version, App and Cluster say who answered; Peer is the caller that the gateway saw by its certificate.
	Version      int
	App, Cluster string
	Peer         string
}

// History is when what was true. Its methods may be called at any time from anywhere.
type History struct {
	// Late is how long after a change the old configuration may answer at most.
	Late time.Duration

	mu       sync.Mutex
	versions map[int]*span[Truth]
	fronts   map[string][]*span[Choice]
	lags     []time.Duration
}

// span is a truth with the time in which it may answer; until is zero while nobody has replaced it.
type span[T any] struct {
	what        T
	from, until time.Time
}

// Started says that a step is about to be made.
func (h *History) Started(s Step, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.versions == nil {
		h.versions, h.fronts = map[int]*span[Truth]{}, map[string][]*span[Choice]{}
	}
	for _, t := range s.Begins {
		h.versions[t.Version] = &span[Truth]{what: t, from: at}
	}
	for _, c := range s.Fronts {
		h.fronts[c.Host] = append(h.fronts[c.Host], &span[Choice]{what: c, from: at})
	}
}

// Done says that a step was accepted: what it replaces may answer for a while longer.
func (h *History) Done(s Step, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range s.Ends {
		h.versions[v].until = at
	}
	for _, c := range s.Fronts {
		for _, f := range h.fronts[c.Host][:len(h.fronts[c.Host])-1] {
			if f.until.IsZero() {
				f.until = at
			}
		}
	}
}

// Judge says what is wrong with an answer, when all that was true in its time is known.
func (h *History) Judge(a Answer) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, known := h.versions[a.Version]
	switch {
	case a.Error != "":
		return fmt.Errorf("no answer: %s", a.Error)
	case a.Status != 200:
		return fmt.Errorf("status %d: %.300s", a.Status, a.Body)
	case !known || t.what.Host != a.Host:
		return fmt.Errorf("version %d was never one of the host", a.Version)
	case a.Answered.Before(t.from):
		return fmt.Errorf("version %d answered before it was made", a.Version)
	case a.Cluster != t.what.Cluster || a.App != t.what.Apps[a.Path]:
		return fmt.Errorf("version %d answered from %s in %s, which is neither the old nor the new truth: want %s in %s", a.Version, a.App, a.Cluster, t.what.Apps[a.Path], t.what.Cluster)
	case a.Peer == "":
		return fmt.Errorf("the gateway saw no certificate of a caller: it was called in plain text")
	}
	if !t.until.IsZero() && a.Asked.After(t.until) {
		lag := a.Asked.Sub(t.until)
		h.lags = append(h.lags, lag)
		if lag > h.Late {
			return fmt.Errorf("version %d still answered %v after it was replaced", a.Version, lag)
		}
	}
	if a.Front && !h.chosen(a) {
		return fmt.Errorf("cluster %s was not chosen by the gateway in front", a.Cluster)
	}
	return nil
}

// chosen says whether some choice that may have held sends requests to the cluster.
func (h *History) chosen(a Answer) bool {
	return slices.ContainsFunc(h.fronts[a.Host], func(f *span[Choice]) bool {
		held := !a.Answered.Before(f.from) && (f.until.IsZero() || !a.Asked.After(f.until.Add(h.Late)))
		return held && slices.Contains(f.what.Clusters, a.Cluster)
	})
}

// Lag is how long after a change the old configuration still answered: the share p of such answers came within it.
func (h *History) Lag(p float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lags) == 0 {
		return 0
	}
	slices.Sort(h.lags)
	return h.lags[min(int(p*float64(len(h.lags))), len(h.lags)-1)]
}
