package compile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// follower keeps up with a world edit by edit.
type follower struct {
	snapshot   *store.Snapshot
	compiler   *Compiler
	renderer   *istio.Renderer
	conditions map[resource.FQN][]resource.Condition
	// bundles as one who only hears of changes has them.
	bundles map[string]map[string]*istio.Object
}

func newFollower() *follower {
	return &follower{
		snapshot: store.NewSnapshot(0, nil), compiler: New(), renderer: istio.New(),
		conditions: map[resource.FQN][]resource.Condition{}, bundles: map[string]map[string]*istio.Object{},
	}
}

func (f *follower) apply(edits ...edit) {
	changes := map[store.Key]any{}
	for _, e := range edits {
		changes[e.key] = e.value
	}
	f.snapshot = f.snapshot.With(f.snapshot.Revision()+1, changes)
	res := f.compiler.Run(f.snapshot, slices.Collect(maps.Keys(changes)))
	f.take(res, f.renderer.Apply(res.Delta))
}

func (f *follower) take(res *Result, changes []istio.Change) {
	for fqn, cs := range res.Conditions {
		if cs == nil {
			delete(f.conditions, fqn)
			continue
		}
		f.conditions[fqn] = cs
	}
	for _, ch := range changes {
		b := f.bundles[ch.Cluster]
		if b == nil || ch.Full || ch.Gone {
			b = map[string]*istio.Object{}
			f.bundles[ch.Cluster] = b
		}
		for _, id := range ch.Drop {
			delete(b, id)
		}
		for _, o := range ch.Put {
			b[o.ID] = o
		}
		if len(b) == 0 {
			delete(f.bundles, ch.Cluster)
		}
	}
}

// fullOf compiles a snapshot from nothing.
func fullOf(s *store.Snapshot) *follower {
	f := newFollower()
	f.snapshot = s
	res := f.compiler.RunAll(s)
	f.take(res, f.renderer.Apply(res.Delta))
	return f
}

// facts is all that a follower has, in a form that can be compared.
func (f *follower) facts() map[string]string {
	out := map[string]string{}
	for fqn, cs := range f.conditions {
		out["conditions of "+string(fqn)] = fmt.Sprint(cs)
	}
	for cluster, b := range f.bundles {
		for id, o := range b {
			out[cluster+": "+id] = fmt.Sprint(o.Wave, o.Owners, o.Digest)
		}
	}
	return out
}

// TestIncrementalIsFull edits a world at random: what one has who follows each change is, byte for byte, what one has who
// compiles the end of it.
func TestIncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFollower()
		for _, batch := range rapid.SliceOfN(rapid.SliceOfN(editGen(), 1, 6), 1, 25).Draw(t, "edits") {
			f.apply(batch...)
			if diff := cmp.Diff(fullOf(f.snapshot).facts(), f.facts()); diff != "" {
				t.Fatalf("followed and compiled at once differ (-at once +followed):\n%s", diff)
			}
		}
	})
}

// TestEveryReadCounts leaves one sort of read at a time unrecorded: following must go wrong, or else nobody would notice when
// the recording did.
func TestEveryReadCounts(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles thousands of worlds")
	}
	edits := manyEdits()
	shapes := map[string]bool{}
	all := newFollower()
	all.compiler.engine.forget = func(layer, unit, key string) bool {
		if s := shapeOf(all.compiler, layer, unit, key); s != "" {
			shapes[s] = true
		}
		return false
	}
	wants := make([]map[string]string, len(edits))
	for i, e := range edits {
		all.apply(e...)
		wants[i] = all.facts()
	}
	if len(shapes) < 20 {
		t.Fatalf("only %d sorts of reads happened", len(shapes))
	}
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		t.Run(strings.ReplaceAll(shape, "/", "_"), func(t *testing.T) {
			f := newFollower()
			f.compiler.engine.forget = func(layer, unit, key string) bool {
				return shapeOf(f.compiler, layer, unit, key) == shape
			}
			for i, e := range edits {
				f.apply(e...)
				if !maps.Equal(wants[i], f.facts()) {
					return
				}
			}
			t.Errorf("nobody noticed that %s was not recorded", shape)
		})
	}
}

// manyEdits is a fixed long walk that comes back to a world in which everything works, again and again.
func manyEdits() [][]edit {
	var edits [][]edit
	gen := editGen()
	for _, probe := range probes() {
		edits = append(edits, goodWorld())
		edits = append(edits, probe...)
	}
	for seed := range 1500 {
		if seed%12 == 0 {
			edits = append(edits, goodWorld())
		}
		edits = append(edits, []edit{gen.Example(seed)})
	}
	return edits
}

// shapeOf is what sort of read a key is: the names in it do not matter. It is empty for the key that a unit exists for,
// which makes the unit dirty by itself.
func shapeOf(c *Compiler, layer, unit, key string) string {
	for _, l := range c.engine.layers {
		if l.name == layer && l.root(unit) == key {
			return ""
		}
	}
	parts := strings.Split(key, "/")
	end := ""
	if strings.HasSuffix(key, "/") {
		end = "/"
	}
	switch parts[0] {
	case "r":
		return layer + " r " + parts[len(parts)-2] + end
	case "u":
		if parts[1] == "listen" {
			return layer + " u listen " + strings.Join(parts[len(parts)-3:len(parts)-2], "/")
		}
		if strings.Contains(key, "/*/") {
			end = "*" + end
		}
		return layer + " u " + parts[1] + end
	case "f":
		if name := parts[len(parts)-1]; name != "" && !slices.Contains([]string{"svc", "gw", "cert"}, name) && (parts[2] == "service" || parts[2] == "secret") {
			return layer + " f " + parts[2] + " " + name // what guards ask is asked for different reasons
		}
		return layer + " f " + parts[2] + end
	}
	return layer + " " + parts[0] + " " + parts[1] + end
}
