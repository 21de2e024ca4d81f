package store

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/resource"
)

// claimKeys are the claims of the package resource as keys.
func claimKeys(r *resource.Resource) []Key {
	var keys []Key
	for _, c := range resource.Claims(r) {
		keys = append(keys, Key("c/"+c))
	}
	return keys
}

// askKey names a claim and a workspace that asks for it.
func askKey(claim Key, workspace resource.FQN) Key {
	return claim + "\x00" + Key(workspace)
}

func splitAsk(k Key) (claim Key, workspace resource.FQN) {
	c, w, _ := strings.Cut(string(k), "\x00")
	return Key(c), resource.FQN(w)
}

// asksOf lists what a resource asks for in the name of its workspace, each thing once. What belongs to no workspace
// asks for nothing.
func asksOf(r *resource.Resource, cfg *Config) []Key {
	w := r.FQN.Ancestor("workspaces")
	if w == "" {
		return nil
	}
	var asks []Key
	for _, c := range cfg.Claims(r) {
		asks = append(asks, askKey(c, w))
	}
	slices.Sort(asks)
	return slices.Compact(asks)
}

// askDeltas says by how much the number of resources that ask changes.
func askDeltas(s *state, changes map[Key]any, cfg *Config) map[Key]int {
	deltas := map[Key]int{}
	for k, v := range changes {
		fqn := k.FQN()
		if fqn == "" {
			continue
		}
		if old := s.public.Resource(fqn); old != nil {
			for _, a := range asksOf(old, cfg) {
				deltas[a]--
			}
		}
		if r, ok := v.(*resource.Resource); ok {
			for _, a := range asksOf(r, cfg) {
				deltas[a]++
			}
		}
	}
	maps.DeleteFunc(deltas, func(_ Key, d int) bool { return d == 0 })
	return deltas
}

// claimChanges are the claims that change because of changes to resources. A workspace joins the line with the
// commit in which its first resource asks, and leaves it with the one after which none does. Of workspaces that
// join with the same commit the first by name is first.
func claimChanges(s *state, revision int64, changes map[Key]any, cfg *Config) map[Key]any {
	lines := map[Key][]Claimant{}
	deltas := askDeltas(s, changes, cfg)
	for _, a := range slices.Sorted(maps.Keys(deltas)) {
		had, _ := s.asks.get(a).(int)
		has := had + deltas[a]
		if (had > 0) == (has > 0) {
			continue
		}
		claim, workspace := splitAsk(a)
		line, ok := lines[claim]
		if !ok {
			line = s.public.claim(claim)
		}
		line = slices.DeleteFunc(slices.Clone(line), func(c Claimant) bool { return c.Workspace == workspace })
		if has > 0 {
			line = append(line, Claimant{Workspace: workspace, Since: revision})
		}
		lines[claim] = line
	}
	out := make(map[Key]any, len(lines))
	for claim, line := range lines {
		if len(line) == 0 {
			out[claim] = nil
			continue
		}
		slices.SortStableFunc(line, func(a, b Claimant) int {
			return cmp.Or(cmp.Compare(a.Since, b.Since), cmp.Compare(a.Workspace, b.Workspace))
		})
		out[claim] = &Claim{Claimants: line}
	}
	return out
}

func (s *Snapshot) claim(k Key) []Claimant {
	if c, ok := s.get(k).(*Claim); ok {
		return c.Claimants
	}
	return nil
}
