// Package offline makes snapshots from text, for those who have no store: tctl and tests.
package offline

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// Observed is what is known of one cluster.
type Observed struct {
	Cluster string
	Facts   []*isthmusv1.Fact
}

// observedText is the form in which people write what is known of a cluster: one document per cluster, and in it lists of
// facts with the fields of the Fleet API.
type observedText struct {
	Cluster    string            `json:"cluster"`
	Mesh       json.RawMessage   `json:"mesh"`
	Namespaces []json.RawMessage `json:"namespaces"`
	Services   []json.RawMessage `json:"services"`
	Workloads  []json.RawMessage `json:"workloads"`
	Backings   []json.RawMessage `json:"backings"`
	Secrets    []json.RawMessage `json:"secrets"`
	Nodes      []json.RawMessage `json:"nodes"`
	Routed     []json.RawMessage `json:"routed"`
}

// ParseObserved reads documents such as
//
//	cluster: c1
//	mesh: {trustDomain: cluster.local}
//	namespaces: [{name: shop}]
//	services: [{namespace: shop, name: cart, ports: [{number: 80}]}]
//	workloads: [{namespace: shop, name: gw, labels: {app: gw}, serviceAccount: gw, ready: 1, total: 1}]
//	backings: [{namespace: shop, name: cart, mesh: true, serviceAccounts: [cart]}]
//	secrets: [{namespace: shop, name: cert}]
//	nodes: [{name: n1, addresses: [192.0.2.1], ready: true}]
//	routed: [{namespace: shop, name: cart, pods: [{labels: {app: cart, version: v1}}]}]
//
// A cluster that is named and has no mesh has not reported.
func ParseObserved(name string, data []byte) ([]Observed, error) {
	var out []Observed
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var v any
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
		if v == nil {
			continue
		}
		o, err := parseOne(v)
		if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", name, n, err)
		}
		if slices.ContainsFunc(out, func(x Observed) bool { return x.Cluster == o.Cluster }) {
			return nil, fmt.Errorf("%s: document %d: cluster %q is there twice", name, n, o.Cluster)
		}
		out = append(out, o)
	}
}

func parseOne(v any) (Observed, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Observed{}, err
	}
	var text observedText
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&text); err != nil {
		return Observed{}, err
	}
	if text.Cluster == "" {
		return Observed{}, errors.New("cluster: says which cluster was observed")
	}
	o := Observed{Cluster: text.Cluster}
	if text.Mesh != nil {
		mesh := new(isthmusv1.Mesh)
		if err := protojson.Unmarshal(text.Mesh, mesh); err != nil {
			return o, fmt.Errorf("mesh: %w", err)
		}
		o.Facts = append(o.Facts, &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: mesh}})
	}
	lists := []struct {
		field string
		items []json.RawMessage
		fact  func([]byte) (*isthmusv1.Fact, error)
	}{
		{"namespaces", text.Namespaces, namespaceFact},
		{"services", text.Services, serviceFact},
		{"workloads", text.Workloads, workloadFact},
		{"backings", text.Backings, backingFact},
		{"secrets", text.Secrets, secretFact},
		{"nodes", text.Nodes, nodeFact},
		{"routed", text.Routed, routedFact},
	}
	for _, l := range lists {
		for i, item := range l.items {
			f, err := l.fact(item)
			if err != nil {
				return o, fmt.Errorf("%s[%d]: %w", l.field, i, err)
			}
			o.Facts = append(o.Facts, f)
		}
	}
	return o, nil
}

func decodeFact[T proto.Message](b []byte, into T) (T, error) {
	err := protojson.Unmarshal(b, into)
	return into, err
}

func namespaceFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Namespace))
	return &isthmusv1.Fact{Id: "namespace//" + m.GetName(), Fact: &isthmusv1.Fact_Namespace{Namespace: m}}, err
}

func serviceFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Service))
	return &isthmusv1.Fact{Id: "service/" + m.GetNamespace() + "/" + m.GetName(), Fact: &isthmusv1.Fact_Service{Service: m}}, err
}

func workloadFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Workload))
	return &isthmusv1.Fact{Id: "workload/" + m.GetNamespace() + "/" + m.GetName(), Fact: &isthmusv1.Fact_Workload{Workload: m}}, err
}

func backingFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Backing))
	return &isthmusv1.Fact{Id: "backing/" + m.GetNamespace() + "/" + m.GetName(), Fact: &isthmusv1.Fact_Backing{Backing: m}}, err
}

func secretFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Secret))
	return &isthmusv1.Fact{Id: "secret/" + m.GetNamespace() + "/" + m.GetName(), Fact: &isthmusv1.Fact_Secret{Secret: m}}, err
}

func nodeFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Node))
	return &isthmusv1.Fact{Id: "node//" + m.GetName(), Fact: &isthmusv1.Fact_Node{Node: m}}, err
}

func routedFact(b []byte) (*isthmusv1.Fact, error) {
	m, err := decodeFact(b, new(isthmusv1.Routed))
	return &isthmusv1.Fact{Id: "routed/" + m.GetNamespace() + "/" + m.GetName(), Fact: &isthmusv1.Fact_Routed{Routed: m}}, err
}

// Input is what a snapshot is made from.
type Input struct {
	Resources []*resource.Resource
	Observed  []Observed
	// Clusters that exist although no resource says so.
	Clusters []string
	// Claims in the order in which workspaces asked; without them names decide.
	Claims map[store.Key]*store.Claim
}

// Snapshot is the state that a server would have. Organizations and tenants that resources name are taken to exist,
// and so are the clusters that were observed or named.
func Snapshot(in Input) *store.Snapshot {
	values := map[store.Key]any{}
	for _, r := range in.Resources {
		values[store.ResourceKey(r.FQN)] = r
	}
	org := resource.FQN("organizations/default")
	for _, r := range in.Resources {
		if o := r.FQN.Ancestor("organizations"); o != "" {
			org = o
			assume(values, "api.tsb.tetrate.io/v2/Organization", o)
		}
		if t := r.FQN.Ancestor("tenants"); t != "" {
			assume(values, "api.tsb.tetrate.io/v2/Tenant", t)
		}
	}
	clusters := slices.Clone(in.Clusters)
	for _, o := range in.Observed {
		clusters = append(clusters, o.Cluster)
		for _, f := range o.Facts {
			values[store.FactKey(o.Cluster, f.GetId())] = f
		}
	}
	for _, name := range clusters {
		assume(values, "api.tsb.tetrate.io/v2/Cluster", org.Child("clusters", name))
	}
	for k, c := range in.Claims {
		values[k] = c
	}
	return store.NewSnapshot(1, values)
}

func assume(values map[store.Key]any, kind string, fqn resource.FQN) {
	if _, ok := values[store.ResourceKey(fqn)]; ok {
		return
	}
	k := resource.ByID(kind)
	values[store.ResourceKey(fqn)] = resource.New(k, fqn, k.Spec())
}
