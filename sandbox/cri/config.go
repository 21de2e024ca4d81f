package cri

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"isthmus.dev/sandbox/cri/shim"
	"isthmus.dev/sandbox/image"
)

// command joins what the pod says with what the image says: a command of the
// pod replaces both of the image's parts, arguments only the second.
func command(img image.Image, config *runtimeapi.ContainerConfig) []string {
	if len(config.Command) > 0 {
		return slices.Concat(config.Command, config.Args)
	}
	if len(config.Args) > 0 {
		return slices.Concat(img.Entrypoint, config.Args)
	}
	return slices.Concat(img.Entrypoint, img.Cmd)
}

// mounts lists what a container gets besides its image, parents before what
// lies in them.
func (r *Runtime) mounts(c *container) []shim.Mount {
	var out []shim.Mount
	if c.image.HostUsr {
		out = hostUsr(c.image.Root)
	}
	for _, name := range []string{"hostname", "hosts", "resolv.conf"} {
		out = append(out, shim.Mount{Source: filepath.Join(r.podDir(c.pod.id), name), Target: "/etc/" + name, Optional: true})
	}
	for _, m := range c.config.Mounts {
		// The kubelet's own file wins over ours.
		out = slices.DeleteFunc(out, func(have shim.Mount) bool { return have.Target == filepath.Clean(m.ContainerPath) })
		out = append(out, shim.Mount{Source: m.HostPath, Target: filepath.Clean(m.ContainerPath), ReadOnly: m.Readonly})
	}
	slices.SortStableFunc(out, func(a, b shim.Mount) int {
		return strings.Count(a.Target, "/") - strings.Count(b.Target, "/")
	})
	return out
}

// hostUsr lists what an image without libraries borrows from the machine. What
// the image has itself it keeps: its /usr lies over the machine's, and its files
// of /etc stay.
func hostUsr(root string) []shim.Mount {
	has := func(path string) bool {
		fi, err := os.Lstat(filepath.Join(root, path))
		return err == nil && (fi.IsDir() || strings.HasPrefix(path, "/etc"))
	}
	var out []shim.Mount
	for _, path := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32"} {
		m := shim.Mount{Source: path, Target: path, ReadOnly: true, Optional: true}
		if has(path) {
			m.Over = filepath.Join(root, path)
		} else if to, err := os.Readlink(path); err == nil && has("/"+to) {
			m.Over = filepath.Join(root, to) // /bin is /usr/bin
		}
		out = append(out, m)
	}
	for _, path := range []string{
		"/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl/certs", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services", "/etc/iproute2",
	} {
		if !has(path) {
			out = append(out, shim.Mount{Source: path, Target: path, ReadOnly: true, Optional: true})
		}
	}
	return out
}

// user is who a container's processes are.
type user struct {
	uid, gid uint32
	groups   []uint32
}

// resolveUser decides who a container runs as: what the pod says, else what the
// image says, else root. Names are looked up in the image.
func resolveUser(img image.Image, sc *runtimeapi.LinuxContainerSecurityContext) (user, error) {
	name, group, _ := strings.Cut(img.User, ":")
	switch {
	case sc.GetRunAsUser() != nil:
		name, group = strconv.FormatInt(sc.RunAsUser.Value, 10), ""
	case sc.GetRunAsUsername() != "":
		name, group = sc.RunAsUsername, ""
	}
	var u user
	var primary string
	if name != "" {
		entry, found := lookup(filepath.Join(img.Root, "etc/passwd"), name)
		id := name
		if found {
			id, primary = entry[2], entry[3]
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return u, fmt.Errorf("user %q is not in the image's /etc/passwd", name)
		}
		u.uid = uint32(n)
	}
	if sc.GetRunAsGroup() != nil {
		group = strconv.FormatInt(sc.RunAsGroup.Value, 10)
	}
	if group == "" {
		group = primary
	}
	if group != "" {
		id := group
		if entry, ok := lookup(filepath.Join(img.Root, "etc/group"), group); ok {
			id = entry[2]
		}
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return u, fmt.Errorf("group %q is not in the image's /etc/group", group)
		}
		u.gid = uint32(n)
	}
	u.groups = append(u.groups, u.gid)
	for _, g := range sc.GetSupplementalGroups() {
		if !slices.Contains(u.groups, uint32(g)) {
			u.groups = append(u.groups, uint32(g))
		}
	}
	return u, nil
}

