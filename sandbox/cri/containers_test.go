package cri

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
	utilexec "k8s.io/utils/exec"
)

type security = runtimeapi.LinuxContainerSecurityContext

// secure changes the security context of a container.
func secure(sc *security) func(*runtimeapi.ContainerConfig) {
	return func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext = sc }
}

func TestContainerRunsToItsEnd(t *testing.T) {
	w := newWorld(t)
	number := func(n int64) *runtimeapi.Int64Value { return &runtimeapi.Int64Value{Value: n} }
	volume := filepath.Join(w.dir, "volume")
	write(t, filepath.Join(volume, "file"), "from the volume\n")
	if err := os.Chmod(volume, 0o777); err != nil {
		t.Fatal(err)
	}
	mounts := func(ms ...*runtimeapi.Mount) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) { c.Mounts = ms }
	}
	type result struct {
		Code   int32
		Reason string
		Log    []string
	}
	completed := func(log ...string) result { return result{0, "Completed", log} }
	cases := map[string]struct {
		change func(*runtimeapi.ContainerConfig)
		args   []string
		want   result
	}{
		"ImageDefault": {want: completed("stdout F default")},
		"Command": {
			change: func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/testprog", "say", "own"} },
			want:   completed("stdout F own"),
		},
		"CodeAndStreams": {
			args: []string{"say", "out\n", "complain", "err\n", "exit", "3"},
			want: result{3, "Error", []string{"stderr F err", "stdout F out"}},
		},
		"LongLine": {
			args: []string{"long", "20000"},
			want: completed("stdout P "+strings.Repeat("x", maxLine), "stdout F "+strings.Repeat("x", 20000-maxLine)),
		},
		"EmptyLines": {args: []string{"say", "a\n\nb"}, want: completed("stdout F a", "stdout F ", "stdout F b")},
		"ImageUser": {
			args: []string{"whoami"},
			want: completed("stdout F CapBnd:\t00000000a80425fb", "stdout F CapEff:\t0000000000000000", "stdout F NoNewPrivs:\t0",
				"stdout F pid=1 uid=1000 gid=1001 groups=[1001] host=NAME dir=/"),
		},
		"OwnUserAndGroups": {
			change: secure(&security{RunAsUser: number(7), RunAsGroup: number(8), SupplementalGroups: []int64{9, 8}, NoNewPrivs: true,
				Capabilities: &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}}),
			args: []string{"whoami"},
			want: completed("stdout F CapBnd:\t0000000000000000", "stdout F CapEff:\t0000000000000000", "stdout F NoNewPrivs:\t1",
				"stdout F pid=1 uid=7 gid=8 groups=[8 9] host=NAME dir=/"),
		},
		"RootWithTwoCapabilities": {
			change: secure(&security{RunAsUser: number(0), Capabilities: &runtimeapi.Capability{
				DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_ADMIN", "CAP_NET_RAW"},
			}}),
			args: []string{"whoami"},
			want: completed("stdout F CapBnd:\t0000000000003000", "stdout F CapEff:\t0000000000003000", "stdout F NoNewPrivs:\t0",
				"stdout F pid=1 uid=0 gid=0 groups=[0] host=NAME dir=/"),
		},
		"EnvironmentAndDirectory": {
			change: func(c *runtimeapi.ContainerConfig) {
				c.WorkingDir = "/made/for/it"
				c.Envs = []*runtimeapi.KeyValue{{Key: "FROM", Value: []byte("pod")}, {Key: "EMPTY"}}
			},
			args: []string{"env"},
			want: completed("stdout F EMPTY=", "stdout F FROM=pod", "stdout F HOSTNAME=NAME",
				"stdout F PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
		},
		"OtherUsersReopenStdout": {args: []string{"write", "/dev/stdout"}, want: completed("stdout F written")},
		"RootIsNotForOtherUsers": {args: []string{"write", "/file"}, want: result{1, "Error", []string{"stderr F write: open /file: permission denied"}}},
		"ReadOnlyRoot": {
			change: secure(&security{RunAsUser: number(0), ReadonlyRootfs: true}),
			args:   []string{"write", "/tmp/file"},
			want:   result{1, "Error", []string{"stderr F write: open /tmp/file: read-only file system"}},
		},
		"KernelSettingsAreReadOnly": {
			change: secure(&security{RunAsUser: number(0)}),
			args:   []string{"write", "/proc/sys/kernel/hostname"},
			want:   result{1, "Error", []string{"stderr F write: open /proc/sys/kernel/hostname: read-only file system"}},
		},
		"VolumeOverReadOnlyRoot": {
			change: func(c *runtimeapi.ContainerConfig) {
				secure(&security{ReadonlyRootfs: true})(c)
				mounts(&runtimeapi.Mount{HostPath: volume, ContainerPath: "/var/lib/deep/volume"})(c)
			},
			args: []string{"write", "/var/lib/deep/volume/new", "cat", "/var/lib/deep/volume/file"},
			want: completed("stdout F from the volume"),
		},
		"ReadOnlyVolume": {
			change: mounts(&runtimeapi.Mount{HostPath: volume, ContainerPath: "/v", Readonly: true}),
			args:   []string{"write", "/v/other"},
			want:   result{1, "Error", []string{"stderr F write: open /v/other: read-only file system"}},
		},
		"FileAndHosts": {
			change: mounts(
				&runtimeapi.Mount{HostPath: filepath.Join(volume, "file"), ContainerPath: "/etc/hosts"},
				&runtimeapi.Mount{HostPath: filepath.Join(volume, "file"), ContainerPath: "/one/file"},
			),
			args: []string{"cat", "/etc/hosts", "cat", "/one/file", "cat", "/etc/hostname"},
			want: completed("stdout F from the volume", "stdout F from the volume", "stdout F NAME"),
		},
		"Devices": {
			args: []string{"ls", "/dev"},
			want: completed("stdout F fd", "stdout F full", "stdout F null", "stdout F ptmx", "stdout F pts", "stdout F random", "stdout F shm",
				"stdout F stderr", "stdout F stdin", "stdout F stdout", "stdout F tty", "stdout F urandom", "stdout F zero"),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := *w
			w.t = t
			pod, config := w.pod(func(c *runtimeapi.PodSandboxConfig) {
				c.Metadata.Name, c.Hostname = "NAME", "NAME"
				c.LogDirectory = filepath.Join(w.dir, "logs", name)
			})
			before := time.Now().UnixNano()
			id := w.containerIn(pod, config, tc.change, tc.args...)
			st := w.ended(id)
			got := result{st.ExitCode, st.Reason, sorted(w.entries(id))}
			if diff := cmp.Diff(result{tc.want.Code, tc.want.Reason, sorted(tc.want.Log)}, got); diff != "" {
				t.Errorf("container (-want +got):\n%s", diff)
			}
			if st.CreatedAt < before || st.StartedAt < st.CreatedAt || st.FinishedAt < st.StartedAt {
				t.Errorf("times out of order: created %d, started %d, finished %d", st.CreatedAt, st.StartedAt, st.FinishedAt)
			}
			if err := w.r.RemovePodSandbox(t.Context(), pod); err != nil {
				t.Errorf("RemovePodSandbox: %v", err)
			}
		})
	}
}

func TestStartContainerSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		change func(*runtimeapi.ContainerConfig)
		want   string
	}{
		"NoSuchProgram": {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"nope"} }, `exec "nope": executable file not found in PATH`},
		"NoSuchPath":    {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/nope"} }, `exec "/nope": stat /nope: no such file`},
		"NotAProgram":   {func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/etc/passwd"} }, `exec "/etc/passwd": permission denied`},
		"MissingVolume": {func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: "/nope", ContainerPath: "/v"}}
		}, `mount at /v: stat /nope`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod, sandbox := w.pod(nil)
			config := &runtimeapi.ContainerConfig{
				Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "example.test/prog:1"}, LogPath: "c.log",
			}
			tc.change(config)
			id, err := w.r.CreateContainer(t.Context(), pod, config, sandbox)
			if err != nil {
				t.Fatal(err)
			}
			err = w.r.StartContainer(t.Context(), id)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("StartContainer: %v, want it to say %q", err, tc.want)
			}
			st := w.ended(id)
			if st.ExitCode != 128 || st.Reason != "StartError" || !strings.Contains(st.Message, tc.want) {
				t.Errorf("status %d %q %q, want 128, StartError and the reason", st.ExitCode, st.Reason, st.Message)
			}
			if err := w.r.RemovePodSandbox(t.Context(), pod); err != nil {
				t.Errorf("RemovePodSandbox: %v", err)
			}
		})
	}
}

