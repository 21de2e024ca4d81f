package ratelimit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
)

// Domain is the one in which descriptors carry their rule.
const Domain = "isthmus"

// The keys of entries that mean something here. Any other key is a dimension: each of its values has its own counter.
const (
	ruleKey      = "rule"              // names the rule; nothing else has this name
	limitKey     = "limit"             // "<n>/<unit>"
	addressInKey = "remote_address_in" // an address or a CIDR; the next entry is the caller's
	addressKey   = "remote_address"
)

// units are the lengths of windows in seconds. Months and years are of fixed length and only come with overrides.
var units = map[ratelimitv3.RateLimitUnit]int64{
	ratelimitv3.RateLimitUnit_SECOND: 1,
	ratelimitv3.RateLimitUnit_MINUTE: 60,
	ratelimitv3.RateLimitUnit_HOUR:   60 * 60,
	ratelimitv3.RateLimitUnit_DAY:    24 * 60 * 60,
	ratelimitv3.RateLimitUnit_MONTH:  30 * 24 * 60 * 60,
	ratelimitv3.RateLimitUnit_YEAR:   365 * 24 * 60 * 60,
}

// Limit is how many requests are let through in a window of one unit.
type Limit struct {
	Requests uint32
	Unit     ratelimitv3.RateLimitUnit // one of units
}

func (l Limit) seconds() int64 { return units[l.Unit] }

// ParseLimit reads "<n>/<SECOND|MINUTE|HOUR|DAY>".
func ParseLimit(text []byte) (Limit, error) {
	number, unit, _ := bytes.Cut(text, []byte("/"))
	u := ratelimitv3.RateLimitUnit(ratelimitv3.RateLimitUnit_value[string(unit)])
	n, err := strconv.ParseUint(string(number), 10, 32)
	if err != nil || u < ratelimitv3.RateLimitUnit_SECOND || u > ratelimitv3.RateLimitUnit_DAY {
		return Limit{}, fmt.Errorf("%.64q is no limit: want a number, a slash, and SECOND, MINUTE, HOUR or DAY", text)
	}
	return Limit{Requests: uint32(n), Unit: u}, nil
}

// ask is what a descriptor asks of a Table.
type ask struct {
	counter string // what is counted together: equal texts are one counter
	limit   Limit
	hits    uint64
}

// errElsewhere means that a rule is about other addresses than the caller's: there is nothing to count.
var errElsewhere = errors.New("the rule is about other addresses")

// read makes of a descriptor what it asks. In the domain "isthmus" its entries are, in this order: the name of the rule, its
// limit, and what the rule tells apart. A limit of the descriptor itself goes before that of the entries; in another domain
// it is the only one there can be.
//
// The number of a limit is no part of the counter: where a limit is changed, what was counted before still counts.
func read(domain []byte, d *ratelimitv3.RateLimitDescriptor, addend uint32) (ask, error) {
	if d.GetIsNegativeHits() {
		return ask{}, errors.New("hits cannot be given back here")
	}
	a := ask{hits: uint64(max(addend, 1))}
	if h := d.GetHitsAddend(); h != nil {
		a.hits = h.GetValue()
	}
	entries, err := d.GetEntries(), fmt.Errorf("there is neither a limit of its own, nor %q and %q in the domain %q", ruleKey, limitKey, Domain)
	if string(domain) == Domain && len(entries) > 1 && string(entries[0].GetKey()) == ruleKey && string(entries[1].GetKey()) == limitKey {
		a.limit, err = ParseLimit(entries[1].GetValue())
		entries = append(entries[:1:1], entries[2:]...)
	}
	if o := d.GetLimit(); o != nil {
		a.limit, err = override(o)
	}
	if err != nil {
		return ask{}, err
	}
	a.counter, err = counter(domain, a.limit.Unit, entries)
	return a, err
}

func override(o *ratelimitv3.RateLimitDescriptor_RateLimitOverride) (Limit, error) {
	l := Limit{Requests: o.GetRequestsPerUnit(), Unit: o.GetUnit()}
	if l.seconds() == 0 {
		return Limit{}, fmt.Errorf("its limit has the unit %d, which is unknown here", o.GetUnit())
	}
	return l, nil
}

// counter writes down what is counted together, each part after its length, so that no value can pass for two.
func counter(domain []byte, unit ratelimitv3.RateLimitUnit, entries []*ratelimitv3.RateLimitDescriptor_Entry) (string, error) {
	out := []byte{byte(unit)}
	add := func(part []byte) {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	add(domain)
	for i := 0; i < len(entries); i++ {
		e := entries[i]
		if string(domain) == Domain && string(e.GetKey()) == addressInKey {
			if err := within(entries[i:]); err != nil {
				return "", err
			}
			i++ // the addresses in it are counted together
		}
		add(e.GetKey())
		add(e.GetValue())
	}
	return string(out), nil
}

// within holds the caller's address, which is the second entry, against the first.
func within(entries []*ratelimitv3.RateLimitDescriptor_Entry) error {
	text := string(entries[0].GetValue())
	wanted, err := netip.ParsePrefix(text)
	if a, isAddress := netip.ParseAddr(text); isAddress == nil {
		wanted, err = a.Prefix(a.BitLen())
	}
	if err != nil {
		return fmt.Errorf("%s: %.64q is neither an address nor a CIDR", addressInKey, text)
	}
	if len(entries) < 2 || string(entries[1].GetKey()) != addressKey {
		return fmt.Errorf("%s: no %s comes after it", addressInKey, addressKey)
	}
	caller, err := netip.ParseAddr(string(entries[1].GetValue()))
	if err != nil {
		return fmt.Errorf("%s: %.64q is no address", addressKey, entries[1].GetValue())
	}
	if !wanted.Contains(caller.Unmap().WithZone("")) {
		return errElsewhere
	}
	return nil
}
