package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Main runs a shim. The caller has locked the main goroutine to the main
// thread. It returns only when there was an error or, for Exec, when the
// program ended; the code is what to exit with.
func Main(args []string) (int, error) {
	if len(args) != 1 {
		return 125, errors.New("this program is started by the sandbox's container runtime, not by hand")
	}
	unix.CloseOnExec(answerFD)
	s, err := readSpec()
	if err != nil {
		return fail(err)
	}
	switch args[0] {
	case Run:
		if err := enterRoot(s.Root, s.Process.Dir); err != nil {
			return fail(err)
		}
		return fail(execute(s.Process))
	case Exec:
		return join(s)
	case become:
		unix.CloseOnExec(spaceFD)
		return fail(execute(s.Process))
	}
	return 125, fmt.Errorf("no such mode: %q", args[0])
}

// fail tells the runtime why there will be no program.
func fail(err error) (int, error) {
	f := os.NewFile(answerFD, "answer")
	fmt.Fprint(f, err)
	f.Close()
	return 128, nil
}

// join enters the container's namespaces and starts the second half there: a
// process enters a PID namespace only by being born in it.
func join(s Spec) (int, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fail(err)
	}
	spec, err := again(s) // the second half reads it from the same descriptor
	if err != nil {
		return fail(fmt.Errorf("pass the spec on: %w", err))
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fail(fmt.Errorf("unshare file system state: %w", err))
	}
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET
	if err := unix.Setns(spaceFD, all); err != nil {
		return fail(fmt.Errorf("enter the container: %w", err))
	}
	answer := os.NewFile(answerFD, "answer")
	cmd := &exec.Cmd{
		Path:       "/proc/self/fd/5", // the third of ExtraFiles: this program, which the container's root does not have
		Args:       []string{"sandbox-shim", become},
		Env:        []string{},
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{spec, answer, self},
	}
	// The runtime ends the program by a signal to the shim. The shim must not
	// die first: the program would be an orphan that nobody in the container
	// buries, and a PID namespace with a zombie in it never goes away.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM)
	if err := cmd.Start(); err != nil {
		return fail(fmt.Errorf("start in the container: %w", err))
	}
	answer.Close()
	go func() {
		for range signals {
			_ = cmd.Process.Kill() // an error says that it has ended
		}
	}()
	err = cmd.Wait()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// again puts the spec into a file in memory, to be read from its start.
func again(s Spec) (*os.File, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("spec", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "spec")
	if _, err := f.Write(data); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}
