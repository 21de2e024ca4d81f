package istio

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

// TestRefusedInIstiosWords holds what is said of Istio's objects when they are applied against what Istio's webhook says: each of its
// errors is there, for the object that it is about. Of objects that cannot be read it says nothing.
func TestRefusedInIstiosWords(t *testing.T) {
	ar, err := txtar.ParseFile(filepath.Join("..", "..", "internal", "resource", "testdata", "habits", "RefuseDirectMode.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	want := string(ar.Files[len(ar.Files)-1].Data)
	found := 0
	for _, f := range ar.Files[:len(ar.Files)-1] {
		for _, doc := range strings.Split(string(f.Data), "\n---\n") {
			raw, err := yaml.YAMLToJSON([]byte(doc))
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			var head struct {
				Kind     string
				Metadata struct{ Name, Namespace string }
			}
			if err := json.Unmarshal(raw, &head); err != nil || head.Metadata.Namespace == "" {
				continue // the form is wrong, and Istio is not asked
			}
			for _, said := range validateOne(object{raw: raw}) {
				words, isError := strings.CutPrefix(said, "error: ")
				if !isError {
					continue
				}
				found++
				prefix := fmt.Sprintf(": %s %s: ", head.Kind, head.Metadata.Name)
				if !hasProblem(want, prefix, words) {
					t.Errorf("%s: %s %s: Istio says %q, and it is taken without that", f.Name, head.Kind, head.Metadata.Name, words)
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("Istio says only %d things of these objects", found)
	}
}

func hasProblem(want, object, words string) bool {
	for line := range strings.SplitSeq(want, "\n") {
		if strings.HasPrefix(line, "problem: ") && strings.Contains(line, object) && strings.HasSuffix(line, ": "+words) {
			return true
		}
	}
	return false
}
