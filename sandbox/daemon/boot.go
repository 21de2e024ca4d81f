// Package daemon is the process that a sandbox lives in.
//
// "sandbox up" starts it as the first process of new PID, mount, network and
// IPC namespaces. Everything else is made by it and inside of them, so when it
// ends, for whatever reason, the kernel ends all processes, unmounts all
// mounts and removes all links and rules. Only files remain, in the state
// directory, which the next "up" removes.
package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"isthmus.dev/sandbox/engine"
	"isthmus.dev/sandbox/plan"
	"isthmus.dev/sandbox/state"
)

// Boot is what the daemon is told when it starts.
type Boot struct {
	Dir      state.Dir  `json:"dir"`
	Plan     plan.Plan  `json:"plan"`
	Programs engine.Set `json:"programs"`
	Path     string     `json:"path"`  // directories of the programs, as in PATH
	Cache    string     `json:"cache"` // keeps rendered manifests
}

// SystemPath is where Debian keeps programs.
const SystemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Lines from the daemon to "up" begin with one of these.
const (
	lineProgress = "- "
	lineFailed   = "! "
	lineReady    = "."
)

// The daemon's inherited files, in order: its lifeline to "up", then one
// listener per cluster. The init holds the lock before them.
const firstFile = 3

// Spawn starts a sandbox and returns when it is ready; progress is told line
// by line. When ctx ends first, or the sandbox fails, nothing of it is left
// running. lock is the held lock file, which the sandbox keeps.
func Spawn(ctx context.Context, b Boot, lock *os.File, progress func(string)) (state.Sandbox, error) {
	files := []*os.File{lock}
	defer func() {
		for _, f := range files[1:] {
			f.Close()
		}
	}()
	r, w, err := os.Pipe()
	if err != nil {
		return state.Sandbox{}, err
	}
	defer r.Close()
	files = append(files, w)
	for i := range b.Plan.Clusters {
		f, port, err := loopback()
		if err != nil {
			return state.Sandbox{}, err
		}
		files = append(files, f)
		b.Plan.Clusters[i].HostPort = port
	}
	init, err := startInit(b, files)
	if err != nil {
		return state.Sandbox{}, err
	}
	// Read only from the sandbox: our copy of the writing end would keep the
	// pipe open after the sandbox died.
	w.Close()
	s, err := register(b, init.Process.Pid)
	if err == nil {
		err = follow(ctx, r, progress)
	}
	if err != nil {
		init.Process.Kill()
		init.Wait()
		return state.Sandbox{}, err
	}
	return s, nil
}

// loopback opens a listener on the machine's loopback for a cluster's API. A
// socket keeps the network namespace it was made in, so the daemon can accept
// from it.
func loopback() (*os.File, int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	return f, l.Addr().(*net.TCPAddr).Port, err
}

func startInit(b Boot, files []*os.File) (*exec.Cmd, error) {
	config, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.Dir.Logs(), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.Dir.Path("boot.json"), config, 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(b.Dir.Path("logs", "daemon.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "init", b.Dir.Path("boot.json"))
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "PATH="+b.Path+":"+SystemPath)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for "up", which then ends the sandbox itself
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start in new namespaces (root, and a kernel with PID, mount, network and IPC namespaces, are needed): %w", err)
	}
	return cmd, nil
}

func register(b Boot, pid int) (state.Sandbox, error) {
	birth, err := state.Birth(pid)
	if err != nil {
		return state.Sandbox{}, fmt.Errorf("the sandbox ended at once: %w", err)
	}
	s := state.Sandbox{PID: pid, Birth: birth, Started: time.Now().UTC().Truncate(time.Second), Path: b.Path, Plan: b.Plan}
	return s, b.Dir.Save(s)
}

// follow reads the daemon's lines until it is ready.
func follow(ctx context.Context, r *os.File, progress func(string)) error {
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		switch {
		case line == lineReady:
			return nil
		case strings.HasPrefix(line, lineFailed):
			return errors.New(strings.ReplaceAll(strings.TrimPrefix(line, lineFailed), "\x00", "\n"))
		default:
			progress(strings.TrimPrefix(line, lineProgress))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.New("the sandbox ended before it was ready")
}

// Down ends a sandbox and waits until all of its processes are gone.
func Down(ctx context.Context, s state.Sandbox) error {
	if s.Inside() {
		return errors.New("down: a sandbox cannot be ended from inside")
	}
	// The init's death is everybody's: the kernel kills its PID namespace, and
	// lets the init disappear only after all others did.
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", s.PID, err)
	}
	for {
		birth, err := state.Birth(s.PID)
		if err != nil || birth != s.Birth {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d of the sandbox does not end: %w", s.PID, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// say writes one line to "up". Once "up" is gone there is nobody to tell.
func say(w io.Writer, prefix, text string) error {
	_, err := io.WriteString(w, prefix+strings.ReplaceAll(text, "\n", "\x00")+"\n")
	return err
}
