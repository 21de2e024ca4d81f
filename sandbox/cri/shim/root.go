package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// device is a node of a container's /dev.
type device struct {
	name         string
	major, minor uint32
}

// devices returns the nodes that every container has.
func devices() []device {
	return []device{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}
}

// opened is a mount whose source has been found on the host.
type opened struct {
	Mount
	fd  int
	dir bool
}

// enterRoot builds the container's file system around the process and makes it
// the root, with the working directory dir in it. The mount namespace is new;
// what it inherited is left behind.
func enterRoot(r *Root, dir string) error {
	if r == nil {
		return errors.New("no root in the spec")
	}
	if r.Network {
		if err := unix.Setns(spaceFD, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the pod's network namespace: %w", err)
		}
		unix.Close(spaceFD)
	}
	// Before anything else: nothing that follows may reach the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Sethostname([]byte(r.Hostname)); err != nil {
		return fmt.Errorf("set hostname %q: %w", r.Hostname, err)
	}
	// Sources are opened while the host's paths still mean something, and put
	// in place when links inside the container cannot lead out of it any more.
	mounts, err := openSources(r.Mounts)
	if err != nil {
		return err
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower(r.Lower), lower(r.Upper), lower(r.Work))
	if err := unix.Mount("overlay", r.Target, "overlay", 0, data); err != nil {
		return fmt.Errorf("mount overlay of %s with %s over it (which must not itself be on overlayfs or a network file system): %w", r.Lower, r.Upper, err)
	}
	if err := pivot(r.Target); err != nil {
		return err
	}
	unix.Umask(0)
	defer unix.Umask(0o022)
	if err := kernelMounts(r.Privileged); err != nil {
		return err
	}
	for _, m := range mounts {
		if err := m.place(); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("working directory %q: %w", dir, err)
	}
	if r.ReadOnly {
		if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the root read-only: %w", err)
		}
	}
	return nil
}

// lower writes a path as overlayfs wants it: colons and commas mean something.
func lower(path string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`).Replace(path)
}

// pivot makes target the root and forgets the old one.
func pivot(target string) error {
	if err := unix.Chdir(target); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	// Both roots are stacked on "/"; the old one is what "." still means.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return unix.Chdir("/")
}

// openSources takes a detached copy of every source.
func openSources(mounts []Mount) ([]opened, error) {
	var out []opened
	for _, m := range mounts {
		fi, err := os.Stat(m.Source)
		if errors.Is(err, os.ErrNotExist) && m.Optional {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("mount at %s: %w", m.Target, err)
		}
		fd, err := m.open()
		if err != nil {
			return nil, fmt.Errorf("open %s to mount it at %s: %w", m.Source, m.Target, err)
		}
		out = append(out, opened{Mount: m, fd: fd, dir: fi.IsDir()})
	}
	return out, nil
}

// open returns a mount that is not attached anywhere.
func (m Mount) open() (int, error) {
	if m.Over == "" {
		return unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "lowerdir", lower(m.Over)+":"+lower(m.Source)); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY)
}

// place attaches the mount, making the place when the image has none.
func (m opened) place() error {
	defer unix.Close(m.fd)
	if err := mountPoint(m.Target, m.dir); err != nil {
		return err
	}
	if m.ReadOnly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(m.fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
			return fmt.Errorf("make read-only: %w", err)
		}
	}
	return unix.MoveMount(m.fd, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
}

// mountPoint makes a directory or an empty file to mount on.
func mountPoint(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// kernelMounts makes /proc and /dev.
func kernelMounts(privileged bool) error {
	const quiet = unix.MS_NOSUID | unix.MS_NOEXEC
	for _, m := range []struct {
		fs, target string
		flags      uintptr
		data       string
	}{
		{"proc", "/proc", quiet | unix.MS_NODEV, ""},
		{"tmpfs", "/dev", quiet, "mode=755,size=64k"},
		{"devpts", "/dev/pts", quiet, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"tmpfs", "/dev/shm", quiet | unix.MS_NODEV, "mode=1777,size=64m"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.target, m.fs, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, d := range devices() {
		if err := unix.Mknod("/dev/"+d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	links := map[string]string{
		"/dev/ptmx": "pts/ptmx", "/dev/fd": "/proc/self/fd",
		"/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2",
	}
	for path, to := range links {
		if err := os.Symlink(to, path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/tmp", 0o1777|os.ModeSticky); err != nil {
		return err
	}
	if privileged {
		return nil
	}
	// The kernel's settings are the host's: a container reads them.
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("protect %s: %w", path, err)
		}
		if err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|quiet|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("protect %s: %w", path, err)
		}
	}
	return nil
}
