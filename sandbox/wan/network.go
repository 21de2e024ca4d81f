// Package wan is the sandbox's network: a router in the middle that stands for
// the internet, a cable from it to every node of every cluster and to a client
// outside all clusters, and a name server.
//
// Everything happens in network namespaces that belong to the daemon; the
// machine's own is never touched. The router is routed, not bridged, so that
// taking a cluster off the WAN or blocking a port is one rule of its filter.
package wan

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/process"
)

// Network is the built network. Its methods may be called from many goroutines.
type Network struct {
	dir string // holds a file per namespace, for nsenter

	mu sync.Mutex // one change of the network at a time
	ns map[string]netns.NsHandle
}

// Build makes the network of p. The calling process's own namespace becomes
// the router, "core". Names of namespaces appear as files in dir.
func Build(p plan.Plan, dir string) (*Network, error) {
	n := &Network{dir: dir, ns: map[string]netns.NsHandle{}}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := n.router(p); err != nil {
		return nil, fmt.Errorf("router: %w", err)
	}
	if err := n.attach("wan", "wan", plan.Client); err != nil {
		return nil, fmt.Errorf("client outside all clusters: %w", err)
	}
	for _, c := range p.Clusters {
		for _, node := range c.Nodes {
			if err := n.attach(node.NetNS, node.Link, node.IP); err != nil {
				return nil, fmt.Errorf("%s of cluster %q: %w", node.Name, c.Name, err)
			}
		}
		if err := n.route(c); err != nil {
			return nil, fmt.Errorf("routes of cluster %q: %w", c.Name, err)
		}
		for _, node := range c.Nodes {
			if err := process.In(n.ns[node.NetNS], func() error { return nft(nodeRules(c)) }); err != nil {
				return nil, fmt.Errorf("%s of cluster %q: %w", node.Name, c.Name, err)
			}
		}
	}
	return n, nil
}

// NS returns the named namespace; "core" is 0, the caller's own.
func (n *Network) NS(name string) netns.NsHandle {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ns[name]
}

// router turns the current namespace into the WAN's router.
func (n *Network) router(p plan.Plan) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, ip := range []string{plan.Router, plan.Etcd, plan.DNS} {
		if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: host(ip)}); err != nil {
			return fmt.Errorf("address %s: %w", ip, err)
		}
	}
	if err := sysctls(); err != nil {
		return err
	}
	// What the WAN does not route vanishes; without this it would be refused.
	for _, dst := range []string{plan.Pods, plan.LoadBalancers} {
		_, ipnet, err := net.ParseCIDR(dst)
		if err != nil {
			return err
		}
		if err := routeAdd(&netlink.Route{Dst: ipnet, Type: unix.RTN_BLACKHOLE}); err != nil {
			return err
		}
	}
	return nft(coreRules(p))
}

// attach makes a namespace with a cable to the router: eth0 with the address
// ip inside, link on the router.
func (n *Network) attach(name, link, ip string) error {
	ns, err := n.create(name)
	if err != nil {
		return err
	}
	n.ns[name] = ns
	attrs := netlink.NewLinkAttrs()
	attrs.Name = link
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s: %w (the kernel needs the module veth: modprobe veth)", link, err)
	}
	outer, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(outer); err != nil {
		return err
	}
	if err := process.In(ns, func() error { return inside(ip) }); err != nil {
		return err
	}
	return routeAdd(&netlink.Route{LinkIndex: outer.Attrs().Index, Dst: host(ip), Src: net.ParseIP(plan.Router)})
}

// inside sets up the namespace's end of the cable.
func inside(ip string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(eth, &netlink.Addr{IPNet: host(ip)}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return err
	}
	if err := sysctls(); err != nil {
		return err
	}
	// A node needs a default route, or service addresses cannot be routed
	// before they are translated.
	via := &netlink.Route{LinkIndex: eth.Attrs().Index, Dst: host(plan.Router), Scope: netlink.SCOPE_LINK}
	if err := routeAdd(via); err != nil {
		return err
	}
	return routeAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.ParseIP(plan.Router), Src: net.ParseIP(ip)})
}

// route tells the router where a cluster's pods and load balancers are.
func (n *Network) route(c plan.Cluster) error {
	for i, node := range c.Nodes {
		link, err := netlink.LinkByName(node.Link)
		if err != nil {
			return err
		}
		dsts := []string{node.PodCIDR}
		if i == 0 {
			dsts = append(dsts, c.LBNet)
		}
		for _, dst := range dsts {
			_, ipnet, err := net.ParseCIDR(dst)
			if err != nil {
				return err
			}
			r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipnet, Gw: net.ParseIP(node.IP), Flags: int(netlink.FLAG_ONLINK)}
			if err := routeAdd(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// create makes a network namespace that lives as long as this process, and
// binds it to a file so that others can enter it.
func (n *Network) create(name string) (netns.NsHandle, error) {
	file := filepath.Join(n.dir, name)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return 0, err
	}
	type result struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with its namespace
		ns, err := netns.New()
		if err == nil {
			err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), file, "", unix.MS_BIND, "")
		}
		done <- result{ns, err}
	}()
	r := <-done
	if r.err != nil {
		return 0, fmt.Errorf("network namespace %q: %w", name, r.err)
	}
	return r.ns, nil
}

// Cut takes a cluster off the WAN: its packets vanish, established
// connections included. What runs inside it goes on.
func (n *Network) Cut(c plan.Cluster) error {
	return nft(fmt.Sprintf("add element inet wan cut { %s, %s }\n", c.NodeNet, c.LBNet))
}

// Heal undoes Cut.
func (n *Network) Heal(c plan.Cluster) error {
	return nft(fmt.Sprintf("delete element inet wan cut { %s, %s }\n", c.NodeNet, c.LBNet))
}

// SetLB says whether somebody owns a load-balancer address. Packets of an
// address without owner vanish on the WAN.
func (n *Network) SetLB(addr string, owned bool) error {
	verb := "delete"
	if owned {
		verb = "add"
	}
	return nft(fmt.Sprintf("%s element inet wan lb { %s }\n", verb, addr))
}

func sysctls() error {
	for file, value := range map[string]string{
		"net/ipv4/ip_forward":                "1",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
		"net/ipv4/conf/all/send_redirects":   "0",
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
	} {
		err := os.WriteFile("/proc/sys/"+file, []byte(value), 0o644)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && strings.Contains(file, "ipv6")) {
			return fmt.Errorf("kernel setting %s: %w", file, err)
		}
	}
	return nil
}

func routeAdd(r *netlink.Route) error {
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("route %s: %w", r, err)
	}
	return nil
}

func nft(script string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func host(ip string) *net.IPNet {
	return &net.IPNet{IP: net.ParseIP(ip).To4(), Mask: net.CIDRMask(32, 32)}
}
