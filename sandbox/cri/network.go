package cri

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// network gives pods their interface and address.
//
// Each pod hangs off the node by a pair of its own and is reached by a route to
// its one address; there is no bridge. Everything between two pods is therefore
// routed, and the translation of service addresses sees both directions.
type network struct {
	cidr    netip.Prefix
	gateway netip.Addr

	mu   sync.Mutex
	used map[netip.Addr]bool
	last netip.Addr // given last: an address is not given again at once
	n    int        // counts interfaces
}

func newNetwork(cidr netip.Prefix) (*network, error) {
	if !cidr.Addr().Is4() || cidr.Bits() > 29 {
		return nil, fmt.Errorf("pod range %v: want an IPv4 range of at least 8 addresses", cidr)
	}
	gw := cidr.Masked().Addr().Next()
	return &network{cidr: cidr.Masked(), gateway: gw, used: map[netip.Addr]bool{}, last: gw}, nil
}

// prepare makes the node's namespace route for its pods. Doing it again changes
// nothing.
func (n *network) prepare() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if err := removeLinks(); err != nil {
		return fmt.Errorf("remove what an earlier runtime left: %w", err)
	}
	if err := netlink.AddrReplace(lo, &netlink.Addr{IPNet: host(n.gateway)}); err != nil {
		return fmt.Errorf("address %v: %w", n.gateway, err)
	}
	return sysctl(map[string]string{
		"net.ipv4.ip_forward":                  "1",
		"net.ipv4.conf.all.rp_filter":          "0",
		"net.ipv4.conf.default.rp_filter":      "0",
		"net.ipv4.conf.all.send_redirects":     "0",
		"net.ipv4.conf.default.send_redirects": "0",
	})
}

// linkPrefix begins the names of the node's ends of pods' networks.
const linkPrefix = "pod"

// removeLinks removes the ends whose pods died with the process before this
// one. The kernel does that too, but later than a new pod may want the name.
func removeLinks() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		number, ours := strings.CutPrefix(l.Attrs().Name, linkPrefix)
		if _, err := strconv.Atoi(number); !ours || err != nil || l.Type() != "veth" {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("%s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// attach makes a network namespace with an address and the given settings.
func (n *network) attach(sysctls map[string]string) (*os.File, netip.Addr, error) {
	ns, err := newNetNS(sysctls)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	ip, name, err := n.allocate()
	if err != nil {
		ns.Close()
		return nil, netip.Addr{}, err
	}
	if err := n.wire(ns, ip, name); err != nil {
		n.release(ip)
		ns.Close()
		return nil, netip.Addr{}, err
	}
	return ns, ip, nil
}

// wire connects the namespace to the node.
func (n *network) wire(ns *os.File, ip netip.Addr, name string) error {
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500},
		PeerName:  "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd())),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return err
	}
	defer inside.Close()
	for _, dev := range []string{"lo", "eth0"} {
		link, err := inside.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("pod's %s: %w", dev, err)
		}
		if err := inside.LinkSetUp(link); err != nil {
			return fmt.Errorf("pod's %s: %w", dev, err)
		}
		if dev == "lo" {
			continue
		}
		if err := inside.AddrAdd(link, &netlink.Addr{IPNet: host(ip)}); err != nil {
			return fmt.Errorf("pod's address %v: %w", ip, err)
		}
		gw := net.IP(n.gateway.AsSlice())
		if err := inside.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: host(n.gateway)}); err != nil {
			return fmt.Errorf("pod's route to its gateway: %w", err)
		}
		if err := inside.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw}); err != nil {
			return fmt.Errorf("pod's default route: %w", err)
		}
	}
	out, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: out.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: host(ip), Src: n.gateway.AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route to the pod: %w", err)
	}
	return nil
}

// detach ends a pod's network at once: the kernel would do it some time after
// the last process is gone.
func (n *network) detach(ns *os.File, ip netip.Addr) error {
	defer n.release(ip)
	defer ns.Close()
	inside, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return err
	}
	defer inside.Close()
	link, err := inside.LinkByName("eth0")
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err != nil {
		return err
	}
	return inside.LinkDel(link)
}

// allocate returns the next free address after the one given last, and a name
// for the node's end of the pair.
func (n *network) allocate() (netip.Addr, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for ip := n.last.Next(); ip != n.last; ip = ip.Next() {
		if !n.cidr.Contains(ip) {
			ip = n.gateway // start again after it
			continue
		}
		if n.used[ip] || ip == n.gateway || !n.cidr.Contains(ip.Next()) { // the last one is the broadcast address
			continue
		}
		n.used[ip], n.last = true, ip
		n.n++
		return ip, linkPrefix + strconv.Itoa(n.n), nil
	}
	return netip.Addr{}, "", fmt.Errorf("pod range %v: all addresses are in use", n.cidr)
}

func (n *network) release(ip netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, ip)
}

// newNetNS makes a network namespace that lives as long as the file is open.
func newNetNS(sysctls map[string]string) (*os.File, error) {
	settings := map[string]string{
		// As other runtimes do: any user may serve port 80 and ping.
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
	for k, v := range sysctls {
		settings[k] = v
	}
	var ns *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		var err error
		if ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return sysctl(settings)
	})
	if err != nil && ns != nil {
		ns.Close()
	}
	return ns, err
}

// within calls f on a thread in the namespace ns, or where it is when ns is nil.
func within(ns *os.File, f func() error) error {
	if ns == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the pod's network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that ends afterwards, so that whatever f does to
// it is done to nobody else.
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- f()
	}()
	return <-result
}

// sysctl writes kernel settings of the thread's network namespace.
func sysctl(settings map[string]string) error {
	for name, value := range settings {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s to %q: %w", name, value, err)
		}
	}
	return nil
}

func host(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(32, 32)}
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
