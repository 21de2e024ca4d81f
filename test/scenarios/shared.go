package scenarios

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shared are the resources that all scenarios have in common and that this one applies, as the words "kind name". A scenario that changes them
// has to be alone, and they are put back before and after it, however it ends.
func (s *Scenario) shared() ([]string, error) {
	var all []string
	for _, step := range s.Steps {
		if step.Verb != "apply" || !slices.Contains(step.Where, "tsb") {
			continue
		}
		text := Expand(step.Text, func(key string) (string, error) {
			if v, err := s.fixed(key); err == nil {
				return v, nil
			}
			return "0", nil
		})
		for d := yaml.NewDecoder(strings.NewReader(text.s)); ; {
			var doc struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := d.Decode(&doc); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("step %q: %w", step.Title, err)
			}
			if what := strings.ToLower(doc.Kind) + " " + doc.Metadata.Name; isShared(doc.Kind) && !slices.Contains(all, what) {
				all = append(all, what)
			}
		}
	}
	if len(all) > 0 && !s.Setup.Alone {
		return nil, fmt.Errorf("it changes what all scenarios have in common (%s), and has to say alone: true", strings.Join(all, ", "))
	}
	return all, nil
}

func isShared(kind string) bool {
	return slices.Contains([]string{"Cluster", "Organization", "OrganizationSetting"}, kind)
}

// clusterYAML is a cluster as scenarios find it.
func clusterYAML(name string) string {
	side := "east"
	if name == Clusters[0] {
		side = "west"
	}
	return "apiVersion: api.tsb.tetrate.io/v2\nkind: Cluster\nmetadata: {organization: " + Organization + ", name: " + name + "}\nspec: {labels: {side: " + side + "}}\n"
}
