package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"isthmus.dev/sandbox/plan"
)

func service(name string, age int, edit ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, f := range edit {
		f(s)
	}
	return s
}

func has(addr string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr}}
	}
}

func wants(addr string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations = map[string]string{AddressAnnotation: addr} }
}

func TestAssign(t *testing.T) {
	p, err := plan.New(plan.Request{})
	if err != nil {
		t.Fatal(err)
	}
	clusterIP := func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }
	field := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "198.19.1.9" }
	for name, tc := range map[string]struct {
		in     []*corev1.Service
		used   map[string]bool
		want   map[string]string
		reason string
	}{
		"First":         {in: []*corev1.Service{service("a", 1)}, want: map[string]string{"ns/a": "198.19.1.1"}},
		"Keeps":         {in: []*corev1.Service{service("a", 1, has("198.19.1.7"))}, want: map[string]string{"ns/a": "198.19.1.7"}},
		"OldestFirst":   {in: []*corev1.Service{service("a", 1), service("b", 2)}, want: map[string]string{"ns/b": "198.19.1.1", "ns/a": "198.19.1.2"}},
		"Fresh":         {in: []*corev1.Service{service("a", 1)}, used: map[string]bool{"198.19.1.1": true}, want: map[string]string{"ns/a": "198.19.1.2"}, reason: "an address is not used again while there is another"},
		"Moves":         {in: []*corev1.Service{service("a", 1, has("198.19.1.1"), wants("198.19.1.5"))}, want: map[string]string{"ns/a": "198.19.1.5"}},
		"SpecField":     {in: []*corev1.Service{service("a", 1, field)}, want: map[string]string{"ns/a": "198.19.1.9"}},
		"OutOfRange":    {in: []*corev1.Service{service("a", 1, wants("198.19.2.5"))}, want: map[string]string{}},
		"Taken":         {in: []*corev1.Service{service("a", 2, wants("198.19.1.5")), service("b", 1, wants("198.19.1.5"))}, want: map[string]string{"ns/a": "198.19.1.5"}},
		"ChoiceBeats":   {in: []*corev1.Service{service("a", 2, has("198.19.1.5")), service("b", 1, wants("198.19.1.5"))}, want: map[string]string{"ns/b": "198.19.1.5", "ns/a": "198.19.1.1"}},
		"NotABalancer":  {in: []*corev1.Service{service("a", 1, clusterIP, has("198.19.1.1"))}, want: map[string]string{}},
		"ForeignStatus": {in: []*corev1.Service{service("a", 1, has("203.0.113.1"))}, want: map[string]string{"ns/a": "198.19.1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := assign(p.Clusters[0], tc.in, tc.used)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("assign (-want +got): %s\n%s", tc.reason, diff)
			}
		})
	}
}

func TestParse(t *testing.T) {
	objs, err := parse([]byte("a: 1\n---\n# only a comment\n---\nkind: Pod\n"))
	if err != nil || len(objs) != 2 || objs[1].GetKind() != "Pod" {
		t.Errorf("parse = %d objects, %v; want 2, the second a Pod", len(objs), err)
	}
	if _, err := parse([]byte("a: 1\n---\n}{\n")); err == nil {
		t.Error("nonsense was parsed")
	}
}
