package edge

import (
	"crypto/sha256"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// partBytes is how much one message carries: as little as those of the server, whose buffers are as long as messages.
const partBytes = 128 << 10

// reporter turns facts into reports: a full one first, then what changed. Only one report is under way at a time, so
// that whatever changes meanwhile goes together into the next one.
type reporter struct {
	seq      uint64
	told     map[string][sha256.Size]byte // digests of the facts, as the server has them once it acknowledges
	underWay bool
}

// full makes the first report of a stream.
func (r *reporter) full(facts map[string]*isthmusv1.Fact) []*isthmusv1.Observed {
	r.told = map[string][sha256.Size]byte{}
	put, _ := r.changed(facts)
	return r.cut(true, put, nil)
}

// changes makes the next report; nil when there is nothing to say.
func (r *reporter) changes(facts map[string]*isthmusv1.Fact) []*isthmusv1.Observed {
	put, drop := r.changed(facts)
	if len(put)+len(drop) == 0 {
		return nil
	}
	return r.cut(false, put, drop)
}

func (r *reporter) changed(facts map[string]*isthmusv1.Fact) (put []*isthmusv1.Fact, drop []string) {
	for _, id := range slices.Sorted(maps.Keys(facts)) {
		f := facts[id]
		was, told := r.told[id]
		if f == nil {
			if told {
				drop = append(drop, id)
				delete(r.told, id)
			}
			continue
		}
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(f)
		if err != nil {
			continue // text that is not UTF-8, which the API server does not store
		}
		if sum := sha256.Sum256(text); !told || sum != was {
			r.told[id] = sum
			put = append(put, f)
		}
	}
	return put, drop
}

func (r *reporter) cut(full bool, put []*isthmusv1.Fact, drop []string) []*isthmusv1.Observed {
	r.seq++
	r.underWay = true
	parts := []*isthmusv1.Observed{{Seq: r.seq, Full: full, Drop: drop}}
	size := 0
	for _, f := range put {
		part := parts[len(parts)-1]
		n := proto.Size(f) + 8
		if size+n > partBytes && size > 0 {
			part = &isthmusv1.Observed{Seq: r.seq, Full: full, Part: part.GetPart() + 1}
			parts, size = append(parts, part), 0
		}
		part.Put = append(part.Put, f)
		size += n
	}
	parts[len(parts)-1].Last = true
	return parts
}

// acknowledged takes the server's word that a report is stored.
func (r *reporter) acknowledged(seq uint64) {
	if seq == r.seq {
		r.underWay = false
	}
}
