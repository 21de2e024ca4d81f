package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"isthmus.dev/sandbox/cri/shim"
)

// maxExecOutput bounds what a probe's command can make us remember.
const maxExecOutput = 16 << 20

// ExecSync implements RuntimeService. A timeout of zero is none.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (out, errOut []byte, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, criclient.ErrCommandTimedOut)
		defer cancel()
	}
	var o, e bounded
	code, err := r.exec(ctx, id, cmd, execIO{out: &o, err: &e})
	if err != nil {
		if ctx.Err() != nil { // the clock ran out, whatever the command then said
			err = fmt.Errorf("%w: %q after %s", context.Cause(ctx), strings.Join(cmd, " "), timeout)
		}
		return o.Bytes(), e.Bytes(), err
	}
	if code != 0 {
		err = utilexec.CodeExitError{Err: fmt.Errorf("command %q exited with %d: %s", strings.Join(cmd, " "), code, e.Bytes()), Code: code}
	}
	return o.Bytes(), e.Bytes(), err
}

// bounded keeps the first of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxExecOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// execIO connects a command.
type execIO struct {
	in       io.Reader // nil: none
	out, err io.Writer // nil: not wanted
	terminal bool
	resize   <-chan remotecommand.TerminalSize
}

// exec runs a command in a container and returns its exit code.
func (r *Runtime) exec(ctx context.Context, id string, cmd []string, cio execIO) (int, error) {
	c, err := r.container(id)
	if err != nil {
		return 0, err
	}
	main, err := c.running()
	if err != nil {
		return 0, err
	}
	if main.pidfd == nil {
		return 0, errors.New("this kernel has no process descriptors (5.8 or newer is needed)")
	}
	space, err := dup(main.pidfd)
	if err != nil {
		return 0, fmt.Errorf("container %q has just ended: %w", c.config.Metadata.Name, err)
	}
	defer space.Close()
	p, err := r.start(startConfig{
		mode: shim.Exec, spec: shim.Spec{Process: c.process(cmd, cio.terminal)}, space: space,
		stdin: cio.in != nil, terminal: cio.terminal, output: writers{cio.out, cio.err},
	})
	if err != nil {
		return 0, fmt.Errorf("exec in container %q: %w", c.config.Metadata.Name, err)
	}
	ended := make(chan int, 1)
	go func() { ended <- p.wait() }()
	if cio.in != nil {
		go feed(p, cio.in) // ends when the client's stream does
	}
	for {
		select {
		case code := <-ended:
			return code, nil
		case size, ok := <-cio.resize:
			if !ok {
				cio.resize = nil
				continue
			}
			p.resize(size)
		case <-ctx.Done():
			p.signal(syscall.SIGTERM) // the shim's own: it kills the program
			<-ended
			return 0, context.Cause(ctx)
		}
	}
}

// feed copies input to a process and, unless it is a terminal, tells it the
// end.
func feed(p *process, in io.Reader) {
	_, _ = io.Copy(p.stdin, in)
	if p.terminal == nil {
		p.stdin.Close()
	}
}

func (p *process) resize(size remotecommand.TerminalSize) {
	if p.terminal == nil {
		return
	}
	if conn, err := p.terminal.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
		})
	}
}

// Exec implements RuntimeService.
func (r *Runtime) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if err := r.checkRunning(req.GetContainerId()); err != nil {
		return nil, err
	}
	streams, err := r.streaming()
	if err != nil {
		return nil, err
	}
	return streams.GetExec(req)
}

// Attach implements RuntimeService.
func (r *Runtime) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if err := r.checkRunning(req.GetContainerId()); err != nil {
		return nil, err
	}
	streams, err := r.streaming()
	if err != nil {
		return nil, err
	}
	return streams.GetAttach(req)
}

// PortForward implements RuntimeService.
func (r *Runtime) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	p, err := r.pod(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	if p.state() != runtimeapi.PodSandboxState_SANDBOX_READY {
		return nil, status.Errorf(codes.FailedPrecondition, "pod sandbox %q is stopped", p.id)
	}
	streams, err := r.streaming()
	if err != nil {
		return nil, err
	}
	return streams.GetPortForward(req)
}

func (r *Runtime) checkRunning(id string) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	_, err = c.running()
	return err
}

// streamer serves the connections that the three above announce.
type streamer struct{ r *Runtime }

// Exec implements streaming.Runtime.
func (s *streamer) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	code, err := s.r.exec(ctx, id, cmd, execIO{in: in, out: writer(out), err: writer(errOut), terminal: tty, resize: resize})
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

// Attach implements streaming.Runtime.
func (s *streamer) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	c, err := s.r.container(id)
	if err != nil {
		return err
	}
	p, err := c.running()
	if err != nil {
		return err
	}
	w := &watcher{out: writer(out), err: writer(errOut), gone: make(chan struct{})}
	if tty {
		w.err = nil
	}
	defer c.output.watch(w)()
	if in != nil && p.stdin != nil {
		go func() { // ends when the client's stream does
			_, _ = io.Copy(p.stdin, in)
			if c.config.StdinOnce && p.terminal == nil {
				p.stdin.Close()
			}
		}()
	}
	for {
		select {
		case <-w.gone:
			return nil
		case <-c.ended:
			return nil
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			p.resize(size)
		case <-ctx.Done():
			return nil
		}
	}
}

// PortForward implements streaming.Runtime.
func (s *streamer) PortForward(ctx context.Context, id string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	p, err := s.r.pod(id)
	if err != nil {
		return err
	}
	ns, err := p.netns()
	if err != nil {
		return err
	}
	if ns != nil {
		defer ns.Close()
	}
	var conn net.Conn
	err = within(ns, func() error {
		var d net.Dialer
		var errs []error
		for _, ip := range []string{"127.0.0.1", "::1"} { // literals: the dialer stays on this thread
			c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
			if err == nil {
				conn = c
				return nil
			}
			errs = append(errs, err)
		}
		return errs[0]
	})
	if err != nil {
		return fmt.Errorf("connect to port %d of the pod: %w", port, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
	})
	_, _ = io.Copy(stream, conn)
	stream.Close() // also ends the other direction
	wg.Wait()
	return nil
}

// writer keeps a nil interface nil.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}
