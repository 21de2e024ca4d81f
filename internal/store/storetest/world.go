package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// The store cares for few things in a resource, so the suite has kinds of its own that have just those.
const (
	org     resource.FQN = "organizations/o"
	tenant  resource.FQN = org + "/tenants/t"
	cluster resource.FQN = org + "/clusters/c"
	front   resource.FQN = tenant + "/workspaces/front"
	back    resource.FQN = tenant + "/workspaces/back"
)

// meta of all commits of the suite.
func meta() store.Meta { return store.Meta{Who: "organizations/o/users/admin", Why: "a test"} }

// specType is the message {string name; repeated string hosts; bool deletionProtectionEnabled}.
func specType() protoreflect.MessageDescriptor {
	field := func(n int32, name string, typ descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, JsonName: &name, Number: &n, Type: &typ, Label: &label}
	}
	const (
		one  = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		many = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("storetest.proto"), Package: new("storetest"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("Spec"),
			Field: []*descriptorpb.FieldDescriptorProto{
				field(1, "name", descriptorpb.FieldDescriptorProto_TYPE_STRING, one),
				field(2, "hosts", descriptorpb.FieldDescriptorProto_TYPE_STRING, many),
				field(3, "deletionProtectionEnabled", descriptorpb.FieldDescriptorProto_TYPE_BOOL, one),
			},
		}},
	}, nil)
	if err != nil {
		panic(err) // the literal above is wrong
	}
	return file.Messages().Get(0)
}

// kinds by plural.
func kinds() map[string]*resource.Kind {
	typ := specType()
	out := map[string]*resource.Kind{}
	for _, k := range []resource.Kind{
		{Name: "Organization", Plural: "organizations"},
		{Name: "Tenant", Plural: "tenants"},
		{Name: "Cluster", Plural: "clusters"},
		{Name: "Workspace", Plural: "workspaces"},
		{Name: "Gateway", Plural: "gateways"},
	} {
		k.APIVersion = "storetest/v1"
		k.Spec = func() proto.Message { return dynamicpb.NewMessage(typ) }
		out[k.Plural] = &k
	}
	return out
}

func config() store.Config {
	byID := map[string]*resource.Kind{}
	for _, k := range kinds() {
		byID[k.ID()] = k
	}
	return store.Config{
		Kind:   func(id string) *resource.Kind { return byID[id] },
		Claims: claims,
		Poll:   20 * time.Millisecond,
	}
}

func claims(r *resource.Resource) []store.Key {
	var keys []store.Key
	for _, h := range hosts(r) {
		keys = append(keys, store.HostClaimKey(h))
	}
	return keys
}

func hosts(r *resource.Resource) []string {
	m := r.Spec.ProtoReflect()
	list := m.Get(m.Descriptor().Fields().ByName("hosts")).List()
	var out []string
	for i := range list.Len() {
		out = append(out, list.Get(i).String())
	}
	return out
}

// res makes a resource; name is the only thing that its content has besides hosts.
func res(fqn resource.FQN, name string, hosts ...string) *resource.Resource {
	k := kinds()[fqn.Plural()]
	spec := k.Spec().ProtoReflect()
	fields := spec.Descriptor().Fields()
	spec.Set(fields.ByName("name"), protoreflect.ValueOfString(name))
	for _, h := range hosts {
		spec.Mutable(fields.ByName("hosts")).List().Append(protoreflect.ValueOfString(h))
	}
	return &resource.Resource{Kind: k, FQN: fqn, Spec: spec.Interface()}
}

func protectedRes(fqn resource.FQN) *resource.Resource {
	r := res(fqn, "protected")
	m := r.Spec.ProtoReflect()
	m.Set(m.Descriptor().Fields().ByName("deletionProtectionEnabled"), protoreflect.ValueOfBool(true))
	return r
}

// nameOf a resource's content; "" when there is no resource.
func nameOf(r *resource.Resource) string {
	if r == nil {
		return ""
	}
	m := r.Spec.ProtoReflect()
	return m.Get(m.Descriptor().Fields().ByName("name")).String()
}

// put stores resources in one commit.
func put(t *testing.T, db *store.DB, rs ...*resource.Resource) *store.Snapshot {
	t.Helper()
	s, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		for _, r := range rs {
			if _, err := tx.Put(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("put %d resources: %v", len(rs), err)
	}
	return s
}

// del deletes resources in one commit.
func del(t *testing.T, db *store.DB, fqns ...resource.FQN) *store.Snapshot {
	t.Helper()
	s, err := db.Update(t.Context(), meta(), func(tx *store.Tx) error {
		for _, f := range fqns {
			if _, err := tx.Delete(f, store.DeleteOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("delete %v: %v", fqns, err)
	}
	return s
}

// base is what most tests start with.
func base(t *testing.T, db *store.DB) *store.Snapshot {
	t.Helper()
	return put(t, db, res(org, "o"), res(tenant, "t"), res(cluster, "c"), res(front, "front"), res(back, "back"))
}

func fact(id, version string) *isthmusv1.Fact {
	return &isthmusv1.Fact{Id: id, Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{IstioVersion: version}}}
}

// contents of a snapshot in words that can be compared.
func contents(s *store.Snapshot) map[store.Key]string {
	out := map[store.Key]string{}
	for k, v := range s.Prefix("") {
		switch v := v.(type) {
		case *resource.Resource:
			out[k] = fmt.Sprintf("%s %s %s created %d changed %d",
				v.Kind.ID(), v.Etag, resource.SpecJSON(v.Spec), v.Created, v.Revision)
		case *isthmusv1.Fact:
			out[k] = v.GetMesh().GetIstioVersion()
		case *store.Claim:
			b, _ := json.Marshal(v)
			out[k] = string(b)
		default:
			out[k] = "?"
		}
	}
	return out
}

func sortedKeys(cs []store.Commit) []store.Key {
	all := map[store.Key]bool{}
	for _, c := range cs {
		for _, k := range c.Keys {
			all[k] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// errOurs is an error that a function of the suite returns.
func errOurs() error { return errOf("ours") }

type errOf string

func (e errOf) Error() string { return string(e) }

// is says whether err is of a kind, and of no other.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}
