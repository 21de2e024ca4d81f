package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init is the first process of the sandbox's PID namespace. It makes the
// mounts private, starts the daemon, reaps orphans and ends when the daemon
// does; the kernel then ends everything else.
func Init(boot string, clusters int) error {
	if os.Getpid() != 1 {
		return errors.New("init is started by \"sandbox up\" only")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// The lock stays open here, and only here, for as long as the sandbox lives.
	unix.CloseOnExec(firstFile)
	cmd := exec.Command("/proc/self/exe", "daemon", boot)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	for i := range 1 + clusters {
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(firstFile+1+i), "inherited"))
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start daemon: %w", err)
	}
	for _, f := range cmd.ExtraFiles {
		f.Close() // or "up" would wait for us when the daemon has died
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-signals
		os.Exit(0)
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == cmd.Process.Pid:
			return fmt.Errorf("daemon ended: exit status %d, signal %d", status.ExitStatus(), status.Signal())
		}
	}
}
