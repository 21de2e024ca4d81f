package compile

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"isthmus.dev/isthmus/internal/intent"
)

// mandating is what holds where others say w: each part as it is mandated, word by word where a part has several.
func (m manners) mandating(w manners) manners {
	return manners{
		Exit: cmp.Or(m.Exit, w.Exit), Reach: cmp.Or(m.Reach, w.Reach),
		Calls: m.Calls.mandating(w.Calls), Received: mandatingReceived(m.Received, w.Received),
	}
}

// mandating are mandated calls, with what else others say of hosts. What is mandated of all hosts holds for each host of which others
// say something, too.
func (c *callsWanted) mandating(others *callsWanted) *callsWanted {
	switch {
	case c == nil:
		return others
	case others == nil:
		return c
	}
	out := &callsWanted{}
	every := c.of("")
	add := func(w wanted, said intent.Call) {
		if said.Host, said.Name = "", ""; said != (intent.Call{}) {
			w.Pool = bounding(w.Pool, every.Pool)
			out.Calls = append(out.Calls, w)
		}
	}
	for _, w := range c.Calls {
		other := others.of(w.Host)
		if w.Host != "" {
			other.Call = apart(other.Call, every.Call)
		}
		if w.Balance == nil && other.Balance != nil {
			w.By, w.Field = other.By, other.Field
		}
		w.Call = together(w.Call, other.Call)
		add(w, w.Call)
	}
	for _, w := range others.Calls {
		if c.of(w.Host).By == "" {
			if w.Host != "" {
				w.Call = apart(w.Call, every.Call)
			}
			add(w, w.Call)
		}
	}
	slices.SortStableFunc(out.Calls, func(a, b wanted) int { return min(len(a.Host), 1) - min(len(b.Host), 1) })
	return out
}

// of is the call of a host, with no By when there is none.
func (c *callsWanted) of(host string) wanted {
	for _, w := range c.Calls {
		if w.Host == host {
			return w
		}
	}
	return wanted{}
}

// together is what is said of a call, and else what others say of it.
func together(c, others intent.Call) intent.Call {
	c.Timeout, c.Retries, c.Ejection = cmp.Or(c.Timeout, others.Timeout), cmp.Or(c.Retries, others.Retries), cmp.Or(c.Ejection, others.Ejection)
	c.KeepAlive, c.Balance = cmp.Or(c.KeepAlive, others.KeepAlive), cmp.Or(c.Balance, others.Balance)
	c.MutualTLS = c.MutualTLS || others.MutualTLS
	c.Pool = intent.Pool{
		MaxConnections: cmp.Or(c.Pool.MaxConnections, others.Pool.MaxConnections), MaxRequests: cmp.Or(c.Pool.MaxRequests, others.Pool.MaxRequests),
		PerConnection: cmp.Or(c.Pool.PerConnection, others.Pool.PerConnection), Connect: cmp.Or(c.Pool.Connect, others.Pool.Connect),
	}
	return c
}

// apart is a call without what is said of all.
func apart(c, every intent.Call) intent.Call {
	forget(&c.Timeout, every.Timeout)
	forget(&c.Retries, every.Retries)
	forget(&c.Ejection, every.Ejection)
	forget(&c.KeepAlive, every.KeepAlive)
	forget(&c.Pool.MaxConnections, every.Pool.MaxConnections)
	forget(&c.Pool.MaxRequests, every.Pool.MaxRequests)
	forget(&c.Pool.Connect, every.Pool.Connect)
	return c
}

// bounding are bounds of a host with those of all: Envoy has them in one list, so that a host with a bound of its own has none of those of all.
func bounding(p, every intent.Pool) intent.Pool {
	if p.MaxConnections != 0 || p.MaxRequests != 0 {
		p.MaxConnections, p.MaxRequests = cmp.Or(p.MaxConnections, every.MaxConnections), cmp.Or(p.MaxRequests, every.MaxRequests)
	}
	return p
}

// forget clears a value where there is another one.
func forget[T comparable](v *T, other T) {
	var none T
	if other != none {
		*v = none
	}
}

// mandatingReceived is what is mandated of connections that are received, with what else others say. Bounds go together with the
// proxies that they are for.
func mandatingReceived(m, others *intent.Received) *intent.Received {
	switch {
	case m == nil:
		return others
	case others == nil:
		return m
	}
	out := *m
	out.KeepAlive = cmp.Or(m.KeepAlive, others.KeepAlive)
	switch {
	case !bounded(m):
		out.Sidecars, out.Gateways = others.Sidecars, others.Gateways
		out.Connection, out.Stream, out.TCP = others.Connection, others.Stream, others.TCP
	case m.Sidecars == others.Sidecars && m.Gateways == others.Gateways:
		out.Connection, out.Stream, out.TCP = cmp.Or(m.Connection, others.Connection), cmp.Or(m.Stream, others.Stream), cmp.Or(m.TCP, others.TCP)
	}
	return &out
}

// bounded says whether durations are bounded.
func bounded(r *intent.Received) bool { return r.Connection != nil || r.Stream != nil || r.TCP != nil }

// against are the fields of a setting of traffic that say something else than what is mandated.
func (m manners) against(l *trafficLevel) []string {
	var fields []string
	own := l.manners()
	if m.Exit != nil && own.Exit != nil && m.Exit.Host != own.Exit.Host {
		fields = append(fields, own.Exit.Field)
	}
	if m.Reach != nil && own.Reach != nil && !proto.Equal(m.Reach, own.Reach) {
		field := "reachability"
		if l.Setting.GetOutbound().GetReachability() != nil {
			field = "outbound.reachability"
		}
		fields = append(fields, l.Field+field)
	}
	if m.Calls != nil && own.Calls != nil {
		for _, w := range own.Calls.Calls {
			for _, c := range m.Calls.Calls {
				if (c.Host == "" || c.Host == w.Host) && !agree(c.Call, w.Call) && !slices.Contains(fields, w.Field) {
					fields = append(fields, w.Field)
				}
			}
		}
	}
	if a, b := m.Received, own.Received; a != nil && b != nil {
		if a.KeepAlive != nil && b.KeepAlive != nil && *a.KeepAlive != *b.KeepAlive {
			field := "resilience.keepAlive.tcp.downstream"
			if l.Setting.GetInbound().GetResilience().GetConnectionPool().GetTcp().GetKeepAlive() != nil {
				field = "inbound.resilience.connectionPool.tcp.keepAlive"
			}
			fields = append(fields, l.Field+field)
		}
		if bounded(a) && bounded(b) && !agreeReceived(a, b) {
			fields = append(fields, l.Field+"inbound.resilience.meshTimeout")
		}
	}
	return fields
}

// agree says whether two calls say the same of what both speak of.
func agree(a, b intent.Call) bool {
	b.Host, b.Name = a.Host, a.Name
	return reflect.DeepEqual(together(a, b), together(b, a))
}

// agreeReceived says so of what is received.
func agreeReceived(a, b *intent.Received) bool {
	same := func(a, b *time.Duration) bool { return a == nil || b == nil || *a == *b }
	return a.Sidecars == b.Sidecars && a.Gateways == b.Gateways && same(a.Connection, b.Connection) && same(a.Stream, b.Stream) && same(a.TCP, b.TCP)
}
