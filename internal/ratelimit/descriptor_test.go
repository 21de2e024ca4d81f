package ratelimit

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/wrapperspb"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
)

// descriptor of keys and values in turn.
func descriptor(pairs ...string) *ratelimitv3.RateLimitDescriptor {
	d := &ratelimitv3.RateLimitDescriptor{}
	for i := 0; i < len(pairs); i += 2 {
		d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: []byte(pairs[i]), Value: []byte(pairs[i+1])})
	}
	return d
}

func overridden(n uint32, unit ratelimitv3.RateLimitUnit, d *ratelimitv3.RateLimitDescriptor) *ratelimitv3.RateLimitDescriptor {
	d.Limit = &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: n, Unit: unit}
	return d
}

func TestRead(t *testing.T) {
	withHits := func(n uint64, d *ratelimitv3.RateLimitDescriptor) *ratelimitv3.RateLimitDescriptor {
		d.HitsAddend = wrapperspb.UInt64(n)
		return d
	}
	back := descriptor("rule", "r", "limit", "1/DAY")
	back.IsNegativeHits = true
	const minute, hour, week = ratelimitv3.RateLimitUnit_MINUTE, ratelimitv3.RateLimitUnit_HOUR, ratelimitv3.RateLimitUnit(7)

	cases := map[string]struct {
		domain string // isthmus when empty
		d      *ratelimitv3.RateLimitDescriptor
		addend uint32
		limit  Limit
		hits   uint64
		err    string // part of it
	}{
		"NoDimension":      {d: descriptor("rule", "r", "limit", "3/MINUTE"), limit: Limit{3, minute}, hits: 1},
		"Dimension":        {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address", "10.0.0.1"), limit: Limit{3, hour}, hits: 1},
		"Zero":             {d: descriptor("rule", "r", "limit", "0/MINUTE"), limit: Limit{0, minute}, hits: 1},
		"Largest":          {d: descriptor("rule", "r", "limit", "4294967295/MINUTE"), limit: Limit{4294967295, minute}, hits: 1},
		"Addend":           {d: descriptor("rule", "r", "limit", "3/MINUTE"), addend: 5, limit: Limit{3, minute}, hits: 5},
		"OwnHits":          {d: withHits(7, descriptor("rule", "r", "limit", "3/MINUTE")), addend: 5, limit: Limit{3, minute}, hits: 7},
		"OnlyAsking":       {d: withHits(0, descriptor("rule", "r", "limit", "3/MINUTE")), addend: 5, limit: Limit{3, minute}, hits: 0},
		"Override":         {d: overridden(9, hour, descriptor("rule", "r", "limit", "3/MINUTE")), limit: Limit{9, hour}, hits: 1},
		"OverrideAlone":    {d: overridden(9, hour, descriptor("x", "y")), limit: Limit{9, hour}, hits: 1},
		"OverrideRepairs":  {d: overridden(9, hour, descriptor("rule", "r", "limit", "many")), limit: Limit{9, hour}, hits: 1},
		"OverrideUnit":     {d: overridden(9, week, descriptor("rule", "r", "limit", "3/MINUTE")), err: "unit 7"},
		"OverrideNoUnit":   {d: overridden(9, 0, descriptor("rule", "r", "limit", "3/MINUTE")), err: "unit 0"},
		"OtherDomain":      {domain: "other", d: descriptor("rule", "r", "limit", "3/MINUTE"), err: "neither a limit"},
		"OtherWithLimit":   {domain: "other", d: overridden(9, hour, descriptor("x", "y")), limit: Limit{9, hour}, hits: 1},
		"Empty":            {d: descriptor(), err: "neither a limit"},
		"NoLimit":          {d: descriptor("rule", "r"), err: "neither a limit"},
		"LimitFirst":       {d: descriptor("limit", "3/MINUTE", "rule", "r"), err: "neither a limit"},
		"LimitLater":       {d: descriptor("rule", "r", "x", "y", "limit", "3/MINUTE"), err: "neither a limit"},
		"Negative":         {d: descriptor("rule", "r", "limit", "-1/MINUTE"), err: `"-1/MINUTE" is no limit`},
		"Plus":             {d: descriptor("rule", "r", "limit", "+1/MINUTE"), err: "is no limit"},
		"TooLarge":         {d: descriptor("rule", "r", "limit", "4294967296/MINUTE"), err: "is no limit"},
		"UnknownUnit":      {d: descriptor("rule", "r", "limit", "1/WEEK"), err: "is no limit"},
		"UnitUnknown":      {d: descriptor("rule", "r", "limit", "1/UNKNOWN"), err: "is no limit"},
		"LowerCase":        {d: descriptor("rule", "r", "limit", "1/minute"), err: "is no limit"},
		"NoUnit":           {d: descriptor("rule", "r", "limit", "1"), err: "is no limit"},
		"EmptyLimit":       {d: descriptor("rule", "r", "limit", ""), err: "is no limit"},
		"GivingBack":       {d: back, err: "given back"},
		"InRange":          {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.0/8", "remote_address", "10.9.9.9"), limit: Limit{3, hour}, hits: 1},
		"OutOfRange":       {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.0/8", "remote_address", "11.9.9.9"), err: "other addresses"},
		"IsAddress":        {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1", "remote_address", "10.0.0.1"), limit: Limit{3, hour}, hits: 1},
		"MappedAddress":    {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1", "remote_address", "::ffff:10.0.0.1"), limit: Limit{3, hour}, hits: 1},
		"IsNotAddress":     {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1", "remote_address", "10.0.0.2"), err: "other addresses"},
		"InIPv6":           {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "2001:db8::/32", "remote_address", "2001:db8::1"), limit: Limit{3, hour}, hits: 1},
		"NotOfThatFamily":  {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "2001:db8::/32", "remote_address", "10.0.0.1"), err: "other addresses"},
		"NoRange":          {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "home", "remote_address", "10.0.0.1"), err: `"home" is neither`},
		"RangeOfNothing":   {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1"), err: "no remote_address"},
		"RangeOfOther":     {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1", "x", "10.0.0.1"), err: "no remote_address"},
		"RangeOfNoAddress": {d: descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.1", "remote_address", "x"), err: `"x" is no address`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if tc.domain == "" {
				tc.domain = Domain
			}
			got, err := read([]byte(tc.domain), tc.d, tc.addend)
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("read() = %v, want an error with %q", err, tc.err)
			}
			if err != nil {
				return
			}
			if diff := cmp.Diff(ask{limit: tc.limit, hits: tc.hits}, got, cmp.AllowUnexported(ask{}), cmpopts.IgnoreFields(ask{}, "counter")); diff != "" {
				t.Errorf("read() (-want +got):\n%s", diff)
			}
		})
	}
}

// Which descriptors are counted together.
func TestCounter(t *testing.T) {
	const hour, day = ratelimitv3.RateLimitUnit_HOUR, ratelimitv3.RateLimitUnit_DAY
	base := func() *ratelimitv3.RateLimitDescriptor {
		return descriptor("rule", "r", "limit", "3/HOUR", "x", "ab", "y", "c")
	}
	in := func(address string) *ratelimitv3.RateLimitDescriptor {
		return descriptor("rule", "r", "limit", "3/HOUR", "remote_address_in", "10.0.0.0/8", "remote_address", address)
	}
	cases := map[string]struct {
		a, b *ratelimitv3.RateLimitDescriptor
		same bool
	}{
		"Same":           {base(), base(), true},
		"LimitChanged":   {base(), descriptor("rule", "r", "limit", "4/HOUR", "x", "ab", "y", "c"), true},
		"LimitOverrides": {base(), overridden(9, hour, base()), true},
		"UnitChanged":    {base(), descriptor("rule", "r", "limit", "3/DAY", "x", "ab", "y", "c"), false},
		"UnitOverrides":  {base(), overridden(3, day, base()), false},
		"OtherRule":      {base(), descriptor("rule", "s", "limit", "3/HOUR", "x", "ab", "y", "c"), false},
		"OtherValue":     {base(), descriptor("rule", "r", "limit", "3/HOUR", "x", "ab", "y", "d"), false},
		"OtherKey":       {base(), descriptor("rule", "r", "limit", "3/HOUR", "x", "ab", "z", "c"), false},
		"Fewer":          {base(), descriptor("rule", "r", "limit", "3/HOUR", "x", "ab"), false},
		"Shifted":        {base(), descriptor("rule", "r", "limit", "3/HOUR", "x", "a", "by", "c"), false},
		"OneForTwo":      {base(), descriptor("rule", "r", "limit", "3/HOUR", "x", "ab\x01y\x01c"), false},
		"NotText":        {descriptor("rule", "r", "limit", "3/HOUR", "x", "\xff"), descriptor("rule", "r", "limit", "3/HOUR", "x", "\xfe"), false},
		"AddressesOfOne": {in("10.0.0.1"), in("10.0.0.2"), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a, errA := read([]byte(Domain), tc.a, 0)
			b, errB := read([]byte(Domain), tc.b, 0)
			if errA != nil || errB != nil {
				t.Fatal(errors.Join(errA, errB))
			}
			if (a.counter == b.counter) != tc.same {
				t.Errorf("counters %q and %q: same is %v, want %v", a.counter, b.counter, !tc.same, tc.same)
			}
		})
	}
}

// Whatever a client makes Envoy send, reading does not fail in a new way, and does not change what was sent.
func FuzzRead(f *testing.F) {
	f.Add("isthmus", "rule", "limit", "1/SECOND", "remote_address_in", "::1", "remote_address", "::1")
	f.Add("isthmus", "rule", "limit", "1/SECOND", "x", "\xff", "y", "")
	f.Fuzz(func(t *testing.T, domain, k1, k2, v2, k3, v3, k4, v4 string) {
		sent := []string{k1, "r", k2, v2, k3, v3, k4, v4}
		d := descriptor(sent...)
		a, err := read([]byte(domain), d, 0)
		if err == nil && a.limit.seconds() == 0 {
			t.Errorf("read %q without a limit", sent)
		}
		if diff := cmp.Diff(descriptor(sent...).String(), d.String()); diff != "" {
			t.Errorf("the descriptor was changed (-sent +is):\n%s", diff)
		}
	})
}
