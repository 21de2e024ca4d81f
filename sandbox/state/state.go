// Package state says where a running sandbox keeps its files, and what it
// writes down for the commands that come later.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"isthmus.dev/sandbox/plan"
)

// Dir is a sandbox's state directory.
type Dir string

// Default is where the one sandbox of a machine lives.
const Default = Dir("/run/isthmus-sandbox")

// Path joins elements to the directory.
func (d Dir) Path(elem ...string) string {
	return filepath.Join(append([]string{string(d)}, elem...)...)
}

// The places in a state directory.
func (d Dir) File() string                   { return d.Path("sandbox.json") }
func (d Dir) Socket() string                 { return d.Path("control.sock") }
func (d Dir) Logs() string                   { return d.Path("logs") }
func (d Dir) Images() string                 { return d.Path("images") }
func (d Dir) NetNS() string                  { return d.Path("netns") }
func (d Dir) Trust() string                  { return d.Path("trust", "ca-certificates.crt") }
func (d Dir) ResolvConf() string             { return d.Path("resolv.conf") }
func (d Dir) Cluster(c string) string        { return d.Path("clusters", c) }
func (d Dir) Kubeconfig(c string) string     { return d.Path("clusters", c, "admin.kubeconfig") }
func (d Dir) HostKubeconfig(c string) string { return d.Path("clusters", c, "host.kubeconfig") }
func (d Dir) AuditLog(c string) string       { return d.Path("clusters", c, "audit.log") }

// Lock is held by every living sandbox; it lies beside the directory because
// the directory goes away.
func (d Dir) Lock() string { return string(d) + ".lock" }

// Sandbox is what "up" writes down.
type Sandbox struct {
	PID     int       `json:"pid"`   // of the sandbox's init, as the machine sees it
	Birth   string    `json:"birth"` // start time of that process, so that a recycled number is not mistaken for it
	Started time.Time `json:"started"`
	Path    string    `json:"path"` // directories of its programs, as in PATH
	Plan    plan.Plan `json:"plan"`
}

// ErrNone means that there is no sandbox.
var ErrNone = errors.New("no sandbox is running (start one with: sandbox up)")

// Load reads what "up" wrote; ErrNone if its process is gone.
func (d Dir) Load() (Sandbox, error) {
	b, err := os.ReadFile(d.File())
	if errors.Is(err, os.ErrNotExist) {
		return Sandbox{}, ErrNone
	}
	if err != nil {
		return Sandbox{}, err
	}
	var s Sandbox
	if err := json.Unmarshal(b, &s); err != nil {
		return Sandbox{}, fmt.Errorf("%s: %w", d.File(), err)
	}
	// Inside the sandbox its init has number 1; the time of its birth is the
	// same everywhere.
	for _, pid := range []int{s.PID, 1} {
		if birth, err := Birth(pid); err == nil && birth == s.Birth {
			s.PID = pid
			return s, nil
		}
	}
	return s, ErrNone
}

// Inside reports whether the sandbox was loaded by a process that is in it.
func (s Sandbox) Inside() bool { return s.PID == 1 }

// Save writes s.
func (d Dir) Save(s Sandbox) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := d.File() + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, d.File())
}

// Birth is when a process started, in the kernel's ticks since boot. A zombie
// counts as gone.
func Birth(pid int) (string, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return fields[19], nil
}
