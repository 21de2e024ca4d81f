package fleet

import (
	"maps"
	"time"
)

// hold keeps one cluster's removals back until the other clusters have stopped sending requests there.
type hold struct {
	cluster  string
	ids      map[string]bool
	revision int64
	waiting  map[string]bool // clusters that have not answered
	timer    *time.Timer
}

// holdBack keeps what serves other clusters until those which change in the same generation have answered it. Clusters
// that are not connected are not waited for.
func (f *Fleet) holdBack(removed map[string]map[string]bool, touched map[string]bool) {
	for name, ids := range removed {
		h := &hold{cluster: name, ids: ids, revision: f.revision, waiting: map[string]bool{}}
		for other := range touched {
			if other != name && f.clusters[other].session != nil {
				h.waiting[other] = true
			}
		}
		if len(h.waiting) == 0 {
			continue
		}
		maps.Copy(f.clusters[name].held, ids)
		f.holds[h] = true
		h.timer = time.AfterFunc(f.cfg.Hold, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.release(h)
		})
	}
}

// release lets the removals of a hold go.
func (f *Fleet) release(h *hold) {
	if !f.holds[h] {
		return
	}
	h.timer.Stop()
	delete(f.holds, h)
	c := f.clusters[h.cluster]
	for id := range h.ids {
		if !f.heldByAnother(h.cluster, id) {
			delete(c.held, id)
		}
	}
	c.wake()
}

func (f *Fleet) heldByAnother(cluster, id string) bool {
	for o := range f.holds {
		if o.cluster == cluster && o.ids[id] {
			return true
		}
	}
	return false
}

// answered takes a cluster off the holds up to a revision: it has answered them, or is gone.
func (f *Fleet) answered(cluster string, revision int64) {
	for h := range f.holds {
		if h.revision > revision || !h.waiting[cluster] {
			continue
		}
		delete(h.waiting, cluster)
		if len(h.waiting) == 0 {
			f.release(h)
		}
	}
}

// settled takes a cluster that has been told everything, and has answered all of it, off the holds: what the newest
// generation changed does not concern it.
func (f *Fleet) settled(c *cluster) {
	if len(c.unanswered) > 0 {
		return
	}
	for id := range c.pending {
		if !c.held[id] {
			return
		}
	}
	f.answered(c.name, f.revision)
}
