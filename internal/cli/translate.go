package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/internal/compile"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
)

// translation is what "tctl x translate" was asked for.
type translation struct {
	files    []string
	clusters []string
	observed string
	output   string
}

func newTranslate(e *env) *cobra.Command {
	var t translation
	cmd := &cobra.Command{
		Use:   "translate -f FILE|DIR|- [--cluster NAME]… [--observed FILE]",
		Short: "Show the Istio objects that files lead to, without a server",
		Long: `Show, for each cluster, the objects that Isthmus would apply, and on standard error what it has to say
about each resource. Nothing is sent anywhere.

Without --observed nothing is known of the clusters: every namespace may exist, and no gateway has an address. With it,
a file says what the edges would report: one document per cluster with the lists namespaces, services, workloads, secrets
and nodes. The exit code is 1 when a resource has a problem.`,
		Example: `  tctl x translate -f bookinfo.yaml --cluster c1
  tctl x translate -f config/ --observed clusters.yaml -o json`,
		Args: exactly(0, "only flags"),
	}
	files := fileFlag(cmd)
	cmd.Flags().StringArrayVar(&t.clusters, "cluster", nil, "cluster to show; may be repeated; without it all that are observed or in the files")
	cmd.Flags().StringVar(&t.observed, "observed", "", "file that says what is known of the clusters")
	output := choiceFlag(cmd, "output", "o", "", "yaml", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		t.files, t.output = *files, *output
		return e.translate(t)
	}
	return cmd
}

func (e *env) translate(t translation) error {
	if len(t.files) == 0 {
		return &usageError{errors.New("-f says which file, directory or - for standard input")}
	}
	resources, err := e.readResources(t.files)
	if err != nil {
		return err
	}
	input := offline.Input{Resources: resources, Clusters: t.clusters}
	if t.observed != "" {
		data, err := os.ReadFile(t.observed)
		if err != nil {
			return err
		}
		if input.Observed, err = offline.ParseObserved(t.observed, data); err != nil {
			return err
		}
	}
	result := compile.New().RunAll(offline.Snapshot(input))
	renderer := istio.New()
	renderer.Apply(result.Delta)
	if err := e.printBundles(renderer, t); err != nil {
		return err
	}
	return e.printConditions(resources, result.Conditions, len(renderer.Clusters()))
}

// readResources reads files, tells all problems, and notes what is left to other tools.
func (e *env) readResources(names []string) ([]*resource.Resource, error) {
	files, err := e.collectFiles(names)
	if err != nil {
		return nil, err
	}
	decoded, problems := resource.Decode(files)
	for _, p := range problems {
		fmt.Fprintln(e.stderr, p)
	}
	if len(problems) > 0 {
		fmt.Fprintf(e.stderr, "tctl: %s\n", count(len(problems), "problem"))
		return nil, errSaid
	}
	var resources []*resource.Resource
	for _, d := range decoded {
		for _, w := range d.Warnings {
			fmt.Fprintln(e.stderr, "warning:", w)
		}
		if d.Resource == nil {
			fmt.Fprintln(e.stderr, "note:", d.Refusal())
			continue
		}
		resources = append(resources, d.Resource)
	}
	return resources, nil
}

// printBundles shows the objects of the clusters in the order in which they are applied.
func (e *env) printBundles(r *istio.Renderer, t translation) error {
	show := t.clusters
	if len(show) == 0 {
		show = r.Clusters()
	}
	out := result{list: true}
	for _, name := range show {
		bundle := r.Bundle(name)
		if bundle == nil {
			continue
		}
		if t.output == "yaml" {
			if _, err := fmt.Fprintf(e.stdout, "# cluster %s\n", name); err != nil {
				return err
			}
			out.docs = nil
		}
		for _, o := range bundle.Sorted() {
			var doc map[string]any
			if err := json.Unmarshal(o.JSON, &doc); err != nil {
				return fmt.Errorf("object %s: %w", o.ID, err)
			}
			if t.output == "json" {
				doc = map[string]any{"cluster": name, "object": doc}
			}
			out.docs = append(out.docs, doc)
		}
		if t.output == "yaml" {
			if err := writeYAML(e.stdout, out.docs); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(e.stdout, "---"); err != nil {
				return err
			}
		}
	}
	if t.output == "json" {
		return writeJSON(e.stdout, out)
	}
	return nil
}

// printConditions says what there is to say about the resources of the files.
func (e *env) printConditions(resources []*resource.Resource, conditions map[resource.FQN][]resource.Condition, clusters int) error {
	given := map[resource.FQN]*resource.Resource{}
	for _, r := range resources {
		given[r.FQN] = r
	}
	problems := 0
	for _, fqn := range slices.Sorted(maps.Keys(given)) {
		fmt.Fprintf(e.stderr, "%s %s\n", given[fqn].Kind.Name, fqn)
		for _, c := range conditions[fqn] {
			if !c.OK {
				problems++
			}
			fmt.Fprintln(e.stderr, "  "+describeCondition(c))
		}
	}
	if clusters == 0 {
		fmt.Fprintln(e.stderr, "tctl: no cluster is known: name one with --cluster, or describe some with --observed")
		return errSaid
	}
	if problems > 0 {
		fmt.Fprintf(e.stderr, "tctl: %s\n", count(problems, "problem"))
		return errSaid
	}
	return nil
}

// describeCondition is a condition in one line.
func describeCondition(c resource.Condition) string {
	var where []string
	if c.Cluster != "" {
		where = append(where, "cluster "+c.Cluster)
	}
	if c.Field != "" {
		where = append(where, c.Field)
	}
	at := ""
	if len(where) > 0 {
		at = " (" + strings.Join(where, ", ") + ")"
	}
	return fmt.Sprintf("%s=%t %s%s: %s", c.Type, c.OK, c.Reason, at, c.Message)
}
