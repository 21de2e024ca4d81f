// Package process runs the sandbox's long-lived programs: each in a network
// namespace, with its output in a log file, restarted when it ends early.
package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

// Spec says what to run.
type Spec struct {
	Name  string         // unique; the log is <Logs>/<Name>.log
	NetNS netns.NsHandle // the namespace to run in; 0 means the caller's
	Path  string
	Args  []string
	Env   []string // beside PATH and HOME
}

// Status is what Set knows about one process.
type Status struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Restarts int       `json:"restarts"`
	LastExit string    `json:"lastExit,omitempty"`
}

// Set is a group of processes. Make one with New. Its methods may be called
// from many goroutines.
type Set struct {
	logs string
	path string

	mu    sync.Mutex
	procs map[string]*Status
	wg    sync.WaitGroup
}

// New returns an empty set whose logs go to the directory logs and whose
// processes find programs in path.
func New(logs, path string) *Set {
	return &Set{logs: logs, path: path, procs: map[string]*Status{}}
}

// Start runs spec until ctx ends. It returns once the process was started the
// first time; when the process ends, it is started again after half a second.
func (s *Set) Start(ctx context.Context, spec Spec) error {
	log := filepath.Join(s.logs, spec.Name+".log")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.procs[spec.Name] != nil {
		s.mu.Unlock()
		f.Close()
		return fmt.Errorf("process %q runs already", spec.Name)
	}
	st := &Status{Name: spec.Name}
	s.procs[spec.Name] = st
	s.mu.Unlock()

	cmd, err := s.launch(ctx, spec, f, st)
	if err != nil {
		f.Close()
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	s.wg.Go(func() {
		defer f.Close()
		s.supervise(ctx, spec, f, st, cmd)
	})
	return nil
}

func (s *Set) supervise(ctx context.Context, spec Spec, log io.Writer, st *Status, cmd *exec.Cmd) {
	for {
		err := cmd.Wait()
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		st.PID, st.LastExit = 0, cmp.Or(errText(err), "exit status 0")
		s.mu.Unlock()
		fmt.Fprintf(log, "sandbox: %s ended (%v), starting it again\n", spec.Name, err)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(500 * time.Millisecond):
			}
			if cmd, err = s.launch(ctx, spec, log, st); err == nil {
				break
			}
			fmt.Fprintf(log, "sandbox: start %s: %v\n", spec.Name, err)
		}
		s.mu.Lock()
		st.Restarts++
		s.mu.Unlock()
	}
}

func (s *Set) launch(ctx context.Context, spec Spec, log io.Writer, st *Status) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, spec.Path, spec.Args...)
	cmd.Env = append([]string{"PATH=" + s.path, "HOME=/root"}, spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := In(spec.NetNS, cmd.Start); err != nil {
		return nil, err
	}
	s.mu.Lock()
	st.PID, st.Started = cmd.Process.Pid, time.Now()
	s.mu.Unlock()
	return cmd, nil
}

// List tells about every process, by name.
func (s *Set) List() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Status, 0, len(s.procs))
	for _, p := range s.procs {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Wait returns when every process has ended after its context did.
func (s *Set) Wait() { s.wg.Wait() }

// In runs f on a thread that is in the network namespace ns; whatever f starts
// is born there. 0 means the caller's own namespace.
func In(ns netns.NsHandle, f func() error) error {
	if ns == 0 {
		return f()
	}
	errs := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other
		// goroutine can find itself in the wrong namespace.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			errs <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		errs <- f()
	}()
	return <-errs
}

func errText(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	return err.Error()
}
