package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const manager = "sandbox"

// parse reads a stream of YAML or JSON documents.
func parse(manifest []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", len(out)+1, err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// apply applies objects in the order that lets each find what it needs:
// namespaces, definitions, access, then the rest; the objects of one stage go
// out side by side. An object that is refused is tried again for a while,
// because a definition takes a moment to be served.
func (c *Cluster) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	stages := make([][]*unstructured.Unstructured, 4)
	for _, o := range objects {
		stages[stage(o.GetKind())] = append(stages[stage(o.GetKind())], o)
	}
	for _, objs := range stages {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(8)
		for _, o := range objs {
			g.Go(func() error {
				what := fmt.Sprintf("%s %s to be applied", o.GetKind(), o.GetName())
				return c.poll(gctx, what, func() error { return c.applyOne(gctx, o) })
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

func stage(kind string) int {
	switch {
	case kind == "Namespace":
		return 0
	case kind == "CustomResourceDefinition":
		return 1
	case slices.Contains([]string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ConfigMap", "Secret"}, kind):
		return 2
	}
	return 3
}

func (c *Cluster) applyOne(ctx context.Context, o *unstructured.Unstructured) error {
	// Every kind that we install follows the rule from which the plural is guessed.
	gvr, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
	opts := metav1.ApplyOptions{FieldManager: manager, Force: true}
	var err error
	if ns := o.GetNamespace(); ns != "" {
		_, err = c.dyn.Resource(gvr).Namespace(ns).Apply(ctx, o.GetName(), o, opts)
	} else {
		_, err = c.dyn.Resource(gvr).Apply(ctx, o.GetName(), o, opts)
	}
	return err
}

// waitNodes returns when every node is Ready.
func (c *Cluster) waitNodes(ctx context.Context) error {
	return c.poll(ctx, "nodes", func() error {
		nodes, err := c.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes.Items {
			for _, cond := range n.Status.Conditions {
				if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready < len(c.cfg.Plan.Nodes) {
			return fmt.Errorf("%d of %d are Ready", ready, len(c.cfg.Plan.Nodes))
		}
		return nil
	})
}

// waitDeployment returns when every replica of a Deployment is ready.
func (c *Cluster) waitDeployment(ctx context.Context, namespace, name string) error {
	return c.poll(ctx, "deployment "+name, func() error {
		d, err := c.kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !complete(d) {
			return fmt.Errorf("%d of %d pods are ready%s", d.Status.ReadyReplicas, replicas(d), c.why(ctx, namespace))
		}
		return nil
	})
}

func complete(d *appsv1.Deployment) bool {
	return d.Status.ObservedGeneration >= d.Generation &&
		d.Status.UpdatedReplicas == replicas(d) && d.Status.ReadyReplicas == replicas(d)
}

func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// why gathers what the pods of a namespace say about themselves.
func (c *Cluster) why(ctx context.Context, namespace string) string {
	pods, err := c.kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return ""
	}
	var out string
	for _, p := range pods.Items {
		for _, st := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if w := st.State.Waiting; w != nil {
				out += fmt.Sprintf("; %s/%s: %s %s", p.Name, st.Name, w.Reason, w.Message)
			}
		}
	}
	return out
}
