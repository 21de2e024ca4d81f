package intent

import (
	"net/netip"
	"time"
)

// Limits bound how many requests a server lets through. Each rule counts by itself; a request is refused when one of the
// rules that it is counted by is used up.
type Limits struct {
	// Service is asked about every request that a rule counts. Without it each gateway pod counts by itself.
	Service *LimitService
	Rules   []LimitRule
	// Values is how many values each rule of a pod tells apart at a time.
	Values uint32
}

// LimitService counts for all gateway pods that ask it.
type LimitService struct {
	At     *Upstream
	Domain string
	// Shipped says that it is the one of the installation: it has no rules of its own, they come with the requests.
	Shipped bool
	// FailClosed refuses requests while it does not answer.
	FailClosed bool
}

// LimitRule counts the requests that all of its dimensions are about.
type LimitRule struct {
	// Name is unique among the rules that a shipped service is asked about; Limit is how many requests it lets through, as
	// "<n>/<unit>".
	Name, Limit string
	// Bucket is what a pod counts with.
	Bucket     Bucket
	Dimensions []Dimension
}

// Bucket holds tokens, of which each request takes one.
type Bucket struct {
	Max, PerFill uint32
	Fill         time.Duration
}

// Dimension is one thing that a rule looks at. It is about no request that lacks the thing.
type Dimension struct {
	Kind DimensionKind
	// Range of addresses for AddressIn.
	Range netip.Prefix
	// Key and Value are how a service of the user knows it, where they can be chosen.
	Key, Value string
	// Header for EachValue.
	Header string
	// Headers for HeaderMatch, all of which must match. Not takes the requests of which one does not.
	Headers []HeaderTest
	Not     bool
}

// DimensionKind says what a dimension looks at.
type DimensionKind int

// The kinds of dimensions.
const (
	// EachAddress counts each client's address by itself, EachValue each value of a header.
	EachAddress DimensionKind = iota + 1
	EachValue
	// AddressIn counts the addresses of a range together, HeaderMatch the requests whose headers match.
	AddressIn
	HeaderMatch
	// SourceCluster and DestinationCluster are Envoy's names of the gateway's own and of the service called.
	SourceCluster
	DestinationCluster
)

// ByAddress says whether the dimension looks at the client's address.
func (d *Dimension) ByAddress() bool { return d.Kind == EachAddress || d.Kind == AddressIn }

// HeaderTest holds when the header is there and, unless Match is nil, has the value.
type HeaderTest struct {
	Name  string
	Match *StringMatch
}
