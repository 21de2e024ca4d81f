package fleet

import (
	"maps"
	"time"

	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/wellknown"
)

// hold keeps objects of one cluster back until other clusters are done with theirs: removals of what serves others until those have
// stopped sending requests there, and what sends requests elsewhere until those are ready for them.
type hold struct {
	cluster  string
	ids      map[string]bool
	revision int64
	// puts says that it is objects that are held back, not removals.
	puts bool
	// since is the revision from which on the objects have been held back, by this hold or those before it.
	since   int64
	waiting map[string]int64 // clusters that have not answered, and the revision that they have to
	timer   *time.Timer
}

// held says where a cluster notes what is held back.
func (h *hold) held(c *cluster) map[string]bool {
	if h.puts {
		return c.heldPuts
	}
	return c.held
}

// holdBack keeps removals of what serves other clusters until all that change in the same generation have answered it, and
// objects until the clusters that they wait for have. Clusters that are not connected are not waited for.
func (f *Fleet) holdBack(removed map[string]map[string]bool, changes []istio.Change) {
	for _, ch := range changes {
		if f.cfg.Without[wellknown.Arrivals] {
			break
		}
		for id, clusters := range ch.Await {
			h := &hold{cluster: ch.Cluster, ids: map[string]bool{id: true}, puts: true}
			for _, other := range clusters {
				if c := f.clusters[other]; c != nil && c.busy() {
					h.waitFor(f, other)
				}
			}
			f.begin(h)
		}
	}
	for name, ids := range removed {
		if f.cfg.Without[wellknown.Removals] {
			break
		}
		h := &hold{cluster: name, ids: ids}
		for _, ch := range changes {
			// The cluster itself is waited for as well if something of its own waits: its callers still come here.
			if ch.Cluster != name || len(f.clusters[name].heldPuts) > 0 {
				h.waitFor(f, ch.Cluster)
			}
		}
		f.begin(h)
	}
}

func (h *hold) waitFor(f *Fleet, cluster string) {
	if c := f.clusters[cluster]; c != nil && c.session != nil {
		if h.waiting == nil {
			h.waiting = map[string]int64{}
		}
		h.waiting[cluster] = f.revision
	}
}

// begin holds back, if there is anybody to wait for.
func (f *Fleet) begin(h *hold) {
	if len(h.waiting) == 0 {
		return
	}
	h.revision, h.since = f.revision, f.revision
	for o := range f.holds {
		if o.cluster == h.cluster && o.puts && h.puts && overlap(o.ids, h.ids) {
			h.since = min(h.since, o.since)
		}
	}
	maps.Copy(h.held(f.clusters[h.cluster]), h.ids)
	f.holds[h] = true
	h.timer = time.AfterFunc(f.cfg.Hold, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.release(h)
	})
}

// release lets what is held back go.
func (f *Fleet) release(h *hold) {
	if !f.holds[h] {
		return
	}
	h.timer.Stop()
	delete(f.holds, h)
	c := f.clusters[h.cluster]
	for id := range h.ids {
		if f.heldByAnother(h, id) {
			continue
		}
		delete(h.held(c), id)
		if h.puts {
			c.comesLate(id, h.since)
		}
	}
	c.wake()
}

func (f *Fleet) heldByAnother(h *hold, id string) bool {
	for o := range f.holds {
		if o.cluster == h.cluster && o.puts == h.puts && o.ids[id] {
			return true
		}
	}
	return false
}

// answered takes a cluster off the holds up to a revision: it has answered them, or is gone. One that has not been told
// where to send requests instead has not stopped to send them.
func (f *Fleet) answered(cluster string, revision int64) {
	for h := range f.holds {
		need, waits := h.waiting[cluster]
		if !waits || need > revision || !h.puts && f.goesOn(cluster, h.revision, need) {
			continue
		}
		delete(h.waiting, cluster)
		if len(h.waiting) > 0 {
			continue
		}
		if !h.puts {
			f.release(h)
			continue
		}
		// What was applied is known to Envoy a moment later.
		h.timer.Reset(f.cfg.Settle)
	}
}

// goesOn says that a cluster has not been told yet where to send requests as of a revision, has not answered that, or still sends some
// where it did before the revision in which it was told.
func (f *Fleet) goesOn(cluster string, revision, told int64) bool {
	c := f.clusters[cluster]
	if c.session == nil {
		return false
	}
	if c.keepsFrom != 0 && c.keepsFrom <= told {
		return true
	}
	for _, since := range c.late {
		if since <= revision {
			return true
		}
	}
	for h := range f.holds {
		if h.puts && h.cluster == cluster && h.since <= revision {
			return true
		}
	}
	return false
}

// lateAnswered notes that a cluster has answered objects that it was told late: what others wait for is the answer in which it did.
func (f *Fleet) lateAnswered(cluster string, since, revision int64) {
	for h := range f.holds {
		if need, waits := h.waiting[cluster]; waits && !h.puts && since <= h.revision {
			h.waiting[cluster] = max(need, revision)
		}
	}
}

func overlap(a, b map[string]bool) bool {
	for id := range a {
		if b[id] {
			return true
		}
	}
	return false
}

// settled takes a cluster that has been told everything, and has answered all of it, off the holds: what the newest
// generation changed does not concern it.
func (f *Fleet) settled(c *cluster) {
	if !c.busy() {
		f.answered(c.name, f.revision)
	}
}

// busy says that there is something that the edge has to be told, and may be, or has not answered yet.
func (c *cluster) busy() bool {
	if len(c.unanswered) > 0 {
		return true
	}
	for id := range c.pending {
		if !c.held[id] && !c.waits(id) {
			return true
		}
	}
	return false
}
