package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidwall/btree"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/istio"
)

// servingWave is the first wave of objects that serve other clusters.
const servingWave = 3 // of VirtualServices, and the Gateways that lead to them

// cluster is one cluster's wanted bundle and its edge. The Fleet's lock guards it.
type cluster struct {
	name    string
	known   bool // a bundle was published
	objects map[string]*istio.Object
	held    map[string]bool // removals that wait for other clusters
	// heldPuts are objects that wait for other clusters.
	heldPuts map[string]bool
	// needs are what objects wait for as long as that is held back.
	needs map[string][]string
	// oversize objects are not sent. What an edge has of them stays.
	oversize map[string]*istio.Object

	session *session // nil when no edge is connected
	// sent is what the edge has once it has taken everything that was sent; nil until it said what it has.
	sent *btree.Map[string, string]
	// pending are objects whose wanted form may not be the sent one: the mailbox. Only the newest form counts.
	pending map[string]bool
	// unanswered has the revision at which an object was sent, until the edge answers that.
	unanswered map[string]int64
	// late are objects that have been held back and are not answered yet, with the revision from which on they were.
	late map[string]int64
	// keepsFrom is what the edge answered last.
	keepsFrom int64
	notOK     map[string]*isthmusv1.ObjectOutcome

	version            string
	reported, answered bool
	heard              time.Time
}

func newCluster(name string) *cluster {
	return &cluster{name: name, objects: map[string]*istio.Object{}, oversize: map[string]*istio.Object{}, held: map[string]bool{}, heldPuts: map[string]bool{}, needs: map[string][]string{}, pending: map[string]bool{}, unanswered: map[string]int64{}, late: map[string]int64{}}
}

func (c *cluster) wake() {
	if c.session != nil {
		c.session.poke()
	}
}

// publish takes a change in, and returns the removals that serve other clusters.
func (c *cluster) publish(ch istio.Change) map[string]bool {
	if ch.Gone {
		c.forget()
		return nil
	}
	c.known = true
	drop := ch.Drop
	if ch.Full {
		put := make(map[string]bool, len(ch.Put))
		for _, o := range ch.Put {
			put[o.ID] = true
		}
		drop = nil
		for id := range c.objects {
			if !put[id] {
				drop = append(drop, id)
			}
		}
		clear(c.oversize)
	}
	serving := map[string]bool{}
	for _, id := range drop {
		if o := c.objects[id]; o != nil && o.Wave >= servingWave {
			serving[id] = true
		}
		delete(c.objects, id)
		delete(c.oversize, id)
		delete(c.needs, id)
		c.pending[id] = true
	}
	for _, o := range ch.Put {
		if len(o.JSON) > maxObject {
			c.oversize[o.ID] = o
			delete(c.held, o.ID)
			continue
		}
		delete(c.oversize, o.ID)
		if was := c.objects[o.ID]; was != nil && was.Digest == o.Digest && was.Wave == o.Wave {
			continue
		}
		c.objects[o.ID] = o
		c.pending[o.ID] = true
		if needs := ch.Needs[o.ID]; needs != nil {
			c.needs[o.ID] = needs
		} else {
			delete(c.needs, o.ID)
		}
		delete(c.held, o.ID)
	}
	return serving
}

// waits says whether an object has to wait, or something that it needs has.
func (c *cluster) waits(id string) bool {
	return c.heldPuts[id] || slices.ContainsFunc(c.needs[id], func(n string) bool { return c.heldPuts[n] })
}

// comesLate notes that an object that was held back is told now, with all that needs it.
func (c *cluster) comesLate(id string, since int64) {
	for p := range c.pending {
		if p != id && !slices.Contains(c.needs[p], id) || c.objects[p] == nil {
			continue
		}
		if was, ok := c.late[p]; !ok || since < was {
			c.late[p] = since
		}
	}
}

// forget makes that the edge is told nothing any more. What the cluster runs stays; its credentials are gone too, so the
// stream ends at the next check. Should the cluster be known again before that, all that the edge has is looked at.
func (c *cluster) forget() {
	c.known = false
	clear(c.objects)
	clear(c.oversize)
	clear(c.held)
	clear(c.heldPuts)
	clear(c.needs)
	clear(c.late)
	if c.sent != nil {
		c.sent.Scan(func(id, _ string) bool {
			c.pending[id] = true
			return true
		})
	}
}

