package wan

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Names is the WAN's name server: A records that can be set and deleted while
// it runs. Unknown names do not exist. Answers live for one second.
type Names struct {
	file string // where the records are kept

	mu      sync.RWMutex
	records map[string]netip.Addr
}

// NewNames returns a server with the records of an earlier run, if file holds any.
func NewNames(file string) (*Names, error) {
	n := &Names{file: file, records: map[string]netip.Addr{}}
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return n, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &n.records); err != nil {
		return nil, fmt.Errorf("records in %s: %w", file, err)
	}
	return n, nil
}

// Set makes name resolve to addr. A name that starts with "*." stands for
// every name below it that has no record of its own.
func (n *Names) Set(name, addr string) error {
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is4() {
		return fmt.Errorf("dns set %s: %q is not an IPv4 address", name, addr)
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return fmt.Errorf("dns set: %q is not a domain name", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records[canonical(name)] = a
	return n.save()
}

// Delete makes name unknown again; a name that was unknown is an error.
func (n *Names) Delete(name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.records[canonical(name)]; !ok {
		return fmt.Errorf("dns delete: no record of %q", name)
	}
	delete(n.records, canonical(name))
	return n.save()
}

// All returns a copy of the records, names without the final dot.
func (n *Names) All() map[string]string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := map[string]string{}
	for name, a := range maps.All(n.records) {
		out[strings.TrimSuffix(name, ".")] = a.String()
	}
	return out
}

func (n *Names) save() error {
	b, err := json.Marshal(n.records)
	if err != nil {
		return err
	}
	return os.WriteFile(n.file, b, 0o644)
}

// Serve answers on addr, UDP and TCP, until ctx ends.
func (n *Names) Serve(ctx context.Context, addr string) error {
	udp, err := net.ListenPacket("udp4", addr)
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp4", addr)
	if err != nil {
		udp.Close()
		return err
	}
	servers := []*dns.Server{{PacketConn: udp, Handler: n}, {Listener: tcp, Handler: n}}
	errs := make(chan error, len(servers))
	for _, s := range servers {
		go func() { errs <- s.ActivateAndServe() }()
	}
	var first error
	select {
	case <-ctx.Done():
	case first = <-errs:
	}
	udp.Close()
	tcp.Close()
	return cmp.Or(ctx.Err(), first)
}

// ServeDNS implements dns.Handler.
func (n *Names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		w.WriteMsg(m)
		return
	}
	question := q.Question[0]
	addr, ok := n.lookup(question.Name)
	switch {
	case !ok:
		m.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY:
		// Any other type of a known name gets an empty answer: the name
		// exists, so it must not be NXDOMAIN.
		m.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
			A:   addr.AsSlice(),
		}}
	}
	w.WriteMsg(m)
}

func (n *Names) lookup(name string) (netip.Addr, bool) {
	name = canonical(name)
	n.mu.RLock()
	defer n.mu.RUnlock()
	if a, ok := n.records[name]; ok {
		return a, true
	}
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok || parent == "" {
			return netip.Addr{}, false
		}
		if a, ok := n.records["*."+parent]; ok {
			return a, true
		}
		rest = parent
	}
}

func canonical(name string) string { return strings.ToLower(dns.Fqdn(name)) }
