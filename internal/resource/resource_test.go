package resource

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

const (
	tenant  FQN = "organizations/tetrate/tenants/test"
	shop        = tenant + "/workspaces/shop"
	shopGW      = shop + "/gatewaygroups/shop-gw"
	gateway     = shopGW + "/ingressgateways/front"
)

// TestKinds: the table is consistent, so that nothing that follows from it needs to be checked again.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	words := map[string]string{}
	for _, k := range Kinds {
		if k.Parent != "" && !seen[k.Parent] {
			t.Errorf("%s comes before its parent %s", k.ID(), k.Parent)
		}
		if seen[k.ID()] || ByID(k.ID()) != k {
			t.Errorf("%s is not unique", k.ID())
		}
		seen[k.ID()] = true
		if p := ByID(k.Parent); p != nil && p.Key == "" {
			t.Errorf("%s has children but no key", p.ID())
		}
		if k.Within != "" && k.Within != ByID(k.Parent).Plural {
			t.Errorf("%s stands below %s", k.ID(), k.Parent)
		}
		if k.Istio() && (k.Within == "" || istioRules(k.Spec()) == nil) {
			t.Errorf("%s does not say where it stands, or nothing checks it as Istio does", k.ID())
		}
		for _, s := range k.Short {
			if of := k.APIVersion + "/" + k.Name; words[s] != "" && words[s] != of {
				t.Errorf("%q is short for %s and %s", s, words[s], of)
			} else {
				words[s] = of
			}
			if diff := cmp.Diff(Relatives(k), Lookup(strings.ToUpper(s)), cmp.Comparer(func(a, b *Kind) bool { return a == b })); diff != "" {
				t.Errorf("Lookup(%q) (-want +got):\n%s", s, diff)
			}
		}
		for _, name := range []string{"fqn", "etag"} {
			fd := k.Spec().ProtoReflect().Descriptor().Fields().ByJSONName(name)
			if !k.Istio() && (fd == nil || !isOutput(fd)) {
				t.Errorf("%s has no output field %s", k.ID(), name)
			}
		}
	}
	if got := Lookup("nonsense"); got != nil {
		t.Errorf("Lookup(nonsense) = %v", got)
	}
}

func TestParseFQN(t *testing.T) {
	cases := map[string]struct {
		in   string
		kind string
		err  string
	}{
		"Organization": {in: "organizations/tetrate", kind: coreV2 + "/Organization"},
		"Gateway":      {in: string(gateway), kind: gatewayV2 + "/IngressGateway"},
		"Setting":      {in: string(shop) + "/settings/default", kind: coreV2 + "/WorkspaceSetting"},
		"User":         {in: "organizations/tetrate/users/jane.doe@example.com", kind: coreV2 + "/User"},
		"Empty":        {err: "the name is empty"},
		"Odd":          {in: "organizations", err: `name "organizations" is not a sequence of <plural>/<name>`},
		"Root":         {in: "tenants/t", err: `name "tenants/t": there is no kind with the plural "tenants" at the root`},
		"Below":        {in: "organizations/o/workspaces/s", err: `name "organizations/o/workspaces/s": there is no kind with the plural "workspaces" below organizations`},
		"UpperCase":    {in: "organizations/O", err: `name "organizations/O": "O" is not a DNS label: at most 63 lower-case letters, digits and '-', with a letter or digit at both ends`},
		"Slash":        {in: "organizations//tenants/t", err: `name "organizations//tenants/t": the name of the Organization is empty`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			fqn, kind, err := ParseFQN(tc.in)
			got, why := "", ""
			if kind != nil {
				got = kind.ID()
			}
			if err != nil {
				why = err.Error()
			} else if string(fqn) != tc.in {
				t.Errorf("ParseFQN(%q) = %q", tc.in, fqn)
			}
			if diff := cmp.Diff([]string{tc.kind, tc.err}, []string{got, why}); diff != "" {
				t.Errorf("ParseFQN(%q) (-want +got):\n%s", tc.in, diff)
			}
		})
	}
}

func TestFQN(t *testing.T) {
	got := []string{gateway.Name(), gateway.Plural(), string(gateway.Parent()), string(gateway.Ancestor("workspaces")), string(gateway.Ancestor("users"))}
	want := []string{"front", "ingressgateways", string(shopGW), string(shop), ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parts of %q (-want +got):\n%s", gateway, diff)
	}
	if !shop.Contains(gateway) || !shop.Contains(shop) || shop.Contains(shop+"s/x") {
		t.Errorf("%q does not contain what it should", shop)
	}
}

