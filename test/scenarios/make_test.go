//go:build e2e

package scenarios

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// authority and certificate names are a scenario's own, except that of public servers.
func (r *runner) authority(name string) string {
	if name == "" || name == public {
		return public
	}
	return r.Name + "/" + name
}

func (r *runner) pair(name string) (*pair, error) {
	c, ok := r.Setup.Certificates[name]
	if !ok {
		return nil, fmt.Errorf("setup has no certificate %q", name)
	}
	c.Authority = r.authority(c.Authority)
	return r.mint.certificate(r.Name+"/"+name, c)
}

// value fills in a placeholder. What goes into a Secret's data is in base64.
func (r *runner) value(ctx context.Context, key string) (string, error) {
	if v, err := r.fixed(key); err == nil {
		return v, nil
	}
	kind, arg, _ := strings.Cut(key, ":")
	switch kind {
	case "cert", "key":
		p, err := r.pair(arg)
		if err != nil {
			return "", err
		}
		if kind == "cert" {
			return base64.StdEncoding.EncodeToString(p.Cert), nil
		}
		return base64.StdEncoding.EncodeToString(p.Key), nil
	case "ca":
		a, err := r.mint.authority(r.authority(arg))
		if err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(a.Cert), nil
	case "ca-key":
		a, err := r.mint.authority(r.authority(arg))
		if err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(a.Key), nil
	case "jwks":
		var keys []string
		for k := range strings.SplitSeq(arg, ",") {
			keys = append(keys, r.Name+"/"+k)
		}
		return r.mint.jwks(keys...)
	case "token":
		t, ok := r.Setup.Tokens[arg]
		if !ok {
			return "", fmt.Errorf("setup has no token %q", arg)
		}
		t.Key = r.Name + "/" + t.Key
		return r.mint.token(t)
	case "run":
		return r.unique, nil
	case "lb":
		return r.address(ctx, arg, "{.status.loadBalancer.ingress[0].ip}")
	case "ip":
		return r.address(ctx, arg, "{.spec.clusterIP}")
	}
	return "", errors.New("there is no such placeholder")
}

// address of a Service.
func (r *runner) address(ctx context.Context, at, path string) (string, error) {
	if a := r.addresses[path+at]; a != "" {
		return a, nil
	}
	p, err := parsePlace(at, r.Name)
	if err != nil {
		return "", err
	}
	err = until(ctx, statusWithin, func() error {
		out, err := kubectl(ctx, p.Cluster, "", "get", "svc", "-n", p.Namespace, p.Name, "-o", "jsonpath="+path)
		if err == nil && out == "" {
			err = fmt.Errorf("Service %s has no address", at)
		}
		r.addresses[path+at] = out
		return err
	})
	return r.addresses[path+at], err
}

func (r *runner) namespaces() []string { return append([]string{r.Name}, r.Setup.Namespaces...) }

