package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"isthmus.dev/sandbox/daemon"
)

func (a *app) execCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exec WHERE -- CMD…",
		Short: "Run a command inside: on a cluster's first node, on CLUSTER/node2, on wan or on core",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.exec(args[0], args[1:])
		},
	}
}

// exec replaces this process by the command, in the sandbox's namespaces.
func (a *app) exec(where string, command []string) error {
	s, err := a.dir.Load()
	if err != nil {
		return err
	}
	netns, c, err := s.Plan.Where(where)
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return errors.New("exec: program nsenter is missing (apt-get install util-linux)")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	netfile := fmt.Sprintf("/proc/%d/root%s", s.PID, filepath.Join(a.dir.NetNS(), netns))
	if netns == "core" {
		netfile = fmt.Sprintf("/proc/%d/ns/net", s.PID)
	}
	// A place without a cluster of its own gets all of them, the first one current.
	names := s.Plan.Names()
	if c != nil {
		names = []string{c.Name}
	}
	var configs []string
	for _, n := range names {
		configs = append(configs, a.dir.Kubeconfig(n))
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"PATH", "KUBECONFIG", "SSL_CERT_FILE", "CURL_CA_BUNDLE"}, name) || strings.HasSuffix(strings.ToLower(name), "_proxy")
	})
	// kubectl and istioctl are the clusters' own; the caller's programs come
	// before the system's, as the caller has it.
	env = append(env, "PATH="+s.Path+":"+os.Getenv("PATH")+":"+daemon.SystemPath, "KUBECONFIG="+strings.Join(configs, ":"),
		"SSL_CERT_FILE="+a.dir.Trust(), "CURL_CA_BUNDLE="+a.dir.Trust())
	args := []string{"nsenter", "--target", fmt.Sprint(s.PID), "--mount", "--pid", "--ipc", "--net=" + netfile, "--", self, "enter", wd}
	return syscall.Exec(nsenter, append(args, command...), env)
}

// enterCommand is the inner half of exec: it arrives in the namespaces, goes
// to the caller's directory and becomes the command.
func enterCommand() *cobra.Command {
	return &cobra.Command{
		Use: "enter DIR CMD…", Hidden: true, Args: cobra.MinimumNArgs(2), DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			// The command ends with the process that waits for it outside. The
			// kernel keeps this wish per thread, so the thread that says it
			// must be the one that becomes the command.
			runtime.LockOSThread()
			if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
				return err
			}
			if err := os.Chdir(args[0]); err != nil {
				return err
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return fmt.Errorf("exec: %w", err)
			}
			return syscall.Exec(path, args[1:], os.Environ())
		},
	}
}

func (a *app) logsCommand() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs PROCESS",
		Short: "Print the log of a process that status lists, or of daemon",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !filepath.IsLocal(args[0]) {
				return fmt.Errorf("logs: %q is not the name of a process", args[0])
			}
			f, err := os.Open(filepath.Join(a.dir.Logs(), args[0]+".log"))
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("logs: no process %q (sandbox status lists them)", args[0])
			}
			if err != nil {
				return err
			}
			defer f.Close()
			for {
				if _, err := io.Copy(a.out, f); err != nil || !follow {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(200 * time.Millisecond):
				}
			}
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written later")
	return cmd
}