func TestEtag(t *testing.T) {
	kind := ByID(coreV2 + "/Tenant")
	a := New(kind, tenant, &tsbv2.Tenant{DisplayName: "x", Fqn: "ignored", Etag: "ignored"})
	if want := Etag(&Resource{Kind: kind, FQN: tenant, Spec: &tsbv2.Tenant{DisplayName: "x"}}); a.Etag != want || len(want) != 14 || want[0] != '"' {
		t.Errorf("etag %s, want %s: quoted, of twelve characters, without the output fields", a.Etag, want)
	}
	for name, b := range map[string]*Resource{
		"Spec": New(kind, tenant, &tsbv2.Tenant{DisplayName: "y"}),
		"Name": New(kind, tenant+"2", &tsbv2.Tenant{DisplayName: "x"}),
	} {
		if a.Etag == b.Etag {
			t.Errorf("%s does not change the etag", name)
		}
	}
}

// TestObjectMeta: only binary clients can send metadata of an object with something that is none.
func TestObjectMeta(t *testing.T) {
	r := New(ByID(coreV2+"/Tenant"), tenant, &tsbv2.Tenant{})
	r.Object = &isthmusv1.ObjectMeta{Namespace: "x"}
	want := "metadata: is for objects of Istio's kinds only"
	if got := Check(r); len(got) != 1 || got[0].Field+": "+got[0].Message != want {
		t.Errorf("Check() = %v, want %q", got, want)
	}
}