// everywhere does something in each cluster of the scenario at once.
func (r *runner) everywhere(f func(cluster string) error) error {
	clusters := r.Setup.clusters()
	errs := make([]error, len(clusters))
	var wg sync.WaitGroup
	for i, c := range clusters {
		wg.Go(func() { errs[i] = f(c) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// remove everything that the scenario made, and wait until it is gone.
func (r *runner) remove(ctx context.Context) error {
	var errs []error
	for _, what := range append([]string{"workspace " + r.Name}, r.Setup.Delete...) {
		errs = append(errs, deleted(ctx, strings.Fields(what)...))
	}
	errs = append(errs, r.everywhere(func(c string) error {
		_, err := kubectl(ctx, c, "", append([]string{"delete", "namespace", "--ignore-not-found", "--timeout=90s"}, r.namespaces()...)...)
		return err
	}))
	return errors.Join(errs...)
}

// deleted deletes what tctl knows, if it is there.
func deleted(ctx context.Context, what ...string) error {
	_, err := tctl(ctx, "", append(append([]string{"delete"}, what...), "--org", Organization, "--tenant", Tenant)...)
	if err != nil && (strings.Contains(err.Error(), "not found") || strings.Contains(err.Error(), "does not exist")) {
		return nil
	}
	return err
}

// make what the setup describes, and wait until it is ready.
func (r *runner) make(ctx context.Context) error {
	if !r.Setup.NoWorkspace {
		if _, err := tctl(ctx, r.workspace(), "apply", "-f", "-"); err != nil {
			return err
		}
	}
	return r.everywhere(func(c string) error {
		objects, err := r.objects(c)
		if err != nil {
			return err
		}
		text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
		if err != nil {
			return err
		}
		if _, err := kubectl(ctx, c, string(text), "apply", "-f", "-"); err != nil {
			return err
		}
		return r.ready(ctx, c)
	})
}

// ready waits for gateways and applications of a cluster.
func (r *runner) ready(ctx context.Context, cluster string) error {
	for where := range r.Setup.Gateways {
		p, err := parsePlace(where, r.Name)
		if err != nil || p.Cluster != cluster {
			continue
		}
		if _, err := kubectl(ctx, cluster, "", "wait", "-n", p.Namespace, "ingressgateways.install.tetrate.io/"+p.Name, "--for=condition=Ready", "--timeout=90s"); err != nil {
			return err
		}
	}
	for _, ns := range r.namespaces() {
		if _, err := kubectl(ctx, cluster, "", "wait", "-n", ns, "deploy", "-l", "scenarios.isthmus.dev/app", "--for=condition=Available", "--timeout=90s"); err != nil && !strings.Contains(err.Error(), "no matching resources") {
			return err
		}
	}
	return nil
}

func (r *runner) workspace() string {
	var names []string
	for _, ns := range r.namespaces() {
		names = append(names, strconv.Quote("*/"+ns))
	}
	selector := "{namespaceSelector: {names: [" + strings.Join(names, ", ") + "]}}\n"
	return "apiVersion: api.tsb.tetrate.io/v2\nkind: Workspace\nmetadata: {organization: " + Organization + ", tenant: " + Tenant + ", name: " + r.Name + "}\nspec: " + selector +
		"---\napiVersion: gateway.tsb.tetrate.io/v2\nkind: Group\nmetadata: {organization: " + Organization + ", tenant: " + Tenant + ", workspace: " + r.Name + ", name: " + Group + "}\nspec: " + selector
}

type object = map[string]any

// objects of a cluster.
func (r *runner) objects(cluster string) ([]any, error) {
	var out []any
	for _, ns := range r.namespaces() {
		out = append(out, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": ns}})
	}
	secrets, err := r.secrets(cluster)
	if err != nil {
		return nil, err
	}
	out = append(out, secrets...)
	for _, where := range slices.Sorted(maps.Keys(r.Setup.Gateways)) {
		if p, err := parsePlace(where, r.Name); err == nil && p.Cluster == cluster {
			out = append(out, gatewayObject(p, r.Setup.Gateways[where]))
		}
	}
	for _, where := range slices.Sorted(maps.Keys(r.Setup.Apps)) {
		if p, err := parsePlace(where, r.Name); err == nil && p.Cluster == cluster {
			objs, err := r.appObjects(p, r.Setup.Apps[where])
			if err != nil {
				return nil, err
			}
			out = append(out, objs...)
		}
	}
	return out, nil
}

// secrets of the setup's certificates: for gateways, and for applications that have one.
func (r *runner) secrets(cluster string) (out []any, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.Setup.Certificates)) {
		c := r.Setup.Certificates[name]
		in := map[place]bool{}
		for _, where := range c.In {
			at, ns, named := strings.Cut(where, "/")
			if !named {
				ns = r.Name
			}
			in[place{at, ns, ""}] = true
		}
		if len(c.In) == 0 && !c.Client {
			for _, g := range r.Setup.gatewayClusters() {
				in[place{g, r.Name, ""}] = true
			}
		}
		for where, a := range r.Setup.Apps {
			if p, err := parsePlace(where, r.Name); err == nil && a.Certificate == name {
				in[place{p.Cluster, p.Namespace, ""}] = true
			}
		}
		for at := range in {
			if at.Cluster != cluster {
				continue
			}
			p, err := r.pair(name)
			if err != nil {
				return nil, err
			}
			data := object{"tls.crt": base64.StdEncoding.EncodeToString(p.Cert), "tls.key": base64.StdEncoding.EncodeToString(p.Key)}
			if c.Verify != "" {
				ca, err := r.mint.authority(r.authority(c.Verify))
				if err != nil {
					return nil, err
				}
				data["ca.crt"] = base64.StdEncoding.EncodeToString(ca.Cert)
			}
			out = append(out, object{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": object{"name": name, "namespace": at.Namespace}, "data": data})
		}
	}
	return out, nil
}

func gatewayObject(p place, g Gateway) object {
	var ports []any
	for _, n := range append([]int{80, 443}, g.Ports...) {
		target := n
		if n < 1024 {
			target += 8000
		}
		ports = append(ports, object{"name": "port-" + strconv.Itoa(n), "port": n, "targetPort": target})
	}
	return object{
		"apiVersion": "install.tetrate.io/v1alpha1", "kind": "IngressGateway", "metadata": object{"name": p.Name, "namespace": p.Namespace},
		"spec": object{"kubeSpec": object{
			"deployment": object{"replicaCount": max(g.Replicas, 1), "hpaSpec": object{"disabled": true}},
			"service":    object{"type": "LoadBalancer", "ports": ports},
		}},
	}
}

// appObjects are one Service, and a Deployment for each version.
func (r *runner) appObjects(p place, a App) ([]any, error) {
	service := object{"apiVersion": "v1", "kind": "Service", "metadata": object{"name": p.Name, "namespace": p.Namespace, "labels": object{"app": p.Name}}, "spec": object{
		"selector": object{"app": p.Name},
		"ports": []any{
			object{"name": "http", "port": 80, "targetPort": 8080}, object{"name": "grpc", "port": 8081, "targetPort": 8080},
			object{"name": "tls", "port": 443, "targetPort": 8443}, object{"name": "tcp", "port": 9000, "targetPort": 9000},
		},
	}}
	image := a.Image
	if image == "" {
		image = images[0]
	}
	env := []any{}
	set := func(name, value string) { env = append(env, object{"name": name, "value": value}) }
	set("APP", p.Name)
	set("CLUSTER", p.Cluster)
	set("NAMESPACE", p.Namespace)
	env = append(env, object{"name": "POD", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.name"}}})
	if len(a.Keys) > 0 {
		keys, err := r.value(context.Background(), "jwks:"+strings.Join(a.Keys, ","))
		if err != nil {
			return nil, err
		}
		set("JWKS", keys)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		set(name, a.Env[name])
	}
	container := object{"name": "app", "image": "sandbox.local/test/" + image + ":dev"}
	pod := object{"containers": []any{container}, "terminationGracePeriodSeconds": 3}
	if a.Certificate != "" {
		set("CERTIFICATE", "/certificate")
		container["volumeMounts"] = []any{object{"name": "certificate", "mountPath": "/certificate"}}
		pod["volumes"] = []any{object{"name": "certificate", "secret": object{"secretName": a.Certificate}}}
	}
	if image != "authz" {
		container["readinessProbe"] = object{"httpGet": object{"path": "/", "port": 8080}, "periodSeconds": 1}
	}
	versions := a.Versions
	if len(versions) == 0 {
		versions = []string{"v1"}
	}
	out := []any{service}
	for _, v := range versions {
		labels := object{"app": p.Name, "version": v, "sidecar.istio.io/inject": strconv.FormatBool(a.Sidecar)}
		one := maps.Clone(container)
		one["env"] = append(slices.Clone(env), object{"name": "VERSION", "value": v})
		spec := maps.Clone(pod)
		spec["containers"] = []any{one}
		out = append(out, object{"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": object{"name": p.Name + "-" + v, "namespace": p.Namespace, "labels": object{"scenarios.isthmus.dev/app": p.Name}},
			"spec": object{
				"replicas": max(a.Replicas, 1), "selector": object{"matchLabels": object{"app": p.Name, "version": v}},
				"template": object{"metadata": object{"labels": labels}, "spec": spec},
			}})
	}
	return out, nil
}

// describe says for a failed scenario how its resources are and what its gateways logged last.
func (r *runner) describe(ctx context.Context) string {
	var b strings.Builder
	show := func(title, out string, err error) {
		if err != nil {
			out += err.Error()
		}
		fmt.Fprintf(&b, "---- %s\n%s\n", title, strings.TrimSpace(out))
	}
	out, err := tctl(ctx, "", "status", "workspace", r.Name, "--org", Organization, "--tenant", Tenant, "-r", "-o", "yaml")
	show("status of the workspace and of what is in it", out, err)
	for _, c := range r.Setup.clusters() {
		for _, ns := range r.namespaces() {
			out, err := kubectl(ctx, c, "", "get", "-n", ns, "pods,svc,ingressgateways.install.tetrate.io,gateways.networking.istio.io,virtualservices", "-o", "wide")
			show(c+" "+ns, out, err)
			out, err = kubectl(ctx, c, "", "logs", "-n", ns, "-l", "isthmus.dev/gateway", "--tail=25", "--prefix")
			show(c+" "+ns+": log of the gateways", out, err)
		}
	}
	return b.String()
}
