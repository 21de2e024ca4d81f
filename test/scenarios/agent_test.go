//go:build e2e

package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"isthmus.dev/isthmus/test/scenarios/call"
)

// agent is a client that runs at one place and makes one request after the other.
type agent struct {
	mu     sync.Mutex
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	errout bytes.Buffer
}

// startAgent starts a client at a place: wan, a cluster, or CLUSTER/NAMESPACE/DEPLOYMENT.
// A second one at the same place has something after a '#'.
func startAgent(ctx context.Context, where string) (*agent, error) {
	where, _, _ = strings.Cut(where, "#")
	name, args := filepath.Join(root, "bin", "sandbox"), []string{"exec", "wan", "--", filepath.Join(root, "dist", "images", "client", "client")}
	if where != "wan" {
		cluster, pod, custom := strings.Cut(where, "/")
		namespace, deployment := "callers", "client"
		if custom {
			namespace, deployment, _ = strings.Cut(pod, "/")
		}
		name = filepath.Join(root, "bin", "kubectl")
		args = []string{"--kubeconfig", filepath.Join(ownDir(), cluster+".kubeconfig"), "exec", "-i", "-n", namespace, "deploy/" + deployment, "-c", "client", "--", "/client"}
	}
	a := &agent{cmd: exec.CommandContext(ctx, name, args...)}
	a.cmd.Stderr = &a.errout
	a.cmd.WaitDelay = 2 * time.Second
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = json.NewDecoder(out)
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("client at %s: %w", where, err)
	}
	return a, nil
}

// do makes a request.
func (a *agent) do(r call.Request) (call.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var res call.Result
	err := json.NewEncoder(a.in).Encode(r)
	if err == nil {
		err = a.out.Decode(&res)
	}
	if err != nil {
		a.in.Close()
		return res, fmt.Errorf("the client has ended: %w: %w: %s", err, a.cmd.Wait(), a.errout.String())
	}
	return res, nil
}

func (a *agent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.in.Close()
	a.cmd.Wait() //nolint:errcheck // it has nothing more to say
}
