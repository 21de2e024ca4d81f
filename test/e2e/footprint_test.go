//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const megabyte = 1 << 20

// What the product and the two clusters take, after everything that the tests before did to them.
func TestFootprint(t *testing.T) {
	if total := residentAll(t); total > 6*1024*megabyte {
		t.Errorf("the sandbox takes %d MB, want at most 6 GB", total/megabyte)
	} else {
		t.Logf("the sandbox takes %d MB", total/megabyte)
	}
	for name, limit := range map[string]struct {
		processes int
		bytes     int64
	}{
		"isthmus-server":  {1, 100 * megabyte},
		"isthmus-edge":    {2, 40 * megabyte},
		"isthmus-ratelim": {2, 40 * megabyte}, // the kernel cuts names
	} {
		sizes := resident(t, name)
		if len(sizes) != limit.processes {
			t.Errorf("%d processes are called %s, want %d", len(sizes), name, limit.processes)
		}
		for _, size := range sizes {
			t.Logf("%s: %.1f MB", name, float64(size)/megabyte)
			if size > limit.bytes {
				t.Errorf("%s takes %d MB, want at most %d", name, size/megabyte, limit.bytes/megabyte)
			}
		}
	}
}

// resident returns the resident memory in bytes of the sandbox's processes with a name.
func resident(t *testing.T, name string) []int64 {
	t.Helper()
	var sizes []int64
	for _, status := range sandboxProcesses(t) {
		if field(status, "Name") == name {
			sizes = append(sizes, rss(t, status))
		}
	}
	return sizes
}

func residentAll(t *testing.T) (total int64) {
	t.Helper()
	for _, status := range sandboxProcesses(t) {
		total += rss(t, status)
	}
	return total
}

// sandboxProcesses returns /proc/<pid>/status of every process in the sandbox: those that have more than one process
// number, because the sandbox has numbers of its own.
func sandboxProcesses(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		status, err := os.ReadFile(f)
		if err == nil && len(strings.Fields(field(string(status), "NSpid"))) > 1 { // a process may be gone meanwhile
			all = append(all, string(status))
		}
	}
	return all
}

// field is the value of a line of /proc/<pid>/status.
func field(status, name string) string {
	_, rest, _ := strings.Cut("\n"+status, "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

func rss(t *testing.T, status string) int64 {
	t.Helper()
	value := field(status, "VmRSS")
	if value == "" {
		return 0 // a process that is ending
	}
	var kilobytes int64
	if _, err := fmt.Sscanf(value, "%d kB", &kilobytes); err != nil {
		t.Fatalf("VmRSS %q: %v", value, err)
	}
	return kilobytes << 10
}
