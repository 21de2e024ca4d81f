package edge

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// TestWorkload is about pods of one Deployment that are not the same, as while it is rolled out.
func TestWorkload(t *testing.T) {
	pod := func(created, account, version string, ready bool) *gatewayPod {
		return &gatewayPod{workload: "gw", created: created, account: account, ready: ready, labels: map[string]string{"app": "gw", "version": version}}
	}
	template := func(account string) *deployment { return &deployment{gateway: pod("", account, "2", false)} }
	for name, tc := range map[string]struct {
		pods     []*gatewayPod
		deployed *deployment
		want     *isthmusv1.Workload
	}{
		"Same": {
			[]*gatewayPod{pod("1", "a", "1", true), pod("2", "a", "1", true)}, nil,
			&isthmusv1.Workload{Ready: 2, Total: 2, ServiceAccount: "a", ServiceAccounts: []string{"a"}, Labels: map[string]string{"app": "gw", "version": "1"}},
		},
		"NoPodYet": {
			nil, template("a"),
			&isthmusv1.Workload{ServiceAccount: "a", ServiceAccounts: []string{"a"}, Labels: map[string]string{"app": "gw", "version": "2"}},
		},
		"AnnouncedByTheDeployment": {
			[]*gatewayPod{pod("1", "a", "1", true)}, template("b"),
			&isthmusv1.Workload{Ready: 1, Total: 1, ServiceAccount: "a", ServiceAccounts: []string{"a", "b"}, Labels: map[string]string{"app": "gw", "version": "1"}},
		},
		"TheNewOneIsNotReady": {
			[]*gatewayPod{pod("2", "b", "2", false), pod("1", "a", "1", true)}, template("b"),
			&isthmusv1.Workload{Ready: 1, Total: 2, ServiceAccount: "b", ServiceAccounts: []string{"a", "b"}, Labels: map[string]string{"app": "gw", "version": "1"}},
		},
		"BothServe": {
			[]*gatewayPod{pod("1", "a", "1", true), pod("2", "b", "2", true)}, template("b"),
			&isthmusv1.Workload{Ready: 2, Total: 2, ServiceAccount: "b", ServiceAccounts: []string{"a", "b"}, Labels: map[string]string{"app": "gw"}},
		},
		"NoneServes": {
			[]*gatewayPod{pod("1", "a", "1", false), pod("2", "b", "2", false)}, template("b"),
			&isthmusv1.Workload{Total: 2, ServiceAccount: "b", ServiceAccounts: []string{"a", "b"}, Labels: map[string]string{"app": "gw", "version": "2"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.Namespace, tc.want.Name = "front", "gw"
			if tc.want.Ready > 0 {
				tc.want.Nodes = []string{""}
			}
			got := workload("front", "gw", tc.pods, tc.deployed).GetWorkload()
			if diff := cmp.Diff(tc.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("workload() (-want +got):\n%s", diff)
			}
		})
	}
}

// A gateway is told by what makes it one, whatever its labels for people say.
func TestIsGateway(t *testing.T) {
	for name, tc := range map[string]struct {
		pod  string
		want bool
	}{
		"Installed":        {`{metadata: {labels: {isthmus.dev/gateway: ns.gw, istio: egressgateway, app: x}}}`, true},
		"InstalledEgress":  {`{metadata: {labels: {app: x, istio: egressgateway}, annotations: {inject.istio.io/templates: gateway}}}`, true},
		"MoreTemplates":    {`{metadata: {annotations: {inject.istio.io/templates: "other, gateway"}}}`, true},
		"Router":           {`{spec: {containers: [{name: istio-proxy, args: [proxy, router, --domain]}]}}`, true},
		"GatewayAPI":       {`{metadata: {labels: {gateway.networking.k8s.io/gateway-name: x}}}`, true},
		"Sidecar":          {`{metadata: {labels: {istio: ingressgateway}}, spec: {containers: [{name: istio-proxy, args: [proxy, sidecar]}]}}`, false},
		"SidecarTemplate":  {`{metadata: {annotations: {inject.istio.io/templates: sidecar}}}`, false},
		"LabelsForPeople":  {`{metadata: {labels: {app: istio-ingressgateway, istio: ingressgateway}}}`, false},
		"RouterOfAnybody":  {`{spec: {containers: [{name: app, args: [proxy, router]}]}}`, false},
		"LooksLikeOursNot": {`{metadata: {labels: {isthmus.dev/gateways: x}}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var p podTemplate
			if err := yaml.Unmarshal([]byte(tc.pod), &p); err != nil {
				t.Fatal(err)
			}
			if got := isGateway(p); got != tc.want {
				t.Errorf("isGateway(%s) = %t, want %t", tc.pod, got, tc.want)
			}
		})
	}
}

// Files of a server can only be where the pods have a volume.
func TestMounts(t *testing.T) {
	var u unstructured.Unstructured
	const pod = `{metadata: {name: gw-1, namespace: front, labels: {isthmus.dev/gateway: front.gw}},
		spec: {containers: [{name: istio-proxy, volumeMounts: [{mountPath: /files/}, {mountPath: /etc/istio/pod}]}, {name: other, volumeMounts: [{mountPath: /files}]}]}}`
	if err := yaml.Unmarshal([]byte(pod), &u.Object); err != nil {
		t.Fatal(err)
	}
	got := workload("front", "gw", []*gatewayPod{podItem(&u).pod}, nil).GetWorkload().GetMounts()
	if diff := cmp.Diff([]string{"/etc/istio/pod", "/files"}, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	var older unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(pod, "/files", "/others")), &older.Object); err != nil {
		t.Fatal(err)
	}
	got = workload("front", "gw", []*gatewayPod{podItem(&older).pod, podItem(&u).pod}, nil).GetWorkload().GetMounts()
	if diff := cmp.Diff([]string{"/etc/istio/pod"}, got); diff != "" {
		t.Errorf("mounts of two generations (-want +got):\n%s", diff)
	}
}
