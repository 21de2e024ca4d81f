package applytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/internal/apply"
)

// keepKeys keeps keys with a prefix.
func keepKeys(prefix string) func(was, is *unstructured.Unstructured) bool {
	return func(was, is *unstructured.Unstructured) bool {
		before, after := data(was), data(is)
		kept := false
		for k, v := range before {
			if _, there := after[k]; !there && strings.HasPrefix(k, prefix) {
				set(is, v, "data", k)
				kept = true
			}
		}
		return kept
	}
}

// keepsKeys keeps the keys of ConfigMaps for d.
func keepsKeys(d time.Duration) func(*apply.Config) {
	return func(cfg *apply.Config) {
		cfg.Keep = []apply.Keep{{What: keepKeys(""), For: d}}
	}
}

func parts(t *testing.T, c *Cluster) {
	const keep = 2 * time.Second
	r := start(t, c, keepsKeys(keep))
	state := func(keysAndValues ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(keysAndValues); i += 2 {
			m[keysAndValues[i]] = keysAndValues[i+1]
		}
		return m
	}
	object := func(m map[string]string) *apply.Object { return ConfigMap(c.Namespace, "a", 1, m) }
	r.Engine.Set(bundle(1, object(state("one", "1", "two", "1"))))
	r.until("the object", at(1))
	r.quiet("it is new, and keeps nothing")

	began := time.Now()
	r.Engine.Set(bundle(2, object(state("two", "2", "three", "2"))))
	r.until("the change", at(2))
	if diff := cmp.Diff(state("one", "1", "two", "2", "three", "2"), data(c.get(t, "a"))); diff != "" {
		t.Errorf("while it keeps what it loses (-want +got):\n%s", diff)
	}
	c.edit(t, "a", func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, "data", "one") })
	within(t, "repair of what is kept", func() bool { return data(c.get(t, "a"))["one"] == "1" })

	r.Engine.Set(bundle(3, object(state("three", "3"))))
	r.until("the next change, meanwhile", at(3))
	if diff := cmp.Diff(state("one", "1", "two", "2", "three", "3"), data(c.get(t, "a"))); diff != "" {
		t.Errorf("while it keeps what it lost twice (-want +got):\n%s", diff)
	}
	for !cmp.Equal(state("three", "3"), data(c.get(t, "a"))) {
		if time.Since(began) > 5*keep {
			t.Fatalf("it still keeps %v", data(c.get(t, "a")))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if d := time.Since(began); d < keep {
		t.Errorf("it kept what it lost for %v, want at least %v", d, keep)
	}
	r.quiet("after it parted")
}

// Changes that lose nothing more do not put off the parting.
func partsInTime(t *testing.T, c *Cluster) {
	const keep = time.Second
	r := start(t, c, keepsKeys(keep))
	object := func(m map[string]string) *apply.Object { return ConfigMap(c.Namespace, "a", 1, m) }
	r.Engine.Set(bundle(1, object(map[string]string{"one": "1", "two": "1"})))
	r.until("the object", at(1))
	began, rev := time.Now(), int64(1)
	for {
		rev++
		r.Engine.Set(bundle(rev, object(map[string]string{"two": fmt.Sprint(rev)})))
		r.until("a change", at(rev))
		_, kept := data(c.get(t, "a"))["one"]
		d := time.Since(began)
		switch {
		case !kept && d < keep:
			t.Fatalf("it kept what it lost for %v, want at least %v", d, keep)
		case !kept:
			return
		case d > 3*keep:
			t.Fatalf("it keeps what it lost since %v and %d changes", d, rev)
		}
		time.Sleep(keep / 10)
	}
}

func partsNot(t *testing.T, c *Cluster) {
	r := start(t, c, keepsKeys(time.Hour))
	object := func(m map[string]string) *apply.Object { return ConfigMap(c.Namespace, "a", 1, m) }
	both := map[string]string{"one": "1", "two": "1"}
	r.Engine.Set(bundle(1, object(both)))
	r.until("the object", at(1))
	r.Engine.Set(bundle(2, object(map[string]string{"one": "1"})))
	r.until("the change", at(2))
	r.quiet("it keeps what it loses, and that is what is there")
	r.Engine.Set(bundle(3, object(both)))
	r.until("back", at(3))
	r.quiet("it is back")
	r.Engine.Set(bundle(4))
	r.until("nothing", at(4))
	if c.get(t, "a") != nil {
		t.Error("an object that is not wanted any more is still there")
	}
}

// What routes lead to is kept for a while after those have changed, and not longer than that; something else may be kept for longer.
func partsFromRoutes(t *testing.T, c *Cluster) {
	const brief, long = time.Second, 3 * time.Second
	r := start(t, c, func(cfg *apply.Config) {
		cfg.Keep = []apply.Keep{{What: keepKeys("brief"), For: brief, Routed: true}, {What: keepKeys("long"), For: long}}
		cfg.Routes = func(ref apply.Ref) bool { return ref.Name == "route" }
	})
	put := func(rev int64, route string, keys ...string) {
		m := map[string]string{"x": "x"}
		for _, k := range keys {
			m[k] = k
		}
		r.Engine.Set(bundle(rev, ConfigMap(c.Namespace, "route", 2, map[string]string{"to": route}), ConfigMap(c.Namespace, "a", 1, m)))
		r.until(fmt.Sprint("bundle ", rev), at(rev))
	}
	keys := func() string { return strings.Join(slices.Sorted(maps.Keys(data(c.get(t, "a")))), " ") }
	put(1, "one", "brief", "brief-2", "long")
	time.Sleep(brief)
	put(2, "one", "brief", "long")
	if got := keys(); got != "brief long x" {
		t.Errorf("no route has changed, and it has %s", got)
	}
	began := time.Now()
	put(3, "two", "brief", "long")
	put(4, "two")
	if got := keys(); got != "brief long x" {
		t.Errorf("a route has just changed, and it has %s", got)
	}
	r.until("what it keeps for the routes", func(rep apply.Report) bool { return rep.KeepsFrom == 3 })
	for _, next := range []struct {
		after time.Duration
		keys  string
	}{{brief, "long x"}, {long, "x"}} {
		for keys() != next.keys {
			if time.Since(began) > 3*long {
				t.Fatalf("it has %s, want %s", keys(), next.keys)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if d := time.Since(began); d < next.after {
			t.Errorf("it had %s after %v, want %v at least", next.keys, d, next.after)
		}
	}
	r.until("the end", func(rep apply.Report) bool { return rep.KeepsFrom == 0 })
	r.quiet("after it parted twice")
}

func lingers(t *testing.T, c *Cluster) {
	const keep = time.Second
	r := start(t, c, func(cfg *apply.Config) {
		cfg.Lingers = func(ref apply.Ref) time.Duration {
			if ref.Name == "a" {
				return keep
			}
			return 0
		}
	})
	r.Engine.Set(bundle(1, one(c, "a"), one(c, "b")))
	r.until("two objects", at(1))
	r.Engine.Set(bundle(2))
	r.until("what does not linger is gone", func(rep apply.Report) bool { return rep.At.Revision == 2 && rep.Leftover == 1 })
	if c.get(t, "a") == nil || c.get(t, "b") != nil {
		t.Errorf("a is %v and b is %v; want a alone", c.get(t, "a"), c.get(t, "b"))
	}
	r.Engine.Set(bundle(3, one(c, "a")))
	r.until("it is wanted again", at(3))
	began := time.Now()
	r.Engine.Set(bundle(4))
	r.until("gone", at(4))
	if c.get(t, "a") != nil {
		t.Error("the object is still there")
	}
	if d := time.Since(began); d < keep {
		t.Errorf("it stayed for %v, want at least %v", d, keep)
	}
}

func settles(t *testing.T, c *Cluster) {
	const wait = 400 * time.Millisecond
	r := start(t, c, func(cfg *apply.Config) {
		cfg.Settle = wait
		cfg.Leads = func(ref apply.Ref) bool { return ref.Name == "rule" }
	})
	version := func(v string) []*apply.Object {
		return []*apply.Object{
			ConfigMap(c.Namespace, "rule", 1, map[string]string{"v": v}), ConfigMap(c.Namespace, "beside", 1, map[string]string{"v": v}),
			ConfigMap(c.Namespace, "route", 2, map[string]string{"v": v}),
		}
	}
	r.Engine.Set(bundle(1, version("1")...))
	r.until("all of it", at(1))
	began := time.Now()
	r.Engine.Set(bundle(2, version("2")...))
	r.until("the route", at(2))
	if d := time.Since(began); d < wait {
		t.Errorf("the route followed the rule after %v, want at least %v", d, wait)
	}
	began = time.Now()
	r.Engine.Set(bundle(3, append(version("2")[:2], version("3")[2])...))
	r.until("the route alone", at(3))
	if d := time.Since(began); d >= wait {
		t.Errorf("the route alone took %v, and there was nothing to wait for", d)
	}
}
