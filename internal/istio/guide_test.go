package istio_test

import (
	"os"
	"strings"
	"testing"
)

// TestGuideGolden holds the golden's input against the guide's own files, byte for byte.
func TestGuideGolden(t *testing.T) {
	golden, err := os.ReadFile("testdata/golden/guide.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mgmt-bookinfo.yaml", "bookinfo-gateways.yaml"} {
		text, err := os.ReadFile("../../examples/bookinfo/guide/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(golden), "\n"+strings.TrimRight(string(text), "\n")+"\n") {
			t.Errorf("%s is not in the golden as it is", name)
		}
	}
}
