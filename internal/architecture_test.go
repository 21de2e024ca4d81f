package internal

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "isthmus.dev/isthmus/"

// allowed is the architecture: a package may import itself, what is below it, and what is listed. A package that is not
// listed is a decision that has not been made.
var allowed = map[string]string{
	"internal":           "",
	"internal/version":   "",
	"internal/testkit":   "",
	"internal/cores":     "",
	"internal/wellknown": "",
	"internal/resource":  "api internal/wellknown",
	"internal/store":     "api internal/resource",
	"internal/intent":    "api internal/resource",
	"internal/compile":   "api internal/resource internal/store internal/intent internal/cores internal/wellknown",
	"internal/istio":     "api internal/resource internal/intent internal/cores internal/wellknown",
	"internal/pipeline":  "api internal/resource internal/store internal/intent internal/compile internal/istio",
	"internal/fleet":     "api internal/resource internal/istio internal/wellknown",
	"internal/status":    "api internal/resource internal/store internal/istio",
	"internal/authz":     "api internal/resource",
	"internal/apply":     "",
	"internal/installer": "api/install internal/apply internal/wellknown",
	"internal/edge":      "api/isthmus internal/apply internal/installer internal/version internal/wellknown",
	"internal/ratelimit": "api/envoy internal/version",
	"internal/server":    "api internal/resource internal/store internal/fleet internal/authz internal/status internal/compile internal/istio internal/intent internal/pipeline internal/version internal/wellknown",
	"internal/support":   "",
	"internal/cli":       "api deploy internal/resource internal/store internal/compile internal/istio internal/intent internal/version",
	"cmd/tctl":           "internal/cli",
	"cmd/server":         "internal/server internal/version",
	"cmd/edge":           "internal/edge internal/version",
	"cmd/ratelimit":      "internal/ratelimit",
}

// TestImports holds the table above against the code. The flow is one way: docs/architecture.md.
func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for pkg, imports := range goList(t) {
		room := roomOf(pkg)
		if room == "" {
			if strings.HasPrefix(pkg, "internal") || strings.HasPrefix(pkg, "cmd") {
				t.Errorf("%s is not in the table: say what it may import", pkg)
			}
			continue
		}
		seen[room] = true
		may := append(strings.Fields(allowed[room]), room)
		for _, imp := range imports {
			if !slices.ContainsFunc(may, func(m string) bool { return imp == m || strings.HasPrefix(imp, m+"/") }) {
				t.Errorf("%s imports %s: the table allows only %q", pkg, imp, may)
			}
		}
	}
	for room := range allowed {
		if !seen[room] && room != "internal" {
			t.Errorf("the table has %s, which does not exist", room)
		}
	}
}

// TestEdgeIsSmall keeps out of the edge what it must not carry: it runs in every cluster, in at most 40 MB.
func TestEdgeIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../cmd/edge").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, banned := range []string{"sigs.k8s.io/controller-runtime", "istio.io/api", "buf.build/go/protovalidate", "modernc.org/sqlite", "database/sql\n", module + "internal/compile"} {
		if bytes.Contains(out, []byte("\n"+banned)) {
			t.Errorf("cmd/edge links %s", banned)
		}
	}
}

// roomOf is the longest entry of the table that pkg lies in.
func roomOf(pkg string) string {
	best := ""
	for room := range allowed {
		if (pkg == room || strings.HasPrefix(pkg, room+"/") && room != "internal") && len(room) > len(best) {
			best = room
		}
	}
	return best
}

// goList returns the imports of this module's packages among themselves, tests left out.
func goList(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		var own []string
		for _, imp := range p.Imports {
			if rest, ok := strings.CutPrefix(imp, module); ok {
				own = append(own, rest)
			}
		}
		packages[strings.TrimPrefix(p.ImportPath, module)] = own
	}
}
