package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/sandbox/engine"
	"isthmus.dev/sandbox/pki"
)

// Istio's images are named as a hub and a tag, like everywhere.
const (
	IstioHub = "sandbox.local/istio"
	IstioTag = engine.Istio
)

// accessLog is a line of a proxy's log. It names what a multi-cluster call is
// judged by: the port it arrived on, and the identity of its peer.
const accessLog = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS%" +
	" peer=%DOWNSTREAM_PEER_URI_SAN% local=%DOWNSTREAM_LOCAL_ADDRESS% remote=%DOWNSTREAM_REMOTE_ADDRESS%" +
	" upstream=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% sni=%REQUESTED_SERVER_NAME%\n"

// rendered is a manifest on its way.
type rendered struct {
	objects []*unstructured.Unstructured
	err     error
}

// render starts to make Istio's manifest; it needs no cluster.
func (c *Cluster) render(ctx context.Context) <-chan rendered {
	out := make(chan rendered, 1)
	if !c.cfg.Istio {
		return out
	}
	go func() {
		objs, err := c.manifest(ctx)
		out <- rendered{objs, err}
	}()
	return out
}

// istio installs Istio as its users do and waits for istiod.
func (c *Cluster) istio(ctx context.Context, manifest <-chan rendered, begin time.Time) error {
	if !c.cfg.Istio {
		return nil
	}
	secret, err := c.cacerts()
	if err != nil {
		return fmt.Errorf("cluster %q: Istio's certificates: %w", c.cfg.Plan.Name, err)
	}
	namespace := object{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": object{"name": "istio-system", "labels": object{"topology.istio.io/network": c.cfg.Plan.Network}},
	}
	// istiod makes a root of its own if it does not find this secret.
	if err := c.apply(ctx, []*unstructured.Unstructured{toUnstructured(namespace), toUnstructured(secret)}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case m := <-manifest:
		if m.err != nil {
			return fmt.Errorf("cluster %q: %w", c.cfg.Plan.Name, m.err)
		}
		if err := c.apply(ctx, m.objects); err != nil {
			return err
		}
	}
	if err := c.waitDeployment(ctx, "istio-system", "istiod"); err != nil {
		return err
	}
	if err := c.waitInjection(ctx); err != nil {
		return err
	}
	c.done("istio", begin)
	return nil
}

// waitInjection returns when istiod has signed its webhook: until then a
// gateway pod would be created without a proxy.
func (c *Cluster) waitInjection(ctx context.Context) error {
	return c.poll(ctx, "Istio's injection webhook", func() error {
		w, err := c.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "istio-sidecar-injector", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, h := range w.Webhooks {
			if len(h.ClientConfig.CABundle) == 0 {
				return errors.New("it has no certificate yet")
			}
		}
		ep, err := c.kube.CoreV1().Endpoints("istio-system").Get(ctx, "istiod", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(ep.Subsets) == 0 || len(ep.Subsets[0].Addresses) == 0 {
			return errors.New("istiod is not an endpoint of its service yet")
		}
		return nil
	})
}

// cacerts is the intermediate from which istiod signs workloads.
func (c *Cluster) cacerts() (object, error) {
	root := c.cfg.Root
	if c.cfg.Plan.OwnRoot {
		var err error
		if root, err = pki.NewRoot("Root of " + c.cfg.Plan.Name); err != nil {
			return nil, err
		}
	}
	ca, err := root.Intermediate("Istio CA of " + c.cfg.Plan.Name)
	if err != nil {
		return nil, err
	}
	if err := root.Write(c.pki, "istio-root"); err != nil {
		return nil, err
	}
	return object{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
		"metadata": object{"name": "cacerts", "namespace": "istio-system"},
		"stringData": object{
			"ca-cert.pem":    string(ca.CertPEM),
			"ca-key.pem":     string(ca.KeyPEM),
			"cert-chain.pem": string(ca.CertPEM) + string(root.CertPEM),
			"root-cert.pem":  string(root.CertPEM),
		},
	}, nil
}

// operator is the file that a user would write for istioctl.
func (c *Cluster) operator() object {
	p := c.cfg.Plan
	return object{
		"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator",
		"metadata": object{"name": "sandbox", "namespace": "istio-system"},
		"spec": object{
			"profile": "minimal",
			"hub":     IstioHub,
			"tag":     IstioTag,
			"meshConfig": object{
				"trustDomain":        p.Trust,
				"trustDomainAliases": p.Aliases,
				"accessLogFile":      "/dev/stdout",
				"accessLogFormat":    accessLog,
				"defaultConfig": object{
					"binaryPath":    "/istio/envoy",
					"concurrency":   2, // or each Envoy has a thread for every processor of the node
					"proxyMetadata": object{"ISTIO_META_DNS_CAPTURE": "true"},
				},
			},
			"values": object{
				"global": object{
					"meshID":       "sandbox",
					"network":      p.Network,
					"multiCluster": object{"clusterName": p.Name},
					"proxy":        object{"readinessPeriodSeconds": 1, "resources": object{"requests": object{"cpu": "10m", "memory": "40Mi"}, "limits": object{}}},
					"proxy_init":   object{"resources": object{"requests": object{"cpu": "10m", "memory": "10Mi"}, "limits": object{}}},
				},
				// Envoy as its project publishes it has none of Istio's own filters.
				"telemetry": object{"enabled": false},
				"pilot": object{
					"autoscaleEnabled": false,
					"resources":        object{"requests": object{"cpu": "50m", "memory": "100Mi"}},
					"env": object{
						"PILOT_ENABLE_ALPN_FILTER":       "false",
						"PILOT_ENABLE_METADATA_EXCHANGE": "false",
					},
				},
			},
		},
	}
}

// manifest renders the operator's file, or finds it in the cache: the same
// file and the same istioctl give the same objects.
func (c *Cluster) manifest(ctx context.Context) ([]*unstructured.Unstructured, error) {
	file, err := c.write("istio-operator.json", c.operator())
	if err != nil {
		return nil, err
	}
	istioctl, err := c.program("istioctl")
	if err != nil {
		return nil, err
	}
	key, err := json.Marshal(c.operator())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(key, filepath.Base(filepath.Dir(istioctl))...))
	cached := filepath.Join(c.cfg.Cache, fmt.Sprintf("istio-%x.yaml", sum[:8]))
	out, err := os.ReadFile(cached)
	if errors.Is(err, os.ErrNotExist) {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, istioctl, "manifest", "generate", "-f", file)
		cmd.Env = append(os.Environ(), "HOME=/root", "KUBECONFIG=/dev/null")
		cmd.Stderr = &stderr
		if out, err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("istioctl manifest generate: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
		}
		err = keep(cached, out)
	}
	if err != nil {
		return nil, err
	}
	objs, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("Istio's manifest: %w", err)
	}
	return objs, nil
}

func keep(file string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.%d", file, time.Now().UnixNano())
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}
