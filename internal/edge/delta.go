package edge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply"
)

// deltas puts the parts of deltas together. Nothing of one counts before its last part came and its sum matched.
type deltas struct {
	have *apply.Bundle // nil before the first one
	next *apply.Bundle // under construction
	part uint32        // to come
}

func generation(g *isthmusv1.Generation) apply.Generation {
	return apply.Generation{Epoch: g.GetEpoch(), Revision: g.GetRevision()}
}

// add returns the bundle that d completes, nil when more parts have to come.
func (a *deltas) add(d *isthmusv1.Delta) (*apply.Bundle, error) {
	if d.GetPart() == 0 {
		if err := a.begin(d); err != nil {
			return nil, err
		}
	}
	if a.next == nil || d.GetPart() != a.part || generation(d.GetTo()) != a.next.At {
		a.next = nil
		return nil, fmt.Errorf("part %d of the delta to %d is not the one to come", d.GetPart(), d.GetTo().GetRevision())
	}
	a.part++
	for _, o := range d.GetPut() {
		if sum := sha256.Sum256(o.GetJson()); hex.EncodeToString(sum[:]) != o.GetDigest() {
			a.next = nil
			return nil, fmt.Errorf("object %q is not what its digest says", o.GetId())
		}
		id := apply.ID(o.GetId())
		a.next.Objects[id] = &apply.Object{ID: id, Digest: o.GetDigest(), Wave: o.GetWave(), JSON: o.GetJson()}
	}
	for _, id := range d.GetDrop() {
		delete(a.next.Objects, apply.ID(id))
	}
	if !d.GetLast() {
		return nil, nil
	}
	next := a.next
	a.next = nil
	if sum := sumOf(next); sum != d.GetSum() || len(next.Objects) != int(d.GetTotal()) {
		return nil, fmt.Errorf("after the delta to %d there are %d objects with sum %s, expected %d with sum %s", next.At.Revision, len(next.Objects), sum, d.GetTotal(), d.GetSum())
	}
	a.have = next
	return next, nil
}

// begin checks that d continues what is there.
func (a *deltas) begin(d *isthmusv1.Delta) error {
	from, to := generation(d.GetFrom()), generation(d.GetTo())
	a.next, a.part = nil, 0
	var at apply.Generation
	objects := map[apply.ID]*apply.Object{}
	if a.have != nil {
		at = a.have.At
		objects = maps.Clone(a.have.Objects)
	}
	switch {
	case to.Epoch == "":
		return errors.New("a delta to no epoch")
	case from != at:
		return fmt.Errorf("a delta from %v, but this edge is at %v", from, at)
	case to.Epoch == at.Epoch && to.Revision < at.Revision:
		return fmt.Errorf("a delta back from %v to %v", at, to)
	}
	a.next = &apply.Bundle{At: to, Objects: objects}
	return nil
}

func sumOf(b *apply.Bundle) string {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(b.Objects)) {
		_, _ = h.Write([]byte(string(id) + " " + b.Objects[id].Digest + "\n")) // never fails
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hello says what b has.
func hello(version, session string, b *apply.Bundle) *isthmusv1.Hello {
	h := &isthmusv1.Hello{Protocol: protocol, Version: version, Session: session}
	if b == nil {
		return h
	}
	h.At = &isthmusv1.Generation{Epoch: b.At.Epoch, Revision: b.At.Revision}
	for _, id := range slices.Sorted(maps.Keys(b.Objects)) {
		h.Have = append(h.Have, &isthmusv1.ObjectDigest{Id: string(id), Digest: b.Objects[id].Digest})
	}
	return h
}

// answer is a report of the engine as the server reads it.
func answer(r apply.Report) *isthmusv1.Applied {
	a := &isthmusv1.Applied{
		At:      &isthmusv1.Generation{Epoch: r.At.Epoch, Revision: r.At.Revision},
		OkCount: uint32(r.Total - len(r.NotOK)), KeepsFrom: r.KeepsFrom,
	}
	for _, n := range r.NotOK {
		a.NotOk = append(a.NotOk, &isthmusv1.ObjectOutcome{Id: string(n.ID), Digest: n.Digest, Outcome: outcome(n.Outcome), Reason: n.Reason})
	}
	return a
}

func outcome(o apply.Outcome) isthmusv1.ObjectOutcome_Outcome {
	switch o {
	case apply.Foreign:
		return isthmusv1.ObjectOutcome_OUTCOME_FOREIGN
	case apply.Rejected:
		return isthmusv1.ObjectOutcome_OUTCOME_REJECTED
	case apply.Waiting:
		return isthmusv1.ObjectOutcome_OUTCOME_WAITING
	case apply.Failed:
	}
	return isthmusv1.ObjectOutcome_OUTCOME_FAILED
}
