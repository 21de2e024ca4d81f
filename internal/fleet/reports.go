package fleet

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// What one edge can make the server hold.
const (
	maxFacts     = 200_000
	maxFactBytes = 128 << 20
)

// reports puts the parts of a report together.
type reports struct {
	seq  uint64
	next uint32 // the part to come; 0 between reports
	full bool
	put  []*isthmusv1.Fact
	drop []string
	size int
}

// add returns the report that o completes, nil when more parts have to come.
func (r *reports) add(o *isthmusv1.Observed) (*Observation, error) {
	switch {
	case o.GetPart() == 0:
		*r = reports{seq: o.GetSeq(), full: o.GetFull()}
	case o.GetSeq() != r.seq || o.GetPart() != r.next:
		return nil, fmt.Errorf("part %d of report %d came after part %d of report %d", o.GetPart(), o.GetSeq(), int64(r.next)-1, r.seq)
	}
	for _, f := range o.GetPut() {
		if f.GetId() == "" || f.GetFact() == nil {
			return nil, errors.New("a fact without id or content")
		}
	}
	r.put, r.drop = append(r.put, o.GetPut()...), append(r.drop, o.GetDrop()...)
	r.next = o.GetPart() + 1
	r.size += proto.Size(o)
	if len(r.put)+len(r.drop) > maxFacts || r.size > maxFactBytes {
		return nil, fmt.Errorf("a report of more than %d facts or %d bytes", maxFacts, maxFactBytes)
	}
	if !o.GetLast() {
		return nil, nil
	}
	done := &Observation{Full: r.full, Put: r.put, Drop: r.drop}
	*r = reports{seq: r.seq}
	return done, nil
}
