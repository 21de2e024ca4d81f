package istio

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// allowance is something that Istio says of a golden although the golden is right.
type allowance struct {
	// Test is the part that says it: validation or analysis.
	Test string `json:"test"`
	// Says is what its words contain.
	Says string `json:"says"`
	// Why it is right nevertheless.
	Why string `json:"why"`
}

type allowances []allowance

// readAllowed reads what may be said, by golden.
func readAllowed(t *testing.T, path string) map[string]allowances {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]allowances{}
	if err := yaml.UnmarshalStrict(data, &out); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for name, list := range out {
		for _, a := range list {
			if a.Test == "" || a.Says == "" || a.Why == "" {
				t.Errorf("%s: %s: test, says and why are all needed, and this is %+v", path, name, a)
			}
		}
	}
	return out
}

// everywhere is the name under which readAllowed finds what may be said of every golden.
const everywhere = "every golden"

// without leaves out what is allowed everywhere.
func (a allowances) without(test string, said []string) []string {
	return slices.DeleteFunc(said, func(s string) bool {
		return slices.ContainsFunc(a, func(x allowance) bool { return x.Test == test && strings.Contains(s, x.Says) })
	})
}

// compare complains about what was said and is not allowed, and about what is allowed and was not said.
func (a allowances) compare(t *testing.T, test string, said []string) {
	t.Helper()
	used := make([]bool, len(a))
	for _, s := range said {
		i := slices.IndexFunc(a, func(x allowance) bool { return x.Test == test && strings.Contains(s, x.Says) })
		if i < 0 {
			t.Error(s)
			continue
		}
		used[i] = true
	}
	for i, x := range a {
		if x.Test == test && !used[i] {
			t.Error(fmt.Sprintf("testdata/allowed.yaml allows %q, and nobody says it any more", x.Says))
		}
	}
}
