package compile

import (
	"regexp"
	"strings"
	"testing"

	"isthmus.dev/isthmus/internal/intent"
)

// TestCombine sends every value through every pair of matches: what the pair comes to matches what both do, and more only where
// it says that it cannot tell.
func TestCombine(t *testing.T) {
	matches := []*intent.StringMatch{
		nil,
		{Exact: "/"}, {Exact: "/a"}, {Exact: "/a/b"}, {Exact: ""},
		{Prefix: "/"}, {Prefix: "/a"}, {Prefix: "/a/"}, {Prefix: "/b"}, {Prefix: "/b/a"},
		{Regex: "/a.*"}, {Regex: "/[ab]"}, {Regex: "/(b|a/b)"}, {Regex: "/" + strings.Repeat("[ab]?", 250)},
	}
	values := []string{"/", "/a", "/a/", "/a/b", "/ab", "/b", "/b/a", "/b/a/b", "/c"}
	changes := []intent.HTTPRoute{
		{},
		{Rewrite: &intent.Rewrite{URI: "/"}}, {Rewrite: &intent.Rewrite{URI: "/b"}}, {Rewrite: &intent.Rewrite{URI: "/a/", Authority: "/a"}},
		{Request: intent.Headers{Set: map[string]string{"X": "/a"}}}, {Request: intent.Headers{Set: map[string]string{"x": "%REQ(y)%"}}},
		{Request: intent.Headers{Add: map[string]string{"x": "/a"}}}, {Request: intent.Headers{Remove: []string{"X"}}},
	}
	sure := 0
	for _, a := range matches {
		for _, b := range matches {
			for i := range changes {
				g := &changes[i]
				for _, of := range []string{"uri", "header", "authority"} {
					ours, theirs := matchOf(of, a), matchOf(of, b)
					got, how := combine(ours, theirs, g)
					if how != unsure {
						sure++
					}
					for _, v := range values {
						want := meets(ours, v, ours, &intent.HTTPRoute{}) && meets(theirs, v, ours, g)
						is := how != impossible && meets(&got, v, ours, &intent.HTTPRoute{})
						if is != want && (how != unsure || want) {
							t.Errorf("%s %q: %+v and %+v with %+v come to %+v (%d): %v, want %v", of, v, a, b, g, got, how, is, want)
						}
					}
				}
			}
		}
	}
	if sure < 3000 {
		t.Errorf("only %d pairs can be told", sure)
	}
}

func TestCombineLeavesTheOthersAlone(t *testing.T) {
	a := &intent.StringMatch{Exact: "1"}
	ours := &intent.HTTPMatch{Method: a, Headers: map[string]intent.StringMatch{"a": *a}}
	theirs := &intent.HTTPMatch{Scheme: a, Headers: map[string]intent.StringMatch{"b": *a}}
	got, how := combine(ours, theirs, &intent.HTTPRoute{})
	if how != possible || got.Method != a || got.Scheme != a || len(got.Headers) != 2 || len(ours.Headers) != 1 {
		t.Errorf("%+v (%d) of %+v", got, how, ours)
	}
}

func matchOf(place string, m *intent.StringMatch) *intent.HTTPMatch {
	out := &intent.HTTPMatch{}
	switch place {
	case "uri":
		out.URI = m
	case "authority":
		out.Authority = m
	case "header":
		if m != nil {
			out.Headers = map[string]intent.StringMatch{"x": *m}
		}
	}
	return out
}

// meets says whether a match holds for a request that has a value as its path, its authority and in a header, after a route with
// another match of it has changed it.
func meets(m *intent.HTTPMatch, value string, first *intent.HTTPMatch, by *intent.HTTPRoute) bool {
	path, authority, header, gone := value, value, value, false
	if w := by.Rewrite; w != nil {
		authority = value
		if w.Authority != "" {
			authority = w.Authority
		}
		switch {
		case w.URI == "":
		case first.URI == nil:
			path = w.URI + strings.TrimPrefix(value, "/")
		case first.URI.Exact != "":
			path = w.URI
		case first.URI.Prefix != "":
			path = w.URI + strings.TrimPrefix(value, first.URI.Prefix)
		default:
			return true // it says that it cannot tell, so that it may be anything
		}
	}
	for name, v := range by.Request.Set {
		if strings.EqualFold(name, "x") {
			header = v
		}
	}
	gone = len(by.Request.Remove) > 0
	for name, h := range m.Headers {
		of := header
		if name == ":path" {
			of = path + "?q=1"
		}
		if gone || !holds(&h, of) {
			return false
		}
	}
	return holds(m.URI, path) && holds(m.Authority, authority)
}

func holds(m *intent.StringMatch, value string) bool {
	switch {
	case m == nil:
		return true
	case m.Prefix != "":
		return strings.HasPrefix(value, m.Prefix)
	case m.Regex != "":
		return regexp.MustCompile("^(?:" + m.Regex + ")$").MatchString(value)
	}
	return m.Exact == value
}
