package edge

import (
	"testing"
	"testing/synctest"
	"time"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// A Secret that is made again within the patience was never away; one that stays away is reported as gone.
func TestPatience(t *testing.T) {
	secret := func(problem string, ca bool) *isthmusv1.Fact {
		return &isthmusv1.Fact{Fact: &isthmusv1.Fact_Secret{Secret: &isthmusv1.Secret{Problem: problem, Ca: ca}}}
	}
	good, bad, noCA := secret("", true), secret("tls.crt is empty", true), secret("", false)
	for name, tc := range map[string]struct {
		// now is what the Secret is, after a second each.
		now   []*isthmusv1.Fact
		wait  time.Duration
		want  *isthmusv1.Fact
		again int
	}{
		"NeverThere":       {now: []*isthmusv1.Fact{nil}, want: nil},
		"BadFromTheStart":  {now: []*isthmusv1.Fact{bad}, want: bad},
		"Deleted":          {now: []*isthmusv1.Fact{good, nil}, want: good, again: 1},
		"Spoilt":           {now: []*isthmusv1.Fact{good, bad}, want: good, again: 1},
		"WithoutCA":        {now: []*isthmusv1.Fact{good, noCA}, want: good, again: 1},
		"MadeAgain":        {now: []*isthmusv1.Fact{good, nil, good}, want: good, again: 1},
		"DeletedForGood":   {now: []*isthmusv1.Fact{good, nil}, wait: secretPatience, want: nil, again: 1},
		"SpoiltForGood":    {now: []*isthmusv1.Fact{good, bad}, wait: secretPatience, want: bad, again: 1},
		"AskedInBetween":   {now: []*isthmusv1.Fact{good, nil, nil, nil}, want: good, again: 1},
		"DeletedTwice":     {now: []*isthmusv1.Fact{good, nil, good, nil}, want: good, again: 2},
		"BadThenGone":      {now: []*isthmusv1.Fact{secret("x", false), nil}, want: nil},
		"BadThenGood":      {now: []*isthmusv1.Fact{bad, good}, want: good},
		"BetterFromOneOn":  {now: []*isthmusv1.Fact{noCA, good, noCA}, want: good, again: 1},
		"SpoiltThenNoMore": {now: []*isthmusv1.Fact{good, bad, nil}, wait: secretPatience, want: nil, again: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				again := 0
				p := newPatience(func(string, time.Duration) { again++ })
				var got *isthmusv1.Fact
				for _, f := range tc.now {
					got = p.report("secret/a/b", f)
					time.Sleep(time.Second)
				}
				if tc.wait > 0 {
					time.Sleep(tc.wait)
					got = p.report("secret/a/b", tc.now[len(tc.now)-1])
				}
				if got != tc.want {
					t.Errorf("reported %v, want %v", got, tc.want)
				}
				if again != tc.again {
					t.Errorf("asked for %d more looks, want %d", again, tc.again)
				}
			})
		})
	}
}
