//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// generated lists what Isthmus made in a cluster for hosts and gateways, without the namespace that holds it.
func generated(ctx context.Context, cluster string) (string, error) {
	return tryKubectl(ctx, cluster, "get", "gw,vs,se,dr", "-A", "-l", "app.kubernetes.io/managed-by=isthmus", "--no-headers", "--ignore-not-found", "-o", "name")
}

// backEntry is the ServiceEntry by which callers reach the back.
const backEntry = "global-gateway-bookinfo-back-tetrate-com"

// The gateway resource is deleted, while a pod of the other cluster calls without a pause: what was made from it goes
// everywhere, and as long as the caller's cluster had the ServiceEntry, calls got 200 or 503 and no hop was in plain text.
// Then the same with the whole workspace.
func TestDelete(t *testing.T) {
	clients(t)
	within(t, 10*time.Second, "traffic before", answers(captured, "/details/0", "200"))
	for name, remove := range map[string][]string{
		"Gateway":   append([]string{"delete", "ingressgateway", "bookinfo-back-gw"}, scope...),
		"Workspace": {"delete", "workspace", "bookinfo", "--org", "tetrate", "--tenant", "test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { applyGuide(t) })
			began, mark := time.Now(), auditEnd(t, front)
			calls := callWithoutPause(t)
			time.Sleep(time.Second) // some calls before the change
			tctl(t, remove...)
			within(t, 15*time.Second, "every object is gone in every cluster", func(ctx context.Context) error {
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
			calls()
			checkHops(t, began, entryDeleted(t, mark))
		})
	}
}

// applyGuide makes again what a test deleted.
func applyGuide(t *testing.T) {
	t.Helper()
	for _, f := range []string{"mgmt-bookinfo.yaml", "bookinfo-gateways.yaml"} {
		yaml, err := os.ReadFile("../../examples/bookinfo/guide/" + f)
		if err != nil {
			t.Fatal(err)
		}
		tctlApply(t, string(yaml))
	}
	within(t, 15*time.Second, "traffic after the guide is applied again", wholePage)
}

// callWithoutPause calls the back from a pod for six seconds; the returned function waits for the end.
func callWithoutPause(t *testing.T) (wait func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := tryKubectl(context.WithoutCancel(t.Context()), front, "exec", "-n", "bookinfo-front", "deploy/"+captured, "-c", "client", "--", "bash", "-c",
			`end=$((SECONDS + 6)); while [ $SECONDS -lt $end ]; do curl -s -o /dev/null --max-time 1 http://`+backHost+`:80/details/0; done; true`)
		done <- err
	}()
	return func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// entryDeleted is when the edge of the caller's cluster deleted the ServiceEntry, by the audit log.
func entryDeleted(t *testing.T, since int64) time.Time {
	t.Helper()
	f, err := os.Open(filepath.Join(stateDir, "clusters", front, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(since, 0); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(f); ; {
		var e struct {
			Verb                     string
			ObjectRef                struct{ Resource, Name string }
			RequestReceivedTimestamp time.Time
		}
		if err := d.Decode(&e); err != nil {
			t.Fatalf("the audit log has no deletion of %s: %v", backEntry, err)
		}
		if e.Verb == "delete" && e.ObjectRef.Resource == "serviceentries" && e.ObjectRef.Name == backEntry {
			return e.RequestReceivedTimestamp
		}
	}
}

// checkHops reads in the log of the caller's sidecar how each call between two moments left it.
func checkHops(t *testing.T, from, to time.Time) {
	t.Helper()
	// Envoy writes its log at most every ten seconds.
	var log string
	within(t, 20*time.Second, "the sidecar's log is written", func(ctx context.Context) error {
		out, err := tryKubectl(ctx, front, "logs", "-n", "bookinfo-front", "deploy/"+captured, "-c", "istio-proxy", "--since-time", from.UTC().Format(time.RFC3339))
		if log = out; err != nil {
			return err
		}
		for _, h := range hops(out) {
			if h.at.After(to) {
				return nil
			}
		}
		return fmt.Errorf("it ends before %v", to)
	})
	checked := 0
	for _, h := range hops(log) {
		if h.at.Before(from) || !h.at.Before(to) {
			continue
		}
		checked++
		if h.status != "200" && h.status != "503" || !strings.Contains(h.line, "cluster=outbound|80||"+backHost+";") {
			t.Errorf("while the ServiceEntry was there a call got or took another way: %s", h.line)
		}
	}
	if t.Logf("%d calls before the ServiceEntry was deleted", checked); checked < 10 {
		t.Errorf("only %d calls were seen, want at least 10 to say something", checked)
	}
}

// hop is a call to the back in a sidecar's log.
type hop struct {
	at     time.Time
	status string
	line   string
}

func hops(log string) (all []hop) {
	for lines := bufio.NewScanner(strings.NewReader(log)); lines.Scan(); {
		line := lines.Text()
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if !ok || err != nil || !strings.Contains(rest, backHost+":80/details/0") && !strings.Contains(rest, backHost+"/details/0") {
			continue
		}
		_, after, _ := strings.Cut(rest, `HTTP/1.1" `)
		status, _, _ := strings.Cut(after, " ")
		all = append(all, hop{at, status, line})
	}
	return all
}
