package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openFiles is how many files a container may have open; Envoy and the Go
// servers expect the value that container engines give.
const openFiles = 1 << 20

// execute gives up what the process may not have and becomes the program. It
// returns only with an error.
func execute(p Process) error {
	path, err := lookPath(p)
	if err != nil {
		return err
	}
	if _, err := unix.Setsid(); err != nil && err != unix.EPERM { // EPERM: leads a session already
		return fmt.Errorf("new session: %w", err)
	}
	if p.Terminal {
		if err := unix.IoctlSetInt(0, unix.TIOCSCTTY, 0); err != nil {
			return fmt.Errorf("controlling terminal: %w", err)
		}
	}
	raiseLimits()
	if err := drop(p); err != nil {
		return err
	}
	if err := unix.Chdir(p.Dir); err != nil {
		return fmt.Errorf("working directory %q: %w", p.Dir, err)
	}
	if err := unix.Exec(path, p.Args, p.Env); err != nil {
		return fmt.Errorf("exec %q: %w", path, err)
	}
	return nil
}

// drop leaves the process the bounding set, the groups and the user of p, and
// the promise to die with the thread that started it.
func drop(p Process) error {
	keep := map[int]bool{}
	for _, c := range p.Caps {
		keep[c] = true
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: this kernel has fewer
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	groups := p.Groups
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	// The raw calls change this thread alone, and it is the one that executes.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); errno != 0 {
		return fmt.Errorf("set groups %v: %w", groups, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(p.GID), uintptr(p.GID), uintptr(p.GID)); errno != 0 {
		return fmt.Errorf("set group %d: %w", p.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(p.UID), uintptr(p.UID), uintptr(p.UID)); errno != 0 {
		return fmt.Errorf("set user %d: %w", p.UID, errno)
	}
	// A change of user clears the parent-death signal, so it is set here.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent-death signal: %w", err)
	}
	if p.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no-new-privileges: %w", err)
		}
	}
	return nil
}

// raiseLimits gives the process the usual number of open files, or as many as
// it may have.
func raiseLimits() {
	want := unix.Rlimit{Cur: openFiles, Max: openFiles}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &want) == nil {
		return
	}
	var have unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &have) == nil {
		have.Cur = have.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &have) // as good as it gets
	}
}

// lookPath finds the program as a shell in the container would.
func lookPath(p Process) (string, error) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Dir, name)
		}
		if err := runnable(name); err != nil {
			return "", fmt.Errorf("exec %q: %w", p.Args[0], err)
		}
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, e := range p.Env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if full := filepath.Join("/", dir, name); runnable(full) == nil {
			return full, nil
		}
	}
	return "", fmt.Errorf("exec %q: executable file not found in PATH %q of the container", name, path)
}

// runnable reports what is in the way of executing path.
func runnable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case fi.IsDir():
		return unix.EISDIR
	case fi.Mode()&0o111 == 0:
		return unix.EACCES
	}
	return nil
}