func TestClaims(t *testing.T) {
	g := New(ByID(gatewayV2+"/IngressGateway"), gateway, &gatewayv2.IngressGateway{
		Http:           []*gatewayv2.HttpServer{{Hostname: "b.example"}, {Hostname: "a.example"}},
		TlsPassthrough: []*gatewayv2.TLSPassthroughServer{{Hostname: "a.example"}},
		Tcp:            []*gatewayv2.TCPServer{{Hostname: "c.example"}},
	})
	w := New(ByID(coreV2+"/Workspace"), shop, &tsbv2.Workspace{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/shop", "c1/back"}}})
	for _, tc := range []struct {
		r    *Resource
		want []string
	}{
		{g, []string{"host/a.example", "host/b.example", "host/c.example"}},
		{w, []string{"namespace/*/shop", "namespace/c1/back"}},
		{New(ByID(coreV2+"/Tenant"), tenant, new(tsbv2.Tenant)), nil},
	} {
		if diff := cmp.Diff(tc.want, Claims(tc.r)); diff != "" {
			t.Errorf("Claims(%s) (-want +got):\n%s", tc.r.FQN, diff)
		}
	}
}

// TestUnpack: what comes over the wire is not trusted.
func TestUnpack(t *testing.T) {
	spec := func() *anypb.Any {
		a, err := anypb.New(&tsbv2.Tenant{DisplayName: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	unknown := spec()
	unknown.Value = protowire.AppendVarint(protowire.AppendTag(unknown.Value, 4711, protowire.VarintType), 1)
	deep := new(tsbv2.Tenant)
	deep.ConfigGenerationMetadata = new(typesv2.ConfigGenerationMetadata)
	deep.ConfigGenerationMetadata.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 4711, protowire.VarintType), 1))
	nested, err := anypb.New(deep)
	if err != nil {
		t.Fatal(err)
	}
	tenantKind := coreV2 + "/Tenant"
	cases := map[string]struct {
		in   *isthmusv1.Resource
		want []string
	}{
		"Good":          {in: &isthmusv1.Resource{Kind: tenantKind, Fqn: string(tenant), Spec: spec()}},
		"NoSpec":        {in: &isthmusv1.Resource{Kind: tenantKind, Fqn: string(tenant)}},
		"UnknownKind":   {in: &isthmusv1.Resource{Kind: "x/Y", Fqn: "x"}, want: []string{`kind: there is no kind "x/Y"`}},
		"OtherKind":     {in: &isthmusv1.Resource{Kind: coreV2 + "/Cluster", Fqn: string(tenant)}, want: []string{`fqn: "organizations/tetrate/tenants/test" is the name of a Tenant, not of a Cluster`}},
		"OtherMessage":  {in: &isthmusv1.Resource{Kind: coreV2 + "/Organization", Fqn: "organizations/o", Spec: spec()}, want: []string{"spec: *"}},
		"UnknownField":  {in: &isthmusv1.Resource{Kind: tenantKind, Fqn: string(tenant), Spec: unknown}, want: []string{"spec: has a field that this version does not know"}},
		"UnknownNested": {in: &isthmusv1.Resource{Kind: tenantKind, Fqn: string(tenant), Spec: nested}, want: []string{"spec.configGenerationMetadata: has a field that this version does not know"}},
		"Garbage":       {in: &isthmusv1.Resource{Kind: tenantKind, Fqn: string(tenant), Spec: &anypb.Any{TypeUrl: spec().GetTypeUrl(), Value: []byte{1, 2}}}, want: []string{"spec: *"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, problems := Unpack(tc.in)
			if len(problems) == 0 {
				problems = Check(r)
			}
			var got []string
			for _, p := range problems {
				got = append(got, p.Field+": "+p.Message)
			}
			if len(tc.want) == 1 && strings.HasSuffix(tc.want[0], "*") && len(got) == 1 && strings.HasPrefix(got[0], strings.TrimSuffix(tc.want[0], "*")) {
				return
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Unpack and Check (-want +got):\n%s", diff)
			}
			if len(got) == 0 {
				back, err := Pack(r)
				if err != nil || back.GetFqn() != tc.in.GetFqn() || back.GetKind() != tc.in.GetKind() {
					t.Errorf("Pack = %v, %v", back, err)
				}
			}
		})
	}
}

// TestCheckBinary: what YAML cannot express.
func TestCheckBinary(t *testing.T) {
	r := New(ByID(gatewayV2+"/Group"), shopGW, &gatewayv2.Group{
		ConfigMode:        typesv2.ConfigMode(7),
		DisplayName:       "a\x00b",
		NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/shop"}},
	})
	want := []string{
		"spec.configMode: must be one of BRIDGED, DIRECT, not 7",
		"spec.displayName: has characters that are no text",
	}
	var got []string
	for _, p := range Check(r) {
		got = append(got, p.Field+": "+p.Message)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Check (-want +got):\n%s", diff)
	}
}

func TestREST(t *testing.T) {
	kind := ByID(coreV2 + "/Workspace")
	good := `{"fqn":"` + string(shop) + `","etag":"\"x\"","displayName":"Shop","namespaceSelector":{"names":["*/shop"]}}`
	r, etag, problems := DecodeREST(kind, shop, []byte(good))
	if len(problems) > 0 || etag != `"x"` || r.FQN != shop {
		t.Fatalf("DecodeREST = %v, %q, %v", r, etag, problems)
	}
	created, problems := DecodeCreate(kind, tenant, []byte(`{"name":"shop","workspace":{"displayName":"Shop","namespaceSelector":{"names":["*/shop"]}}}`))
	if len(problems) > 0 || created.Etag != r.Etag {
		t.Fatalf("DecodeCreate = %v, %v, want etag %s", created, problems, r.Etag)
	}
	for _, key := range []string{"settings", "setting", "workspaceSetting"} {
		s, problems := DecodeCreate(ByID(coreV2+"/WorkspaceSetting"), shop, []byte(`{"name":"default","`+key+`":{"description":"x"}}`))
		if len(problems) > 0 || s.FQN != shop+"/settings/default" || s.Spec.(*tsbv2.WorkspaceSetting).GetDescription() != "x" {
			t.Errorf("DecodeCreate with %q = %v, %v", key, s, problems)
		}
	}
	if _, problems := DecodeCreate(kind, tenant, []byte(`{"name":"Shop","workspac":{}}`)); len(problems) != 3 {
		t.Errorf("DecodeCreate of three mistakes = %v", problems)
	}
	want := `{"workspaces":[{"displayName":"Shop","etag":` + fmt.Sprintf("%q", r.Etag) + `,"fqn":"` + string(shop) + `","namespaceSelector":{"names":["*/shop"]}}]}`
	if diff := cmp.Diff(want, string(EncodeRESTList("workspaces", []*Resource{r}))); diff != "" {
		t.Errorf("EncodeRESTList (-want +got):\n%s", diff)
	}
	for name, tc := range map[string]struct {
		body string
		want []string
	}{
		"NotJSON":  {"a: b", []string{"Workspace shop: the body must be one JSON object"}},
		"List":     {"[]", []string{"Workspace shop: the body must be one JSON object"}},
		"OtherFQN": {`{"fqn":"organizations/o","namespaceSelector":{"names":["*/a"]}}`, []string{`Workspace shop: spec.fqn: is "organizations/o", but the path says "organizations/tetrate/tenants/test/workspaces/shop"`}},
		"AllAtOnce": {`{"x":1,"privileged":"maybe"}`, []string{
			"Workspace shop: spec.namespaceSelector: is required",
			`Workspace shop: spec.privileged: must be true or false, not the text "maybe"`,
			`Workspace shop: spec.x: there is no field "x" in spec; its fields are fqn, displayName, description, etag, configGenerationMetadata, deletionProtectionEnabled, namespaceSelector, privileged, isolationBoundary, securityDomain, profiles`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, problems := DecodeREST(kind, shop, []byte(tc.body))
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("DecodeREST(%s) (-want +got):\n%s", tc.body, diff)
			}
		})
	}
}
