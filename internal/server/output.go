package server

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/status"
	"isthmus.dev/isthmus/internal/store"
)

// keepKeys gives a cluster the keys that are stored. Keys come and go through their own methods only, so that a file
// that was read before a key was revoked does not bring it back.
func keepKeys(r, old *resource.Resource) (*resource.Resource, []string) {
	c, ok := r.Spec.(*tsbv2.Cluster)
	if !ok {
		return r, nil
	}
	var stored []*tsbv2.KeyPair
	if old != nil {
		stored = old.Spec.(*tsbv2.Cluster).GetServiceAccount().GetKeys()
	}
	var warnings []string
	for _, k := range c.GetServiceAccount().GetKeys() {
		if !slices.ContainsFunc(stored, func(s *tsbv2.KeyPair) bool { return s.GetId() == k.GetId() }) {
			warnings = append(warnings, fmt.Sprintf("spec.serviceAccount.keys: key %q is ignored; 'tctl install cluster-service-account' makes keys", k.GetId()))
		}
	}
	c = proto.CloneOf(c)
	if c.GetServiceAccount() == nil && len(stored) > 0 {
		c.ServiceAccount = &tsbv2.ServiceAccount{}
	}
	if c.GetServiceAccount() != nil {
		c.ServiceAccount.Keys = stored
	}
	return resource.New(r.Kind, r.FQN, c), warnings
}

// wire is a resource as the API shows it.
func (s *Server) wire(r *resource.Resource) (*isthmusv1.Resource, error) {
	if c, ok := r.Spec.(*tsbv2.Cluster); ok {
		name := r.FQN.Name()
		shown := *r
		shown.Spec = observed(c, s.db.Snapshot(), name, s.view().Cluster(name))
		r = &shown
	}
	return resource.Pack(r)
}

// observed adds to a cluster what its edge says.
func observed(c *tsbv2.Cluster, snapshot *store.Snapshot, name string, now status.Cluster) *tsbv2.Cluster {
	mesh := snapshot.Fact(name, "mesh//").GetMesh()
	if mesh == nil && now.LastSync.IsZero() {
		return c
	}
	c = proto.CloneOf(c)
	c.State = &tsbv2.State{Mode: tsbv2.State_CONTROL, XcpVersion: mesh.GetEdgeVersion(), TsbCpVersion: mesh.GetEdgeVersion()}
	if !now.LastSync.IsZero() {
		c.State.LastSyncTime = timestamppb.New(now.LastSync)
	}
	if v := mesh.GetIstioVersion(); v != "" {
		c.State.IstioVersions = []string{v}
		c.State.IstioRevisions = []*tsbv2.State_IstioRevision{{Revision: cmp.Or(mesh.GetRevision(), "default"), Version: v}}
	}
	if region := mesh.GetRegion(); region != "" {
		c.State.DiscoveredLocality = &tsbv2.Locality{Region: region}
	}
	c.Namespaces = namespaces(snapshot, name)
	return c
}

// namespaces lists what the edge observed, in name order.
func namespaces(snapshot *store.Snapshot, cluster string) []*tsbv2.Namespace {
	var out []*tsbv2.Namespace
	at := map[string]*tsbv2.Namespace{}
	for _, v := range snapshot.Prefix(store.FactKey(cluster, "namespace/")) {
		f := v.(*isthmusv1.Fact).GetNamespace()
		n := &tsbv2.Namespace{Name: f.GetName(), Labels: f.GetLabels(), Istio: injection(f.GetLabels())}
		out, at[n.Name] = append(out, n), n
	}
	for _, v := range snapshot.Prefix(store.FactKey(cluster, "service/")) {
		f := v.(*isthmusv1.Fact).GetService()
		if n := at[f.GetNamespace()]; n != nil {
			n.Services = append(n.Services, service(f))
		}
	}
	return out
}

func injection(labels map[string]string) *tsbv2.Namespace_Istio {
	i := &tsbv2.Namespace_Istio{IstioRevision: labels["istio.io/rev"]}
	switch labels["istio-injection"] {
	case "enabled":
		i.IstioInjection = tsbv2.Namespace_Istio_ISTIO_INJECTION_ENABLED
	case "disabled":
		i.IstioInjection = tsbv2.Namespace_Istio_ISTIO_INJECTION_DISABLED
	default:
		if i.IstioRevision != "" {
			i.IstioInjection = tsbv2.Namespace_Istio_ISTIO_INJECTION_ENABLED
		}
	}
	return i
}

func service(f *isthmusv1.Service) *tsbv2.Service {
	fqdn := f.GetName() + "." + f.GetNamespace() + ".svc.cluster.local"
	s := &tsbv2.Service{
		Name: f.GetName(), Namespace: f.GetNamespace(), Hostname: fqdn, CanonicalName: f.GetName(),
		Selector: f.GetSelector(), Labels: f.GetLabels(), Annotations: f.GetAnnotations(),
		KubernetesServiceIp: f.GetClusterIp(), KubernetesServiceFqdn: fqdn,
		KubernetesExternalAddresses: f.GetExternalAddresses(),
	}
	for _, p := range f.GetPorts() {
		s.Ports = append(s.Ports, &tsbv2.Service_Port{Name: p.GetName(), Number: p.GetNumber(), KubernetesNodePort: p.GetNodePort()})
	}
	return s
}
