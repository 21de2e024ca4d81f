package istio

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pkg/util/sets"
)

// configuration is all that is sent to one proxy, by type URL and name.
type configuration map[string]map[string]proto.Message

func (c configuration) add(typeURL, name string, m proto.Message) {
	if c[typeURL] == nil {
		c[typeURL] = map[string]proto.Message{}
	}
	c[typeURL][name] = m
}

// each calls f with every message that m contains, m included, and looks into what is wrapped in an Any.
func each(m protoreflect.Message, f func(field protoreflect.Name, m proto.Message)) {
	visit("", m, f)
}

func visit(field protoreflect.Name, m protoreflect.Message, f func(protoreflect.Name, proto.Message)) {
	if wrapped, ok := m.Interface().(*anypb.Any); ok {
		inner, err := wrapped.UnmarshalNew()
		if err != nil {
			return // a type that Istio does not know: Envoy will say whether it does
		}
		visit(field, inner.ProtoReflect(), f)
		return
	}
	f(field, m.Interface())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				visit(fd.Name(), v.Message(), f)
				return true
			})
		case fd.IsList() && fd.Message() != nil:
			for i := range v.List().Len() {
				visit(fd.Name(), v.List().Get(i).Message(), f)
			}
		case fd.Message() != nil && !fd.IsMap():
			visit(fd.Name(), v.Message(), f)
		}
		return true
	})
}

// secrets are the names of the secrets that Envoy asks for, with the field that refers to each. Those of files it reads itself.
func (c configuration) secrets() map[string]protoreflect.Name {
	found := map[string]protoreflect.Name{}
	for _, resources := range c {
		for _, r := range resources {
			each(r.ProtoReflect(), func(field protoreflect.Name, m proto.Message) {
				if s, ok := m.(*tlsv3.SdsSecretConfig); ok && s.GetSdsConfig() != nil && s.GetSdsConfig().GetPathConfigSource() == nil {
					found[s.Name] = field
				}
			})
		}
	}
	return found
}

// routeNames and extensionNames are what listeners refer to.
func routeNames(l *listener.Listener) sets.String {
	names := sets.String{}
	each(l.ProtoReflect(), func(_ protoreflect.Name, m proto.Message) {
		if r, ok := m.(*hcm.Rds); ok {
			names.Insert(r.RouteConfigName)
		}
	})
	return names
}

func extensionNames(listeners []*listener.Listener) sets.String {
	names := sets.String{}
	for _, l := range listeners {
		each(l.ProtoReflect(), func(_ protoreflect.Name, m proto.Message) {
			switch f := m.(type) {
			case *hcm.HttpFilter:
				if f.GetConfigDiscovery() != nil {
					names.Insert(f.Name)
				}
			case *listener.Filter:
				if f.GetConfigDiscovery() != nil {
					names.Insert(f.Name)
				}
			}
		})
	}
	return names
}

// agentSecret is what pilot-agent would answer: the identity of the pod, the root of the mesh, or files of the pod.
func agentSecret(t *testing.T, name string, field protoreflect.Name, identity string) *tlsv3.Secret {
	t.Helper()
	inline := func(data []byte) *core.DataSource {
		return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: data}}
	}
	s := &tlsv3.Secret{Name: name}
	switch field {
	case "validation_context_sds_secret_config":
		s.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(throwAway(t).cert)}}
	case "tls_certificate_sds_secret_configs":
		leaf := throwAway(t).leaf("test", identity)
		s.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(leaf.cert), PrivateKey: inline(leaf.key)}}
	default:
		s.Type = &tlsv3.Secret_GenericSecret{GenericSecret: &tlsv3.GenericSecret{Secret: inline([]byte("throw-away"))}}
	}
	return s
}

// write leaves a file for each type in dir/<name>, for people to read.
func (c configuration) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for typeURL, resources := range c {
		if typeURL == v3.SecretType {
			continue
		}
		var b bytes.Buffer
		for _, name := range slices.Sorted(maps.Keys(resources)) {
			text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(resources[name])
			if err != nil {
				t.Fatal(err)
			}
			// protojson's own spaces differ from one build to the next, and people compare these files.
			if err := json.Indent(&b, text, "", "  "); err != nil {
				t.Fatal(err)
			}
			b.WriteString("\n")
		}
		write(t, filepath.Join(dir, strings.ToLower(v3.GetShortType(typeURL))+".json"), b.Bytes())
	}
}

// unbound is the configuration without ports that listeners bind: Envoy has to take it, not to serve it.
func unbound(c configuration) configuration {
	out := maps.Clone(c)
	out[v3.ListenerType] = map[string]proto.Message{}
	for name, m := range c[v3.ListenerType] {
		l := proto.CloneOf(m.(*listener.Listener))
		l.BindToPort = wrapperspb.Bool(false)
		out[v3.ListenerType][name] = l
	}
	return out
}
