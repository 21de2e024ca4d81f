package wellknown

import (
	"fmt"
	"slices"
	"strings"
)

// Order is a rule of the order in which a change reaches clusters (docs/design/changes.md).
type Order string

// The rules. The server keeps the first two, edges the others.
const (
	// Arrivals: callers are sent to a cluster that is ready for them.
	Arrivals Order = "arrivals"
	// Removals: an owner lets go of what serves others after those have stopped to call it.
	Removals Order = "removals"
	// Waves: what is pointed to comes before what points to it, and goes after it.
	Waves Order = "waves"
	// Parting: what an object loses stays for a while.
	Parting Order = "parting"
	// Lingering: what is not wanted any more stays for a while.
	Lingering Order = "lingering"
	// Settling: what may be referred to has a moment to become known.
	Settling Order = "settling"
)

// Without are the rules that a text names, separated by commas: those are left out.
func Without(text string) (map[Order]bool, error) {
	out := map[Order]bool{}
	for word := range strings.SplitSeq(text, ",") {
		switch rule := Order(strings.TrimSpace(word)); {
		case rule == "":
		case !slices.Contains([]Order{Arrivals, Removals, Waves, Parting, Lingering, Settling}, rule):
			return nil, fmt.Errorf("%q is none of arrivals, removals, waves, parting, lingering, settling", word)
		default:
			out[rule] = true
		}
	}
	return out, nil
}
