package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"isthmus.dev/sandbox/cri/shim"
)

// spawner starts processes from one thread that stays. The kernel kills a
// child with a parent-death signal when the thread that started it ends, and Go
// ends threads as it likes.
type spawner struct {
	requests chan func()
	stopped  chan struct{}
}

var errStopped = errors.New("the container runtime is not running")

func newSpawner() *spawner {
	return &spawner{requests: make(chan func()), stopped: make(chan struct{})}
}

// run serves until the context ends; with its thread end all processes.
func (s *spawner) run(ctx context.Context) {
	runtime.LockOSThread() // never unlocked
	defer close(s.stopped)
	for {
		select {
		case f := <-s.requests:
			f()
		case <-ctx.Done():
			return
		}
	}
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	select {
	case s.requests <- func() { result <- cmd.Start() }:
		return <-result
	case <-s.stopped:
		return errStopped
	}
}

// process is a running shim and later the program that it became.
type process struct {
	cmd      *exec.Cmd
	pidfd    *os.File
	stdin    *os.File // nil: there is none
	terminal *os.File // nil: there is none
	streams  []stream
	copies   sync.WaitGroup
}

// stream is our end of something that the process writes to.
type stream struct {
	name streamName
	from *os.File
}

type streamName string

const (
	stdout streamName = "stdout"
	stderr streamName = "stderr"
)

// sink takes what a process writes.
type sink interface {
	// copy reads one stream to its end.
	copy(name streamName, from io.Reader)
}

// startConfig says how to start a process.
type startConfig struct {
	mode     string
	spec     shim.Spec
	space    *os.File // what descriptor 5 is to be; not closed
	stdin    bool
	terminal bool
	output   sink
}

// drainTime is how long something that the program left behind may keep its
// output open.
const drainTime = 2 * time.Second

// start runs a shim until it has become its program.
func (r *Runtime) start(cfg startConfig) (*process, error) {
	data, err := json.Marshal(cfg.spec)
	if err != nil {
		return nil, err
	}
	var child files // the ends that the process gets
	defer child.close()
	specOut, specIn, err := child.pipe()
	if err != nil {
		return nil, err
	}
	defer specIn.Close()
	answer, answerIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	child = append(child, answerIn)
	defer answer.Close()

	pidfd := -1
	p := &process{cmd: &exec.Cmd{
		Path: r.cfg.Shim, Args: []string{"sandbox-shim", cfg.mode}, Env: []string{},
		ExtraFiles:  []*os.File{specOut, answerIn},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, PidFD: &pidfd},
	}}
	if cfg.space != nil {
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, cfg.space)
	}
	if cfg.mode == shim.Run {
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
	}
	if err := p.connect(cfg, &child); err != nil {
		p.close()
		return nil, err
	}
	if err := r.spawn.start(p.cmd); err != nil {
		p.close()
		return nil, fmt.Errorf("start %s: %w", r.cfg.Shim, err)
	}
	if pidfd >= 0 {
		p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	}
	child.close()
	for _, s := range p.streams {
		p.copies.Go(func() { cfg.output.copy(s.name, s.from) })
	}
	if err := handshake(specIn, data, answer); err != nil {
		p.wait() // a shim that has answered, or got no spec, ends by itself
		return nil, err
	}
	return p, nil
}

// handshake gives the shim its spec and waits for the answer.
func handshake(spec io.WriteCloser, data []byte, answer io.Reader) error {
	_, err := spec.Write(data)
	if err := errors.Join(err, spec.Close()); err != nil {
		return fmt.Errorf("write spec: %w", err)
	}
	text, err := io.ReadAll(answer)
	if err == nil && len(text) > 0 {
		err = errors.New(string(text))
	}
	return err
}

// connect gives the process its standard streams. They belong to its user: a
// program may open /dev/stdout again.
func (p *process) connect(cfg startConfig, child *files) error {
	uid, gid := int(cfg.spec.Process.UID), int(cfg.spec.Process.GID)
	if cfg.terminal {
		master, slave, err := openTerminal()
		if err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		*child = append(*child, slave)
		p.terminal = master
		p.streams = []stream{{stdout, master}}
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
		if cfg.stdin {
			if p.stdin, err = dup(master); err != nil {
				return err
			}
		}
		return slave.Chown(uid, gid)
	}
	if cfg.stdin {
		in, out, err := child.pipe()
		if err != nil {
			return err
		}
		p.stdin, p.cmd.Stdin = out, in
	}
	for _, s := range []streamName{stdout, stderr} {
		from, to, err := os.Pipe()
		if err != nil {
			return err
		}
		*child = append(*child, to)
		p.streams = append(p.streams, stream{s, from})
		if err := to.Chown(uid, gid); err != nil {
			return err
		}
		if s == stdout {
			p.cmd.Stdout = to
		} else {
			p.cmd.Stderr = to
		}
	}
	return nil
}

// signal sends a signal to the program. One that ended has no use for it.
func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
}

// wait returns the exit code, 128 and more for a signal, when the process has
// ended and what it wrote has been read. It is called once.
func (p *process) wait() int {
	_ = p.cmd.Wait() // what it says is in ProcessState
	for _, s := range p.streams {
		_ = s.from.SetReadDeadline(time.Now().Add(drainTime)) // not every file can
	}
	p.copies.Wait()
	p.close()
	ps := p.cmd.ProcessState
	if ws, ok := ps.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ps.ExitCode()
}

// close gives up our ends.
func (p *process) close() {
	for _, s := range p.streams {
		s.from.Close()
	}
	for _, f := range []*os.File{p.stdin, p.pidfd} {
		if f != nil {
			f.Close()
		}
	}
}

// files are closed together; closing twice is no harm.
type files []*os.File

func (f files) close() {
	for _, file := range f {
		file.Close()
	}
}

// pipe makes a pipe whose reading end is among the files.
func (f *files) pipe() (out, in *os.File, err error) {
	out, in, err = os.Pipe()
	if err == nil {
		*f = append(*f, out)
	}
	return out, in, err
}

// openTerminal makes a pseudo terminal.
func openTerminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, err
	}
	return master, slave, nil
}