// lookup finds the line of a passwd or group file by name or number.
func lookup(path, key string) ([]string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Split(s.Text(), ":")
		if len(fields) >= 4 && (fields[0] == key || fields[2] == key) {
			return fields, true
		}
	}
	return nil, false
}

// capabilityNumbers are the names that pods use, without "CAP_".
func capabilityNumbers() map[string]int {
	return map[string]int{
		"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH,
		"FOWNER": unix.CAP_FOWNER, "FSETID": unix.CAP_FSETID, "KILL": unix.CAP_KILL, "SETGID": unix.CAP_SETGID,
		"SETUID": unix.CAP_SETUID, "SETPCAP": unix.CAP_SETPCAP, "LINUX_IMMUTABLE": unix.CAP_LINUX_IMMUTABLE,
		"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "NET_BROADCAST": unix.CAP_NET_BROADCAST, "NET_ADMIN": unix.CAP_NET_ADMIN,
		"NET_RAW": unix.CAP_NET_RAW, "IPC_LOCK": unix.CAP_IPC_LOCK, "IPC_OWNER": unix.CAP_IPC_OWNER, "SYS_MODULE": unix.CAP_SYS_MODULE,
		"SYS_RAWIO": unix.CAP_SYS_RAWIO, "SYS_CHROOT": unix.CAP_SYS_CHROOT, "SYS_PTRACE": unix.CAP_SYS_PTRACE, "SYS_PACCT": unix.CAP_SYS_PACCT,
		"SYS_ADMIN": unix.CAP_SYS_ADMIN, "SYS_BOOT": unix.CAP_SYS_BOOT, "SYS_NICE": unix.CAP_SYS_NICE, "SYS_RESOURCE": unix.CAP_SYS_RESOURCE,
		"SYS_TIME": unix.CAP_SYS_TIME, "SYS_TTY_CONFIG": unix.CAP_SYS_TTY_CONFIG, "MKNOD": unix.CAP_MKNOD, "LEASE": unix.CAP_LEASE,
		"AUDIT_WRITE": unix.CAP_AUDIT_WRITE, "AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL, "SETFCAP": unix.CAP_SETFCAP,
		"MAC_OVERRIDE": unix.CAP_MAC_OVERRIDE, "MAC_ADMIN": unix.CAP_MAC_ADMIN, "SYSLOG": unix.CAP_SYSLOG, "WAKE_ALARM": unix.CAP_WAKE_ALARM,
		"BLOCK_SUSPEND": unix.CAP_BLOCK_SUSPEND, "AUDIT_READ": unix.CAP_AUDIT_READ, "PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF,
		"CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE,
	}
}

// capabilities is the bounding set: the usual one, less what the pod drops,
// plus what it adds.
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext) []int {
	numbers := capabilityNumbers()
	set := map[int]bool{}
	all := func() {
		for _, n := range numbers {
			set[n] = true
		}
	}
	for _, name := range []string{
		"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
		"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
	} {
		set[numbers[name]] = true
	}
	if sc.GetPrivileged() {
		all()
		return slices.Sorted(maps.Keys(set))
	}
	plain := func(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }
	caps := sc.GetCapabilities()
	if slices.ContainsFunc(caps.GetAddCapabilities(), func(n string) bool { return plain(n) == "ALL" }) {
		all()
	}
	for _, name := range caps.GetDropCapabilities() {
		if plain(name) == "ALL" {
			clear(set)
		}
		if n, ok := numbers[plain(name)]; ok {
			delete(set, n)
		}
	}
	for _, name := range caps.GetAddCapabilities() {
		if n, ok := numbers[plain(name)]; ok {
			set[n] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// signalNumber turns "SIGNAL_SIGQUIT" into the kernel's number.
func signalNumber(s runtimeapi.Signal) (syscall.Signal, bool) {
	n := unix.SignalNum(strings.TrimPrefix(s.String(), "SIGNAL_"))
	return n, n != 0
}

// name is the part of NAME=value before the sign.
func name(variable string) string {
	n, _, _ := strings.Cut(variable, "=")
	return n
}
