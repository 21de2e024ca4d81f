package support

import (
	"fmt"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

const featuresPath = "docs/guide/gateway-features.md"

// features are the scenarios that show one thing that a gateway does, in the order in which people ask for them.
var features = []struct {
	Title     string
	Scenarios []string
}{
	{"Hosts and routes", []string{"hosts", "match", "modify", "answers", "cors"}},
	{"TLS and TCP", []string{"tls-versions", "tls-mutual", "passthrough", "tcp"}},
	{"Who gets in", []string{"jwt-hosts", "jwt-tokens", "access-rules", "external"}},
	{"How often", []string{"limits-local", "limits-settings", "limits-external"}},
	{"Extensions", []string{"wasm"}},
	{"In front of clusters", []string{"tier1", "tier1-split", "unified"}},
}

// examples are placeholders of scenarios as a reader would fill them in.
var examples = strings.NewReplacer(
	"${group}", "organization: tetrate, tenant: test, workspace: shop, group: gw",
	"${workspace}", "organization: tetrate, tenant: test, workspace: shop",
	"${ns}", "shop", "${domain}", "example.com",
)

// TestFeatures holds the page of examples against the scenarios that it is made of.
func TestFeatures(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What a gateway does, by example

Each example is what a test applies, and the requests that it then makes through real gateways on three clusters, with what has to come back
([how to read them](../../test/scenarios/README.md#requests)). The page is made from the tests by ` + "`go test ./internal/support -update`" + `; names of the tests' own are replaced,
and ` + "`${…}`" + ` stands for what is made for a run: keys, tokens, addresses. [What works](../reference/support.md) has every field.
`)
	for _, f := range features {
		fmt.Fprintf(&b, "\n## %s\n", f.Title)
		for _, name := range f.Scenarios {
			example(t, &b, name)
		}
	}
	if *update {
		if err := os.WriteFile(root+featuresPath, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(read(t, featuresPath), b.String()); diff != "" {
		t.Errorf("%s is not what the scenarios say; go test ./internal/support -update accepts it (-page +scenarios):\n%s", featuresPath, diff)
	}
}

// example writes what a scenario says, applies to the management plane, and asks.
func example(t *testing.T, b *strings.Builder, name string) {
	t.Helper()
	path := "test/scenarios/testdata/" + name + ".txtar"
	ar := txtar.Parse([]byte(read(t, path)))
	fmt.Fprintf(b, "\n### %s\n\n%s\n", name, strings.TrimSpace(string(ar.Comment)))
	shown := false
	for _, f := range ar.Files {
		verb, title, _ := strings.Cut(f.Name, ":")
		switch strings.TrimSpace(verb) {
		case "apply tsb":
			shown = true
		case "requests":
			fmt.Fprintf(b, "\n%s:\n", strings.TrimSuffix("Requests, "+strings.TrimSpace(title), ", "))
		default:
			continue
		}
		fmt.Fprintf(b, "\n```yaml\n%s```\n", examples.Replace(string(f.Data)))
	}
	if !shown {
		t.Errorf("%s applies nothing that could be an example", path)
	}
	fmt.Fprintf(b, "\nThe whole test: [%s](../../%s).\n", name, path)
}