// hello takes in what an edge that just connected has.
func (c *cluster) hello(have []*isthmusv1.ObjectDigest) {
	c.sent = new(btree.Map[string, string])
	c.pending = map[string]bool{}
	c.unanswered = map[string]int64{}
	c.late, c.keepsFrom = map[string]int64{}, 0
	for _, h := range have {
		c.sent.Set(h.GetId(), h.GetDigest())
		c.pending[h.GetId()] = true
	}
	for id := range c.objects {
		c.pending[id] = true
	}
}

// difference is what an edge has to be told.
type difference struct {
	put   []*istio.Object
	drop  []string
	total int
	sum   string
}

func (d *difference) empty() bool { return len(d.put) == 0 && len(d.drop) == 0 }

// take empties the mailbox.
func (c *cluster) take(revision int64) *difference {
	d := new(difference)
	for _, id := range slices.Sorted(maps.Keys(c.pending)) {
		have, sent := c.sent.Get(id)
		switch o := c.objects[id]; {
		case c.oversize[id] != nil:
			delete(c.pending, id)
			continue
		case o != nil && c.waits(id):
			continue // stays in the mailbox
		case o != nil && (!sent || have != o.Digest):
			d.put = append(d.put, o)
			c.sent.Set(id, o.Digest)
		case o == nil && sent && c.held[id]:
			continue // stays in the mailbox
		case o == nil && sent:
			d.drop = append(d.drop, id)
			c.sent.Delete(id)
		default:
			delete(c.pending, id)
			if c.unanswered[id] == 0 {
				delete(c.late, id)
			}
			continue
		}
		delete(c.pending, id)
		c.unanswered[id] = revision
	}
	if len(c.pending) == 0 {
		c.pending = map[string]bool{} // after a whole bundle it is large, and a map does not shrink
	}
	h := sha256.New()
	c.sent.Scan(func(id, digest string) bool {
		_, _ = h.Write([]byte(id + " " + digest + "\n")) // never fails
		return true
	})
	d.total, d.sum = c.sent.Len(), hex.EncodeToString(h.Sum(nil))
	return d
}

// applied takes in an answer, and returns since when objects were held back that it answers; 0 when none of them was.
func (c *cluster) applied(a *isthmusv1.Applied) (since int64) {
	c.answered, c.keepsFrom = true, a.GetKeepsFrom()
	c.notOK = make(map[string]*isthmusv1.ObjectOutcome, len(a.GetNotOk()))
	for _, o := range a.GetNotOk() {
		c.notOK[o.GetId()] = o
	}
	for id, rev := range c.unanswered {
		if rev <= a.GetAt().GetRevision() {
			delete(c.unanswered, id)
			if s, late := c.late[id]; late && !c.pending[id] {
				delete(c.late, id)
				if since == 0 || s < since {
					since = s
				}
			}
		}
	}
	if len(c.unanswered) == 0 {
		c.unanswered = map[string]int64{}
	}
	return since
}

func (c *cluster) state() State {
	s := State{
		Connected: c.session != nil, Reported: c.reported, Answered: c.answered, Version: c.version, LastSync: c.heard,
		Unsent: map[string]bool{}, Unanswered: make(map[string]bool, len(c.unanswered)), NotOK: maps.Clone(c.notOK),
	}
	for id := range c.pending {
		s.Unsent[id] = true
	}
	for id := range c.unanswered {
		s.Unanswered[id] = true
	}
	for id, o := range c.oversize {
		if s.NotOK == nil {
			s.NotOK = map[string]*isthmusv1.ObjectOutcome{}
		}
		s.NotOK[id] = &isthmusv1.ObjectOutcome{
			Id: id, Digest: o.Digest, Outcome: isthmusv1.ObjectOutcome_OUTCOME_REJECTED,
			Reason: fmt.Sprintf("the object has %d bytes, the limit is %d", len(o.JSON), maxObject),
		}
	}
	if c.sent == nil { // nobody has said what is there
		for id := range c.objects {
			s.Unsent[id] = true
		}
	}
	return s
}
