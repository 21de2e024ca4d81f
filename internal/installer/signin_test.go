package installer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// All files are there from the start, each with another word, and Envoy would find in each the secret that it asks for.
func TestNewSignIn(t *testing.T) {
	u := NewSignIn("front")
	if u.GetName() != "isthmus-sign-in" || u.GetNamespace() != "front" || u.GetLabels()[labelManagedBy] != managedBy {
		t.Errorf("metadata: %v", u.Object["metadata"])
	}
	data, _, err := unstructured.NestedStringMap(u.Object, "data")
	if err != nil || len(data) != 2*SignInClients {
		t.Fatalf("%d files (err %v), want %d", len(data), err, 2*SignInClients)
	}
	words := map[string]bool{}
	for i := range SignInClients {
		for _, what := range []string{"secret", "cookies"} {
			name := fmt.Sprintf("client-%d-%s", i, what)
			text, err := base64.StdEncoding.DecodeString(data[name+".json"])
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				Resources []struct {
					Name    string
					Generic struct{ Secret map[string]string } `json:"generic_secret"`
				}
			}
			if err := json.Unmarshal(text, &file); err != nil || len(file.Resources) != 1 || file.Resources[0].Name != name {
				t.Fatalf("%s (err %v): %s", name, err, text)
			}
			for _, word := range file.Resources[0].Generic.Secret {
				if len(word) < 20 || words[word] {
					t.Errorf("%s: the word %q is short, or that of another file", name, word)
				}
				words[word] = true
			}
		}
	}
}
