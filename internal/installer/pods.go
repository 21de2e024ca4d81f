package installer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"isthmus.dev/isthmus/internal/wellknown"
)

// podStatus is what a pod says about why it does not run.
type podStatus struct {
	Metadata struct {
		CreationTimestamp string `json:"creationTimestamp"`
		DeletionTimestamp string `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name  string `json:"name"`
			Image string `json:"image"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Message    string `json:"message"`
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
		Init       []containerStatus `json:"initContainerStatuses"`
		Containers []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name  string         `json:"name"`
	Image string         `json:"image"`
	Ready bool           `json:"ready"`
	State containerState `json:"state"`
	Last  containerState `json:"lastState"`
}

type containerState struct {
	Waiting *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"waiting"`
	Terminated *struct {
		Reason   string `json:"reason"`
		Message  string `json:"message"`
		ExitCode int64  `json:"exitCode"`
	} `json:"terminated"`
}

// trouble says what keeps the newest pods of a gateway from running, in the words of Kubernetes; empty when nothing is
// known to. It is asked only while a roll-out is unfinished, so that nobody has to watch pods.
func (in *Installer) trouble(ctx context.Context, dep *unstructured.Unstructured) string {
	list, err := in.client.Resource(pods).Namespace(dep.GetNamespace()).List(ctx, metav1.ListOptions{
		LabelSelector: wellknown.GatewayLabel + "=" + dep.GetLabels()[wellknown.GatewayLabel], ResourceVersion: "0",
	})
	if err != nil {
		in.log.DebugContext(ctx, "pods not read", "deployment", nameOfObject(dep), "error", err)
		return ""
	}
	var all []podStatus
	for _, u := range list.Items {
		var p podStatus
		if runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p) == nil && p.Metadata.DeletionTimestamp == "" {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b podStatus) int {
		return cmp.Compare(b.Metadata.CreationTimestamp, a.Metadata.CreationTimestamp)
	})
	for _, p := range all {
		if why := p.trouble(); why != "" {
			return why
		}
	}
	return ""
}

// trouble of one pod. It names no pod and counts no attempts: the same trouble always has the same words.
func (p podStatus) trouble() string {
	for _, c := range p.Spec.Containers {
		if c.Name == "istio-proxy" && c.Image == "auto" {
			return "Istio has not completed the pod: there is no istiod of its revision, or the namespace has injection switched off."
		}
	}
	for _, c := range append(slices.Clone(p.Status.Init), p.Status.Containers...) {
		if why := c.trouble(); why != "" && !c.Ready {
			return "container " + c.Name + ": " + why
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" && c.Message != "" {
			return "the pod finds no place: " + c.Message
		}
	}
	return p.Status.Message
}

// trouble of one container. A proxy that ends is in trouble whatever its code: Istio's agent ends with 0 when Envoy does
// not start.
func (c containerStatus) trouble() string {
	end := c.Last.Terminated
	if now := c.State.Terminated; now != nil && now.ExitCode != 0 {
		end = now
	}
	w := c.State.Waiting
	switch {
	case end != nil:
		words := fmt.Sprintf("it ended with code %d (%s)", end.ExitCode, end.Reason)
		if m := strings.TrimSpace(end.Message); m != "" {
			words += ": " + m
		}
		return words
	case w == nil || slices.Contains([]string{"", "ContainerCreating", "PodInitializing"}, w.Reason):
		return ""
	case strings.Contains(w.Reason, "ImagePull"): // ErrImagePull and ImagePullBackOff take turns
		return "its image cannot be pulled: " + c.Image
	case w.Message == "" || w.Reason == "CrashLoopBackOff": // whose message counts
		return w.Reason
	}
	return w.Reason + ": " + w.Message
}
