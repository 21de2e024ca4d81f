//go:build e2e

package scenarios

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"isthmus.dev/isthmus/test/scenarios/call"
	"isthmus.dev/isthmus/test/scenarios/storm"
)

const (
	stormEdits = 200              // what a run of all tests has time for; STORM_EDITS=1000 is a whole one
	stormRate  = 200              // requests per second, all callers together
	stormLate  = 30 * time.Second // two edges that stall, one after the other
	// stallTime is how long an edge does nothing: longer than what is not wanted any more stays, shorter than what others wait for it.
	stallTime = 8 * time.Second
	// stormSeed of the changes; another one is in the environment as STORM_SEED.
	stormSeed = 1
)

// TestStorm changes a configuration at random while it is called from outside, through a gateway in front of two clusters,
// and from within the mesh. Every answer says which version of the configuration it is of and who gave it: it has to be the old
// or the new one, never a mixture of both, an error, or one that was asked for in plain text.
//
// STORM_EDITS and STORM_SEED say how many changes and which, STORM_ONLY of which kinds (storm.Kinds). STORM_WITHOUT names rules of the order of changes that are switched off
// (docs/design/changes.md); then the test has to fail.
func TestStorm(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	if err := switchOff(ctx, os.Getenv("STORM_WITHOUT")); err != nil {
		t.Fatal(err)
	}
	s := newStorm(t)
	var leaving sync.WaitGroup
	t.Cleanup(leaving.Wait)
	t.Cleanup(func() {
		for _, a := range s.agents {
			a.close()
		}
		leaving.Go(func() {
			if err := s.remove(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
	})
	if err := errors.Join(s.remove(ctx), s.runner.make(ctx)); err != nil {
		t.Fatal(err)
	}
	if err := s.begin(ctx); err != nil {
		t.Fatalf("%v\n%s", err, s.describe(ctx))
	}
	began := time.Now()
	callCtx, stop := context.WithCancel(ctx)
	var callers sync.WaitGroup
	s.call(callCtx, &callers)
	err := s.edit(ctx, number("STORM_EDITS", stormEdits))
	took := time.Since(began)
	s.stalls.Wait()
	time.Sleep(3 * time.Second) // what the last change broke shows
	stop()
	callers.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%d changes in %.0f s (%.1f a second), %d answers (%.0f a second), %d wrong; the old configuration answered for %.1f s at the most, 99 of 100 times for less than %.1f s; changes: %v",
		s.made, took.Seconds(), float64(s.made)/took.Seconds(), s.answers, float64(s.answers)/took.Seconds(), len(s.wrong), s.history.Lag(1).Seconds(), s.history.Lag(0.99).Seconds(), s.kinds)
	if err != nil {
		t.Errorf("%v", err)
	}
	if s.answers < int(took.Seconds())*stormRate/2 {
		t.Errorf("only %d answers came in %v: the requests were not made", s.answers, took)
	}
	for _, w := range s.wrong[:min(len(s.wrong), 20)] {
		t.Error(w)
	}
	if t.Failed() {
		t.Log(s.describe(context.WithoutCancel(ctx)), s.refusals(context.WithoutCancel(ctx)))
	}
}

// refusals are the errors that the gateways answered with, as their proxies logged them.
func (s *tempest) refusals(ctx context.Context) string {
	var b strings.Builder
	for _, c := range append([]string{storm.FrontCluster}, storm.Backends...) {
		out, err := kubectl(ctx, c, "", "logs", "-n", s.Name, "-l", "isthmus.dev/gateway", "--tail=-1", "--prefix")
		if err != nil {
			return err.Error()
		}
		for line := range strings.Lines(out) {
			if refusal.MatchString(line) {
				fmt.Fprintf(&b, "%s %s", c, line)
			}
		}
	}
	return b.String()
}

// refusal is a line of an access log: a status after the quoted request.
var refusal = regexp.MustCompile(`HTTP/[0-9.]+" [45][0-9]{2} `)

func number(variable string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(variable), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// tempest is a storm that is going on.
type tempest struct {
	*runner
	world   *storm.World
	history *storm.History
	up      chan string // gateways that are there again
	goes    chan bool   // the edge that was stalled goes on
	failed  chan error
	stalls  sync.WaitGroup

	mu      sync.Mutex
	answers int
	made    uint64
	kinds   map[string]int
	wrong   []error
}

func newStorm(t *testing.T) *tempest {
	const ns = "storm"
	gateways, apps := map[string]Gateway{storm.FrontCluster + "/" + storm.Front: {}}, map[string]App{}
	for _, c := range storm.Backends {
		for _, g := range storm.Gateways {
			gateways[c+"/"+g] = Gateway{}
		}
		for _, a := range storm.Apps {
			apps[c+"/"+a] = App{}
		}
	}
	world := storm.New(number("STORM_SEED", stormSeed), 3, Organization, Tenant, ns, ns, ns+".test")
	for only := range strings.FieldsFuncSeq(os.Getenv("STORM_ONLY"), func(r rune) bool { return r == ',' }) {
		if !slices.Contains(storm.Kinds(), only) {
			t.Fatalf("STORM_ONLY: %q is none of %v", only, storm.Kinds())
		}
		world.Only = append(world.Only, only)
	}
	s := &Scenario{Name: ns, Setup: Setup{Gateways: gateways, Apps: apps, NoWorkspace: true, Certificates: map[string]Certificate{
		storm.Secret: {Names: world.Hosts(), In: []string{storm.FrontCluster}},
	}}}
	return &tempest{
		runner: &runner{Scenario: s, mint: newMint(), log: t.Logf, agents: map[string]*agent{}, addresses: map[string]string{}},
		world:  world, history: &storm.History{Late: stormLate}, kinds: map[string]int{}, up: make(chan string, 1), goes: make(chan bool, 1), failed: make(chan error, 2),
	}
}

// begin makes the first configuration, and waits until every host answers everywhere.
func (s *tempest) begin(ctx context.Context) error {
	yaml := fmt.Sprintf("apiVersion: api.tsb.tetrate.io/v2\nkind: Workspace\nmetadata: {organization: %s, tenant: %s, name: %s}\nspec: {namespaceSelector: {names: [\"*/%s\"]}}\n", Organization, Tenant, s.Name, s.Name)
	for _, c := range append([]string{storm.FrontCluster}, storm.Backends...) {
		yaml += fmt.Sprintf("---\napiVersion: gateway.tsb.tetrate.io/v2\nkind: Group\nmetadata: {organization: %s, tenant: %s, workspace: %s, name: %s}\nspec: {namespaceSelector: {names: [\"%s/%s\"]}}\n", Organization, Tenant, s.Name, c, c, s.Name)
	}
	if _, err := tctl(ctx, yaml, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, step := range s.world.Begin().Steps {
		if err := s.step(ctx, step); err != nil {
			return err
		}
	}
	for _, c := range s.callers() {
		req, err := s.request(ctx, c, storm.Paths[0])
		if err != nil {
			return err
		}
		a, err := s.agent(ctx, c.where+"#"+c.name)
		if err != nil {
			return err
		}
		if err := until(ctx, 30*time.Second, func() error {
			res, err := a.do(call.Request{Method: req.Method, URL: req.URL, To: req.To, TLS: req.TLS})
			if err != nil {
				return err
			}
			return s.history.Judge(answer(c, storm.Paths[0], res.Answers[0]))
		}); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// caller makes requests for one host from one place.
type caller struct {
	name, where, scheme, host string
}

func (s *tempest) callers() []caller {
	var all []caller
	for _, h := range s.world.Hosts() {
		all = append(all,
			caller{"outside, HTTP, " + h, "wan", "http", h}, caller{"outside, HTTPS, " + h, "wan", "https", h},
			caller{"c1, " + h, "c1", "http", h}, caller{"c2, " + h, "c2", "http", h})
	}
	return all
}

// request is that of a second.
func (s *tempest) request(ctx context.Context, c caller, path string) (call.Request, error) {
	n := stormRate / len(s.callers())
	r := call.Request{Method: "GET", URL: c.scheme + "://" + c.host + path, Repeat: n, Parallel: n, Every: time.Second / time.Duration(n)}
	if c.where != "wan" {
		return r, nil
	}
	public, err := s.mint.authority(public)
	if err != nil {
		return r, err
	}
	r.TLS.Authority = string(public.Cert)
	r.To, err = s.target(ctx, storm.FrontCluster+"/"+storm.Front, c.where, r.URL)
	return r, err
}

// call makes requests from all callers until ctx ends.
func (s *tempest) call(ctx context.Context, callers *sync.WaitGroup) {
	for _, c := range s.callers() {
		a := s.agents[c.where+"#"+c.name]
		callers.Go(func() {
			for ctx.Err() == nil {
				path := storm.Paths[rand.IntN(len(storm.Paths))] //nolint:gosec // anything will do
				req, err := s.request(ctx, c, path)
				var res call.Result
				if err == nil {
					res, err = a.do(req)
				}
				if err != nil {
					s.note(0, err)
					return
				}
				for _, got := range res.Answers {
					if err := s.history.Judge(answer(c, path, got)); err != nil {
						s.note(0, fmt.Errorf("%s %s, asked at %s, answered after %v: %w", c.name, path, got.Asked.Format("15:04:05.000"), got.Took.Round(time.Millisecond), err))
					}
				}
				s.note(len(res.Answers), nil)
			}
		})
	}
}

func (s *tempest) note(answers int, wrong error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers += answers
	if wrong != nil {
		s.wrong = append(s.wrong, wrong)
	}
}

// answer is what one means for the history.
func answer(c caller, path string, got call.Answer) storm.Answer {
	var body struct {
		App, Cluster string
		Headers      map[string]string
	}
	_ = json.Unmarshal([]byte(got.Body), &body) // nothing is known of who answered then, which is wrong
	version, _ := strconv.Atoi(got.Headers.Get("x-config"))
	return storm.Answer{
		Host: c.host, Path: path, Front: c.where == "wan", Asked: got.Asked, Answered: got.Asked.Add(got.Took), Error: got.Error, Status: got.Status, Body: got.Body,
		Version: version, App: body.App, Cluster: body.Cluster, Peer: body.Headers["x-forwarded-client-cert"],
	}
}

// edit makes changes, one after the other.
func (s *tempest) edit(ctx context.Context, n uint64) error {
	for range n {
		select {
		case g := <-s.up:
			s.world.Up(g)
		case <-s.goes:
			s.world.Goes()
		case err := <-s.failed:
			return err
		default:
		}
		e := s.world.Next()
		for _, step := range e.Steps {
			if err := s.step(ctx, step); err != nil {
				return fmt.Errorf("%s: %w", e.What, err)
			}
		}
		what := strings.Fields(e.What)[0]
		s.mu.Lock()
		s.made++
		s.kinds[what]++
		s.mu.Unlock()
		if os.Getenv("STORM_LOG") != "" {
			s.log("%s %s", time.Now().Format("15:04:05.000"), e.What)
		}
	}
	return nil
}

func (s *tempest) step(ctx context.Context, step storm.Step) error {
	s.history.Started(step, time.Now())
	var err error
	switch {
	case step.Apply != "":
		_, err = tctl(ctx, step.Apply, "apply", "-f", "-")
	case step.Delete != nil:
		_, err = tctl(ctx, "", append(append([]string{"delete"}, step.Delete...), "--org", Organization, "--tenant", Tenant, "-w", s.Name)...)
	case step.Certificate:
		err = s.certificate(ctx)
	case step.Recreate != "":
		go s.recreate(ctx, step.Recreate)
	case step.Stall != "":
		s.stalls.Go(func() { s.stall(context.WithoutCancel(ctx), step.Stall) })
	}
	s.history.Done(step, time.Now())
	return err
}

// certificate gives the gateway in front another certificate of the same authority.
func (s *tempest) certificate(ctx context.Context) error {
	s.mu.Lock()
	name := fmt.Sprintf("%s-%d", storm.Secret, s.kinds["certificate"])
	s.mu.Unlock()
	s.Setup.Certificates = map[string]Certificate{name: {Names: s.world.Hosts(), In: []string{storm.FrontCluster}}}
	objects, err := s.secrets(storm.FrontCluster)
	if err != nil {
		return err
	}
	objects[0].(object)["metadata"].(object)["name"] = storm.Secret
	text, err := json.Marshal(objects[0])
	if err == nil {
		_, err = kubectl(ctx, storm.FrontCluster, string(text), "apply", "-f", "-")
	}
	return err
}

// recreate deletes an installed gateway, and makes it again as soon as the API server takes it.
func (s *tempest) recreate(ctx context.Context, gateway string) {
	p, err := parsePlace(gateway, s.Name)
	var text []byte
	if err == nil {
		text, err = json.Marshal(gatewayObject(p, Gateway{}))
	}
	kube := func(stdin string, args ...string) {
		if err == nil {
			_, err = kubectl(ctx, p.Cluster, stdin, args...)
		}
	}
	kube("", "delete", "-n", p.Namespace, "ingressgateways.install.tetrate.io/"+p.Name, "--timeout=60s")
	kube(string(text), "apply", "-f", "-")
	kube("", "wait", "-n", p.Namespace, "ingressgateways.install.tetrate.io/"+p.Name, "--for=condition=Ready", "--timeout=90s")
	if err != nil {
		s.failed <- err
		return
	}
	s.up <- gateway
}

// stall stops the edge of a cluster for a while: it hears nothing and does nothing, and nobody can tell.
func (s *tempest) stall(ctx context.Context, cluster string) {
	signal := func(name string) error {
		_, err := run(ctx, "", "sandbox", "exec", "core", "--", "pkill", name, "-f", "^/isthmus-edge .*/clusters/"+cluster+" ")
		return err
	}
	if os.Getenv("STORM_LOG") != "" {
		s.log("%s the edge of %s stops for %v", time.Now().Format("15:04:05.000"), cluster, stallTime)
	}
	err := signal("-STOP")
	if err == nil {
		time.Sleep(stallTime)
		err = signal("-CONT")
	}
	if err != nil {
		s.failed <- err
		return
	}
	s.goes <- true
}

// switchOff leaves rules of the order of changes out, on the server and all edges; nothing is all rules.
func switchOff(ctx context.Context, rules string) error {
	all := append(slices.Clone(Clusters), "server")
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, where := range all {
		wg.Go(func() {
			cluster, ns, name := where, "istio-system", "deploy/edge"
			if where == "server" {
				cluster, ns, name = Clusters[0], "tsb", "deploy/server"
			}
			variable := cmp.Or(rules, "-")
			if variable == "-" {
				variable = "ISTHMUS_WITHOUT-" // removes it
			} else {
				variable = "ISTHMUS_WITHOUT=" + variable
			}
			if _, errs[i] = kubectl(ctx, cluster, "", "-n", ns, "set", "env", name, variable); errs[i] == nil {
				_, errs[i] = kubectl(ctx, cluster, "", "-n", ns, "rollout", "status", name, "--timeout=90s")
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