func TestStopContainer(t *testing.T) {
	w := newWorld(t)
	cases := map[string]struct {
		args    []string
		timeout int64
		code    int32
		atMost  time.Duration
	}{
		"AsksFirst":        {args: []string{"graceful"}, timeout: 60, code: 0, atMost: 10 * time.Second},
		"ThenKills":        {args: []string{"stubborn"}, timeout: 1, code: 137, atMost: 10 * time.Second},
		"KillsAtOnce":      {args: []string{"graceful"}, timeout: 0, code: 137, atMost: 10 * time.Second},
		"KillsChildrenToo": {args: []string{"child", "graceful"}, timeout: 0, code: 137, atMost: 10 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			id := w.container(nil, tc.args...)
			w.says(id, "stdout F ready")
			begin := time.Now()
			if err := w.r.StopContainer(t.Context(), id, tc.timeout); err != nil {
				t.Fatalf("StopContainer: %v", err)
			}
			if took := time.Since(begin); took > tc.atMost || took < time.Duration(tc.timeout)*time.Second && tc.code == 137 {
				t.Errorf("it took %v", took)
			}
			if st := w.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != tc.code {
				t.Errorf("state %v, code %d; want exited, %d", st.State, st.ExitCode, tc.code)
			}
			if err := w.r.StopContainer(t.Context(), id, tc.timeout); err != nil {
				t.Errorf("StopContainer again: %v", err)
			}
			if names := programs(t); len(names) > 0 {
				t.Errorf("still running: %v", names)
			}
		})
	}
}

func TestExecSync(t *testing.T) {
	w := newWorld(t)
	id := w.container(func(c *runtimeapi.ContainerConfig) { c.WorkingDir = "/etc" }, "graceful")
	w.says(id, "stdout F ready")
	type result struct {
		Out, Err string
		Code     int
	}
	cases := map[string]struct {
		cmd  []string
		want result
	}{
		"Output":   {[]string{"/testprog", "say", "o", "complain", "e"}, result{Out: "o", Err: "e"}},
		"Code":     {[]string{"/testprog", "exit", "4"}, result{Code: 4}},
		"Rights":   {[]string{"/testprog", "whoami"}, result{Out: "uid=1000 gid=1001 groups=[1001] host=pod1 dir=/etc\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\n"}},
		"SameRoot": {[]string{"/testprog", "cat", "/etc/hostname"}, result{Out: "pod1\n"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			out, errOut, err := w.r.ExecSync(t.Context(), id, tc.cmd, time.Minute)
			got := result{Out: string(out), Err: string(errOut)}
			if _, rest, ok := strings.Cut(got.Out, " "); ok && strings.HasPrefix(got.Out, "pid=") {
				got.Out = rest // any number but 1 will do
			}
			if exit, ok := errors.AsType[utilexec.CodeExitError](err); ok {
				got.Code = exit.Code
			} else if err != nil {
				t.Fatalf("ExecSync: %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("ExecSync(%q) (-want +got):\n%s", tc.cmd, diff)
			}
		})
	}
	t.Run("Timeout", func(t *testing.T) {
		_, _, err := w.r.ExecSync(t.Context(), id, []string{"/testprog", "stubborn"}, 200*time.Millisecond)
		if !errors.Is(err, criclient.ErrCommandTimedOut) {
			t.Errorf("ExecSync: %v, want %v", err, criclient.ErrCommandTimedOut)
		}
		if got := len(programs(t)); got != 1 {
			t.Errorf("%d programs run, want only the container's own", got)
		}
	})
	t.Run("NoSuchProgram", func(t *testing.T) {
		_, _, err := w.r.ExecSync(t.Context(), id, []string{"nope"}, time.Minute)
		if err == nil || !strings.Contains(err.Error(), "not found in PATH") {
			t.Errorf("ExecSync: %v, want it to name the PATH", err)
		}
	})
	t.Run("AfterTheEnd", func(t *testing.T) {
		// Also: a command that could not start has left nothing that keeps the container.
		if err := w.r.StopContainer(t.Context(), id, 0); err != nil {
			t.Fatal(err)
		}
		_, _, err := w.r.ExecSync(t.Context(), id, []string{"/testprog"}, time.Minute)
		if got := status.Code(err); got != codes.FailedPrecondition {
			t.Errorf("ExecSync: %v, want code %v", err, codes.FailedPrecondition)
		}
	})
}

func TestReopenContainerLog(t *testing.T) {
	w := newWorld(t)
	id := w.container(func(c *runtimeapi.ContainerConfig) { c.Stdin = true }, "stdin")
	c, err := w.r.container(id)
	if err != nil {
		t.Fatal(err)
	}
	feed := func(line string) {
		if _, err := c.proc.stdin.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
		w.says(id, "stdout F got "+line)
	}
	feed("one")
	log := w.status(id).LogPath
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := w.r.ReopenContainerLog(t.Context(), id); err != nil {
		t.Fatalf("ReopenContainerLog: %v", err)
	}
	feed("two")
	if diff := cmp.Diff([]string{"stdout F got two"}, w.entries(id)); diff != "" {
		t.Errorf("new log (-want +got):\n%s", diff)
	}
}
