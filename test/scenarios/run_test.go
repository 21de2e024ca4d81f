//go:build e2e

package scenarios

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"isthmus.dev/isthmus/test/scenarios/call"
)

// TestScenarios runs every file of testdata; -run 'TestScenarios/NAME$' runs one. Those that have to be alone run first,
// one after the other.
func TestScenarios(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scenarios (err %v)", err)
	}
	m := newMint()
	var leaving sync.WaitGroup
	t.Cleanup(leaving.Wait) // for what scenarios still remove while others run
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(path, text)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Setup.Alone {
				t.Parallel()
			}
			r := &runner{Scenario: s, mint: m, unique: strings.ToLower(rand.Text()[:8]), agents: map[string]*agent{}, addresses: map[string]string{}}
			if err := r.run(t, &leaving); err != nil {
				t.Errorf("%s\n%v\n%s", s.Lesson, err, r.describe(context.WithoutCancel(t.Context())))
			}
		})
	}
}

// runner is a scenario that is running.
type runner struct {
	*Scenario
	mint *mint
	// unique is a text that no other run has.
	unique string
	log    func(format string, args ...any)

	agents    map[string]*agent
	addresses map[string]string // of Services, by placeholder
	begun     *background
}

func (r *runner) run(t *testing.T, leaving *sync.WaitGroup) error {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the scenario takes more than five minutes"))
	defer cancel()
	r.log = t.Logf
	defer func() {
		for _, a := range r.agents {
			a.close()
		}
	}()
	if err := r.heal(ctx); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := r.heal(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if err := r.remove(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run left: %w", err)
	}
	if !*keep {
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			leaving.Go(func() {
				if err := r.remove(ctx); err != nil {
					fmt.Fprintf(os.Stderr, "scenarios: %s leaves something behind: %v\n", r.Name, err)
				}
			})
		})
	}
	began := time.Now()
	if err := r.make(ctx); err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	t.Logf("setup: %.1f s", time.Since(began).Seconds())
	for _, s := range r.Steps {
		began := time.Now()
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("step %q: %w", s.Title, err)
		}
		t.Logf("%s: %.1f s", s.Title, time.Since(began).Seconds())
	}
	if r.begun != nil {
		return r.begun.end(r.log)
	}
	return nil
}

// heal puts back what the others need too: clusters that the scenario cuts off, and what it says of clusters and the organization.
func (r *runner) heal(ctx context.Context) error {
	for _, s := range r.Steps {
		for _, c := range Clusters {
			if !strings.Contains(s.Text, "sandbox cut "+c) {
				continue
			}
			if _, err := run(ctx, "", "sandbox", "heal", c); err != nil {
				return fmt.Errorf("heal %s: %w", c, err)
			}
		}
	}
	shared, err := r.shared()
	if err != nil {
		return err
	}
	for _, what := range shared {
		switch kind, name, _ := strings.Cut(what, " "); kind {
		case "cluster":
			_, err = tctl(ctx, clusterYAML(name), "apply", "-f", "-")
		case "organization":
			_, err = tctl(ctx, "apiVersion: api.tsb.tetrate.io/v2\nkind: Organization\nmetadata: {name: "+name+"}\n", "apply", "-f", "-")
		default:
			err = deleted(ctx, kind, name)
		}
		if err != nil {
			return fmt.Errorf("put back %s: %w", what, err)
		}
	}
	return nil
}

func (r *runner) step(ctx context.Context, s Step) error {
	p, err := s.parse(Expand(s.Text, func(key string) (string, error) { return r.value(ctx, key) }))
	if err != nil {
		return err
	}
	switch s.Verb {
	case "apply", "delete":
		return r.apply(ctx, s.Verb, s.Where, p.Text)
	case "run":
		return r.script(ctx, p.Text)
	case "refused":
		return refused(ctx, p.Refused)
	case "requests":
		for i, c := range p.Calls {
			if err := r.request(ctx, c, i == 0); err != nil {
				return fmt.Errorf("request %d, %s: %w", i+1, c.Request, err)
			}
		}
	case "status":
		for i, c := range p.Checks {
			if err := r.status(ctx, c); err != nil {
				return fmt.Errorf("item %d: %w", i+1, err)
			}
		}
	case "begin":
		if r.begun != nil {
			return errors.New("requests have begun already")
		}
		r.begun, err = r.begin(ctx, p.Calls)
		return err
	case "end":
		if r.begun == nil {
			return errors.New("nothing has begun")
		}
		b := r.begun
		r.begun = nil
		return b.end(r.log)
	}
	return nil
}

