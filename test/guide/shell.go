package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shell is a running bash that is fed one block after the other.
type shell struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// marker ends the output of a block; no command prints it by chance.
const marker = "\x1eend-of-block "

func startShell(ctx context.Context, command []string) (*shell, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %q: %w", command, err)
	}
	return &shell{cmd: cmd, in: in, out: bufio.NewReader(out)}, nil
}

// do runs code, and returns what it printed on both outputs and its exit code. A failing command ends the block,
// as in a script with set -e, but not the shell.
func (s *shell) do(ctx context.Context, code string) (output string, exit int, err error) {
	// eval in the shell itself keeps variables and functions; the ERR trap leaves the evaluated text at the first
	// failing command; stdin is not the shell's own, or a command could eat the next block.
	_, err = fmt.Fprintf(s.in, "eval %s </dev/null\nprintf '\\036end-of-block %%d\\n' $?\n", quote(chain(code)))
	if err != nil {
		return "", 0, fmt.Errorf("write to the shell: %w", err)
	}
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if before, rest, ok := strings.Cut(line, marker); ok {
			b.WriteString(before)
			exit, err := strconv.Atoi(strings.TrimSpace(rest))
			return b.String(), exit, err
		}
		b.WriteString(line)
		switch {
		case ctx.Err() != nil:
			return b.String(), 0, context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return b.String(), 0, errors.New("the shell ended")
		case err != nil:
			return b.String(), 0, fmt.Errorf("read from the shell: %w", err)
		}
	}
}

// chain makes code stop at its first failing command without ending the shell: the commands run in a function
// whose ERR trap returns.
func chain(code string) string {
	return "block() {\ntrap 'code=$?; trap - ERR; return $code' ERR\nset -o pipefail\n" + code + "\ntrap - ERR\n}\nblock"
}

// quote makes s one word of bash.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (s *shell) close() {
	s.in.Close()
	s.cmd.Wait() //nolint:errcheck // the shell's own exit code says nothing: every block was checked
}
