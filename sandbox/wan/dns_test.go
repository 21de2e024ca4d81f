package wan

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func serve(t *testing.T, n *Names) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx, addr) }()
	t.Cleanup(func() { cancel(); <-done })
	for range 100 {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("name server does not listen on %s", addr)
	return ""
}

func TestNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dns.json")
	n, err := NewNames(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]string{"Bookinfo.tetrate.com": "198.19.1.1", "*.apps.test": "198.19.1.2", "one.apps.test.": "198.19.1.3"} {
		if err := n.Set(name, addr); err != nil {
			t.Fatal(err)
		}
	}
	// What was set survives a restart.
	if n, err = NewNames(file); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, n)
	for name, tc := range map[string]struct {
		q     string
		qtype uint16
		rcode int
		want  string
	}{
		"Known":      {"bookinfo.tetrate.com.", dns.TypeA, dns.RcodeSuccess, "198.19.1.1"},
		"Case":       {"BOOKINFO.tetrate.COM.", dns.TypeA, dns.RcodeSuccess, "198.19.1.1"},
		"NoAAAA":     {"bookinfo.tetrate.com.", dns.TypeAAAA, dns.RcodeSuccess, ""},
		"Unknown":    {"nobody.tetrate.com.", dns.TypeA, dns.RcodeNameError, ""},
		"Wildcard":   {"x.y.apps.test.", dns.TypeA, dns.RcodeSuccess, "198.19.1.2"},
		"BeforeStar": {"one.apps.test.", dns.TypeA, dns.RcodeSuccess, "198.19.1.3"},
		"StarItself": {"apps.test.", dns.TypeA, dns.RcodeNameError, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+network, func(t *testing.T) {
				m := new(dns.Msg).SetQuestion(tc.q, tc.qtype)
				resp, _, err := (&dns.Client{Net: network}).Exchange(m, addr)
				if err != nil {
					t.Fatal(err)
				}
				var got string
				for _, rr := range resp.Answer {
					if ttl := rr.Header().Ttl; ttl != 1 {
						t.Errorf("TTL is %d, want 1", ttl)
					}
					got = rr.(*dns.A).A.String()
				}
				if resp.Rcode != tc.rcode || got != tc.want {
					t.Errorf("%s: code %d, %q; want %d, %q", tc.q, resp.Rcode, got, tc.rcode, tc.want)
				}
			})
		}
	}
	if err := n.Delete("one.apps.test"); err != nil {
		t.Error(err)
	}
	if err := n.Delete("one.apps.test"); err == nil {
		t.Error("a name was deleted twice")
	}
	want := map[string]string{"bookinfo.tetrate.com": "198.19.1.1", "*.apps.test": "198.19.1.2"}
	if diff := cmp.Diff(want, n.All()); diff != "" {
		t.Errorf("All() (-want +got):\n%s", diff)
	}
}

func TestSetRefuses(t *testing.T) {
	n, err := NewNames(filepath.Join(t.TempDir(), "dns.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ name, addr string }{
		"NoAddress": {"a.test", "nonsense"},
		"IPv6":      {"a.test", "::1"},
		"NoName":    {"", "198.19.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := n.Set(tc.name, tc.addr); err == nil {
				t.Errorf("Set(%q, %q) was accepted", tc.name, tc.addr)
			}
		})
	}
}
