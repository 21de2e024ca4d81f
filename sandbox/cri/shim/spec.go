// Package shim is the last step before a container's program runs: a small
// process that builds the container's root, gives up its rights and executes
// the program, or that joins a running container and executes one there.
//
// It is a program of its own because it has to be single-minded about threads
// and because it starts in milliseconds, which a kubelet does not: a probe that
// runs a command runs it once in a few seconds per container.
//
// A shim reads its Spec as JSON from descriptor 3 and answers on descriptor 4:
// one line of text when something went wrong, nothing and end of file when the
// program has been executed.
package shim

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// The ways to start a shim, its first argument.
const (
	// Run makes a container: the shim is process 1 of new PID, mount, UTS and
	// IPC namespaces. Descriptor 5, when there, is the network namespace.
	Run = "run"
	// Exec joins the container whose first process descriptor 5 (a pidfd)
	// names, and waits for the program.
	Exec = "exec"
	// become is the second half of Exec, inside the container.
	become = "become"
)

// The descriptors that a shim is started with.
const (
	specFD   = 3
	answerFD = 4
	spaceFD  = 5 // Run: network namespace; Exec: pidfd; become: nothing
)

// Spec says what to execute and how.
type Spec struct {
	Process Process
	Root    *Root // Run only
}

// Process is the program and its rights.
type Process struct {
	Args []string // Args[0] is looked up in the container's PATH
	Env  []string
	Dir  string // made when it is missing

	UID, GID   uint32
	Groups     []uint32
	Caps       []int // the bounding set; also the permitted set of user 0
	NoNewPrivs bool
	Terminal   bool // descriptor 0 becomes the controlling terminal
}

// Root is the file system of a container. Paths are the host's unless said
// otherwise.
type Root struct {
	Lower    string // the image's files, never written
	Upper    string // what the container writes
	Work     string // overlayfs's own, beside Upper
	Target   string // an empty directory to put it together on
	Hostname string
	ReadOnly bool
	Network  bool // descriptor 5 is a network namespace to join
	// Privileged leaves /proc/sys writable.
	Privileged bool
	Mounts     []Mount // in this order
}

// Mount puts a file or directory of the host into a container.
type Mount struct {
	Source   string
	Over     string // a directory of the host whose files hide those of Source; makes it read-only
	Target   string // path in the container
	ReadOnly bool
	Optional bool // skipped when Source does not exist
}

// readSpec reads the Spec from its descriptor and closes it.
func readSpec() (Spec, error) {
	f := os.NewFile(specFD, "spec")
	defer f.Close()
	var s Spec
	data, err := io.ReadAll(f)
	if err != nil {
		return s, fmt.Errorf("read spec: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read spec: %w", err)
	}
	if len(s.Process.Args) == 0 {
		return s, fmt.Errorf("no command: neither the pod nor the image names one")
	}
	return s, nil
}
