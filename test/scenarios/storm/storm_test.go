package storm

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func world(seed uint64) *World { return New(seed, 3, "o", "t", "w", "ns", "storm.test") }

// Whatever is changed, every host is exposed by a gateway that the one in front calls, and the same seed makes the same
// changes.
func TestWorld(t *testing.T) {
	a, b := world(1), world(1)
	if !reflect.DeepEqual(a.Begin(), b.Begin()) {
		t.Fatal("two worlds of one seed begin in different ways")
	}
	var seen, up []string
	for range 2000 {
		e := a.Next()
		if !reflect.DeepEqual(e, b.Next()) {
			t.Fatal("two worlds of one seed change in different ways")
		}
		what, _, _ := strings.Cut(e.What, " ")
		seen = append(seen, what)
		if !a.answers() {
			t.Fatalf("after %q there is a host without a gateway", e.What)
		}
		for _, step := range e.Steps {
			if step.Recreate != "" {
				up = append(up, step.Recreate)
			}
		}
		if len(up) > 0 && len(seen)%20 == 0 {
			a.Up(up[0])
			b.Up(up[0])
			up = up[1:]
		}
		if len(seen)%20 == 10 {
			a.Goes()
			b.Goes()
		}
	}
	for _, k := range Kinds() {
		if !slices.Contains(seen, k) {
			t.Errorf("in 2,000 changes there is no %q", k)
		}
	}
}

func TestJudge(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	history := func() *History {
		h := &History{Late: 5 * time.Second}
		one := Truth{Version: 1, Host: "h", Cluster: "c2", Apps: map[string]string{"/a": "cart"}}
		two := Truth{Version: 2, Host: "h", Cluster: "c2", Apps: map[string]string{"/a": "bill"}}
		first := Step{Begins: []Truth{one}, Fronts: []Choice{{"h", []string{"c2", "c3"}}}}
		h.Started(first, at(0))
		h.Done(first, at(1))
		second := Step{Begins: []Truth{two}, Ends: []int{1}, Fronts: []Choice{{"h", []string{"c3"}}}}
		h.Started(second, at(10))
		h.Done(second, at(11))
		return h
	}
	right := Answer{Host: "h", Path: "/a", Asked: at(5), Answered: at(5), Status: 200, Version: 1, App: "cart", Cluster: "c2", Peer: "spiffe://x"}
	for name, tc := range map[string]struct {
		change func(*Answer)
		says   string
	}{
		"Right":     {func(*Answer) {}, ""},
		"Old":       {func(a *Answer) { a.Asked, a.Answered = at(12), at(12) }, ""},
		"TooOld":    {func(a *Answer) { a.Asked, a.Answered = at(17), at(17) }, "still answered 6s after"},
		"New":       {func(a *Answer) { a.Asked, a.Answered, a.Version, a.App = at(10), at(10), 2, "bill" }, ""},
		"TooEarly":  {func(a *Answer) { a.Version, a.App = 2, "bill" }, "before it was made"},
		"Mixed":     {func(a *Answer) { a.Asked, a.Answered, a.Version = at(12), at(12), 2 }, "neither the old nor the new"},
		"Elsewhere": {func(a *Answer) { a.Cluster = "c3" }, "neither the old nor the new"},
		"Unknown":   {func(a *Answer) { a.Version = 7 }, "never"},
		"OtherHost": {func(a *Answer) { a.Host = "i" }, "never"},
		"Status":    {func(a *Answer) { a.Status = 503 }, "status 503"},
		"Error":     {func(a *Answer) { a.Error = "refused" }, "no answer: refused"},
		"PlainText": {func(a *Answer) { a.Peer = "" }, "plain text"},
		"Front":     {func(a *Answer) { a.Front = true }, ""},
		"FrontOld": {func(a *Answer) {
			a.Front, a.Asked, a.Answered, a.Version, a.App = true, at(17), at(17), 2, "bill"
		}, "not chosen"},
	} {
		t.Run(name, func(t *testing.T) {
			a := right
			tc.change(&a)
			err := history().Judge(a)
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error %v, want one with %q", err, tc.says)
			}
		})
	}
}