// apply or delete YAML. tctl takes all of it, kubectl works in the scenario's own namespace.
func (r *runner) apply(ctx context.Context, verb string, where []string, yaml string) error {
	for _, w := range where {
		var err error
		if w == "tsb" {
			_, err = tctl(ctx, yaml, verb, "-f", "-")
		} else {
			_, err = kubectl(ctx, w, yaml, verb, "-n", r.Name, "-f", "-")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// script runs a shell outside of the clusters in which c1 and so on are kubectl in the scenario's namespace.
func (r *runner) script(ctx context.Context, text string) error {
	head := "set -euo pipefail\n"
	for _, c := range Clusters {
		head += c + "() { kubectl --context " + c + " -n " + r.Name + ` "$@"; }` + "\n"
	}
	out, err := outside(ctx, head+text, "bash", "-s")
	if out = strings.TrimSpace(out); out != "" {
		r.log("%s", short(out))
	}
	return err
}

func refused(ctx context.Context, want Refused) error {
	out, err := tctl(ctx, want.YAML, "apply", "-f", "-")
	if err == nil {
		return fmt.Errorf("it was taken: %s", out)
	}
	for _, part := range want.Says {
		if !strings.Contains(err.Error(), part) {
			return fmt.Errorf("the message does not contain %q: %w", part, err)
		}
	}
	return nil
}

// How long an answer may take to become as wanted, when the scenario does not say.
const (
	firstWithin  = 20 * time.Second // what was changed before has to arrive
	otherWithin  = 3 * time.Second  // the workers of one Envoy do not change at the same moment
	statusWithin = 15 * time.Second
)

func (r *runner) request(ctx context.Context, c Call, first bool) error {
	within := otherWithin
	if first {
		within = firstWithin
	}
	if c.Within != nil {
		within = *c.Within
	}
	req, where, err := r.prepare(ctx, c)
	if err != nil {
		return err
	}
	a, err := r.agent(ctx, where)
	if err != nil {
		return err
	}
	if req.Repeat > 1 && within > 0 { // the first one is waited for, then all of them count
		single, one := req, Call{Want: c.Want}
		single.Repeat = 1
		one.Want.Share, one.Want.Counts, one.Want.Distinct = nil, nil, nil
		// What is counted must not be used up by waiting, and the first may be any.
		if len(c.Want.Counts) == 0 {
			if err := r.poll(ctx, a, single, one.Want, within); err != nil {
				return err
			}
		}
		// Different answers come from different places, which do not hear of a change at the same moment, and one answer
		// does not say how the others are shared. Waiting says nothing about the answers that are judged then: they are
		// counted anew, and each of them has to be right.
		if len(c.Want.Distinct)+len(c.Want.Share) > 0 && len(c.Want.Counts) == 0 {
			if err := r.poll(ctx, a, req, Want{Distinct: c.Want.Distinct, Share: c.Want.Share}, within); err != nil {
				return err
			}
		}
		within = 0
	}
	return r.poll(ctx, a, req, c.Want, within)
}

func (r *runner) poll(ctx context.Context, a *agent, req call.Request, want Want, within time.Duration) error {
	return until(ctx, within, func() error {
		res, err := a.do(req)
		if err != nil {
			return err
		}
		return want.judge(res.Answers)
	})
}

// prepare makes of a call what a client understands.
func (r *runner) prepare(ctx context.Context, c Call) (req call.Request, where string, err error) {
	method, target, _ := strings.Cut(c.Request, " ")
	req = call.Request{
		Method: method, URL: strings.TrimSpace(target), Headers: c.Headers, Body: c.Body, HTTP: c.HTTP,
		Session: c.Session, Follow: c.Follow, CookiesOf: c.CookiesOf, CookiesAs: c.CookiesAs,
		Repeat: c.Repeat, Parallel: c.Parallel, Every: c.Every, Timeout: c.Timeout,
		TLS: call.TLS{SNI: c.TLS.SNI, Insecure: c.TLS.Insecure, Min: c.TLS.Min, Max: c.TLS.Max, Ciphers: c.TLS.Ciphers, ALPN: c.TLS.ALPN},
	}
	where = c.From
	if where == "" {
		where = "wan"
	}
	ca, err := r.mint.authority(r.authority(c.TLS.Authority))
	if err != nil {
		return req, "", err
	}
	req.TLS.Authority = string(ca.Cert)
	if c.TLS.Certificate != "" {
		p, err := r.pair(c.TLS.Certificate)
		if err != nil {
			return req, "", err
		}
		req.TLS.Certificate, req.TLS.Key = string(p.Cert), string(p.Key)
	}
	req.To, err = r.target(ctx, c.To, where, req.URL)
	return req, where, err
}

// target is the address to connect to, empty for what the name resolves to.
func (r *runner) target(ctx context.Context, to, where, rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	switch {
	case to == "dns", to == "" && where != "wan":
		return "", nil
	case to == "" && len(r.Setup.Gateways) != 1:
		return "", fmt.Errorf("to: there are %d gateways: say which, or dns", len(r.Setup.Gateways))
	case to == "":
		to = slices.Collect(maps.Keys(r.Setup.Gateways))[0]
	}
	if _, _, err := net.SplitHostPort(to); err == nil && !strings.Contains(to, "/") {
		return to, nil
	}
	address, err := r.value(ctx, "lb:"+to)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "tls": "443"}[u.Scheme]
	}
	return net.JoinHostPort(address, port), nil
}

func (r *runner) agent(ctx context.Context, where string) (*agent, error) {
	if a := r.agents[where]; a != nil {
		return a, nil
	}
	a, err := startAgent(ctx, where)
	if err == nil {
		r.agents[where] = a
	}
	return a, err
}

func (r *runner) status(ctx context.Context, c Check) error {
	within := statusWithin
	if c.Within != nil {
		within = *c.Within
	}
	return until(ctx, within, func() error {
		out, err := r.ask(ctx, c)
		if err != nil {
			return err
		}
		return c.judge(out)
	})
}

func (r *runner) ask(ctx context.Context, c Check) (string, error) {
	if c.Kubectl != "" {
		words := strings.Fields(c.Kubectl)
		return kubectl(ctx, words[0], "", append([]string{"-n", r.Name}, words[1:]...)...)
	}
	words := strings.Fields(c.Tctl)
	args := []string{"status", words[0], words[1], "--org", Organization, "--tenant", Tenant, "-o", "yaml"}
	if !slices.Contains([]string{"cluster", "tenant", "workspace", "organization", "organizationsetting"}, words[0]) {
		args = append(args, "-w", r.Name, "-l", Group)
	}
	return tctl(ctx, "", append(args, words[2:]...)...)
}
