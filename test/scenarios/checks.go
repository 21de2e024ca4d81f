package scenarios

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Check is what a command has to print.
type Check struct {
	// Tctl is a kind and a name, whose status is read: "ingressgateway shop". Workspace and group are the scenario's.
	Tctl string
	// Kubectl is a cluster and arguments of kubectl in the scenario's namespace: "c1 get gateways.networking.istio.io gw -o yaml".
	Kubectl string
	// Status of the resource: ACCEPTED, READY, PARTIAL, FAILED, DIRTY.
	Status string
	// Says and Lacks are parts that the output has, and has not.
	Says, Lacks []string
	// Within bounds the time until it holds; 15s when absent.
	Within *time.Duration
}

func (c Check) check() error {
	switch {
	case (c.Tctl == "") == (c.Kubectl == ""):
		return errors.New("it has to have either tctl or kubectl")
	case c.Tctl != "" && len(strings.Fields(c.Tctl)) < 2:
		return fmt.Errorf("tctl: %q is not a kind and a name", c.Tctl)
	case c.Kubectl != "" && len(strings.Fields(c.Kubectl)) < 2:
		return fmt.Errorf("kubectl: %q is not a cluster and arguments", c.Kubectl)
	case c.Status == "" && len(c.Says)+len(c.Lacks) == 0:
		return errors.New("nothing is wanted of the output")
	}
	return nil
}

// judge says what is wrong with what was printed.
func (c Check) judge(out string) error {
	if c.Status != "" {
		var doc struct {
			Spec struct{ Status string }
		}
		if err := yaml.Unmarshal([]byte(out), &doc); err != nil {
			return err
		}
		if doc.Spec.Status != c.Status {
			return fmt.Errorf("the status is %q, want %q:\n%s", doc.Spec.Status, c.Status, out)
		}
	}
	for _, part := range c.Says {
		if !strings.Contains(out, part) {
			return fmt.Errorf("%q is not in:\n%s", part, out)
		}
	}
	for _, part := range c.Lacks {
		if strings.Contains(out, part) {
			return fmt.Errorf("%q is in:\n%s", part, out)
		}
	}
	return nil
}

// Refused is what tctl must not take.
type Refused struct {
	YAML string   `yaml:"yaml"`
	Says []string // parts of the message
}

func (r Refused) check() error {
	if r.YAML == "" || len(r.Says) == 0 {
		return errors.New("it has to have yaml, and what the message says")
	}
	return nil
}
