//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// generated lists what Isthmus made in a cluster for hosts and gateways, without the namespace that holds it.
func generated(ctx context.Context, cluster string) (string, error) {
	return tryKubectl(ctx, cluster, "get", "gw,vs,se,dr", "-A", "-l", "app.kubernetes.io/managed-by=isthmus", "--no-headers", "--ignore-not-found", "-o", "name")
}

// The gateway resource is deleted: what was made from it goes everywhere, and until then callers get 200 or 503, never
// a hop in plain text. Then the same with the whole workspace.
func TestDelete(t *testing.T) {
	clients(t)
	within(t, 10*time.Second, "traffic before", answers(captured, "/details/0", "200"))
	restore := func() {
		for _, f := range []string{"mgmt-bookinfo.yaml", "bookinfo-gateways.yaml"} {
			yaml, err := os.ReadFile("../../examples/bookinfo/guide/" + f)
			if err != nil {
				t.Fatal(err)
			}
			tctlApply(t, string(yaml))
		}
		within(t, 15*time.Second, "traffic after the guide is applied again", wholePage)
	}
	for name, remove := range map[string][]string{
		"Gateway":   append([]string{"delete", "ingressgateway", "bookinfo-back-gw"}, scope...),
		"Workspace": {"delete", "workspace", "bookinfo", "--org", "tetrate", "--tenant", "test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(restore)
			tctl(t, remove...)
			within(t, 15*time.Second, "every object is gone in every cluster", func(ctx context.Context) error {
				if _, err := tryKubectl(ctx, front, "get", "se", "-n", "xcp-multicluster", "global-gateway-bookinfo-back-tetrate-com", "-o", "name"); err == nil {
					// The caller's cluster has the entry when it is asked before the call and after it: in between, the hop is a mesh hop.
					status, err := call(ctx, captured, "/details/0")
					_, gone := tryKubectl(ctx, front, "get", "se", "-n", "xcp-multicluster", "global-gateway-bookinfo-back-tetrate-com", "-o", "name")
					if gone == nil && status != "200" && status != "503" {
						t.Errorf("with the ServiceEntry in place a call got %q (%v)", status, err)
					}
				}
				for _, c := range []string{front, back} {
					out, err := generated(ctx, c)
					if err != nil {
						return err
					}
					for obj := range strings.FieldsSeq(out) {
						if strings.Contains(obj, "bookinfo-back") || name == "Workspace" {
							return fmt.Errorf("%s still has %s", c, obj)
						}
					}
				}
				return nil
			})
		})
	}
}
