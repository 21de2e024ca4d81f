package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

// API versions of the kinds.
const (
	coreV2    = "api.tsb.tetrate.io/v2"
	gatewayV2 = "gateway.tsb.tetrate.io/v2"
	trafficV2 = "traffic.tsb.tetrate.io/v2"

	securityV2 = "security.tsb.tetrate.io/v2"

	extensionV2     = "extension.tsb.tetrate.io/v2"
	istioInternalV2 = "istiointernal.tsb.tetrate.io/v2"
	profileV2       = "profile.tsb.tetrate.io/v2"

	// coreGitOpsV2 is how Kubernetes objects spell coreV2.
	coreGitOpsV2 = "tsb.tetrate.io/v2"
)

// API versions of most of Istio's kinds, and the older ones that say the same.
const (
	networkingV1    = "networking.istio.io/v1"
	istioSecurityV1 = "security.istio.io/v1"
)

var (
	olderNetworking = []string{"networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"}
	olderSecurity   = []string{"security.istio.io/v1beta1"}
)

// Kinds are all kinds of the API, parents before their children. It is a table: nobody writes to it.
var Kinds = []*Kind{
	{
		APIVersion: coreV2, Name: "Organization", Plural: "organizations", Singular: "organization",
		Key: "organization", Short: []string{"org", "to"},
		Spec: func() proto.Message { return new(tsbv2.Organization) },
	},
	{
		APIVersion: coreV2, Name: "User", Parent: coreV2 + "/Organization", Plural: "users", Singular: "user",
		Short: []string{"tu"},
		Spec:  func() proto.Message { return new(tsbv2.User) },
	},
	{
		APIVersion: coreV2, Name: "Cluster", Parent: coreV2 + "/Organization", Plural: "clusters", Singular: "cluster",
		Key: "cluster", Short: []string{"cs", "tcs"},
		Spec: func() proto.Message { return new(tsbv2.Cluster) },
	},
	{
		APIVersion: extensionV2, Name: "WasmExtension", Parent: coreV2 + "/Organization", Plural: "extensions", Singular: "extension",
		Short: []string{"wext", "twex"},
		Spec:  func() proto.Message { return new(extensionv2.WasmExtension) },
	},
	{
		APIVersion: profileV2, Name: "Profile", Parent: coreV2 + "/Organization", Within: "organizations", Plural: "profiles", Singular: "profile",
		Short: []string{"tp"},
		Spec:  func() proto.Message { return new(profilev2.Profile) },
	},
	{
		APIVersion: coreV2, Name: "Tenant", Parent: coreV2 + "/Organization", Plural: "tenants", Singular: "tenant",
		Key: "tenant", Short: []string{"tns", "tt"},
		Spec: func() proto.Message { return new(tsbv2.Tenant) },
	},
	{
		APIVersion: coreV2, Name: "OrganizationSetting", Parent: coreV2 + "/Organization", Plural: "settings", Singular: "setting",
		Short: []string{"os", "tos"},
		Spec:  func() proto.Message { return new(tsbv2.OrganizationSetting) },
	},
	{
		APIVersion: coreV2, Name: "TenantSetting", Parent: coreV2 + "/Tenant", Plural: "settings", Singular: "setting",
		Short: []string{"tset", "tts"},
		Spec:  func() proto.Message { return new(tsbv2.TenantSetting) },
	},
	{
		APIVersion: profileV2, Name: "Profile", Parent: coreV2 + "/Tenant", Within: "tenants", Plural: "profiles", Singular: "profile",
		Short: []string{"tp"},
		Spec:  func() proto.Message { return new(profilev2.Profile) },
	},
	{
		APIVersion: coreV2, Name: "Workspace", Parent: coreV2 + "/Tenant", Plural: "workspaces", Singular: "workspace",
		Key: "workspace", Short: []string{"ws", "twk"},
		Spec: func() proto.Message { return new(tsbv2.Workspace) },
	},
	{
		APIVersion: coreV2, Name: "WorkspaceSetting", Parent: coreV2 + "/Workspace", Plural: "settings", Singular: "setting",
		Short: []string{"wss", "tws"},
		Spec:  func() proto.Message { return new(tsbv2.WorkspaceSetting) },
	},
	{
		APIVersion: profileV2, Name: "Profile", Parent: coreV2 + "/Workspace", Within: "workspaces", Plural: "profiles", Singular: "profile",
		Short: []string{"tp"},
		Spec:  func() proto.Message { return new(profilev2.Profile) },
	},
	{
		APIVersion: gatewayV2, Name: "Group", Parent: coreV2 + "/Workspace", Plural: "gatewaygroups", Singular: "group",
		Key: "group", Annotation: "gatewayGroup", Short: []string{"gg", "tgg", "gatewaygroup"},
		Spec: func() proto.Message { return new(gatewayv2.Group) },
	},
	{
		APIVersion: gatewayV2, Name: "IngressGateway", Parent: gatewayV2 + "/Group", Plural: "ingressgateways", Singular: "ingressgateway",
		Short: []string{"ig", "tig"},
		Spec:  func() proto.Message { return new(gatewayv2.IngressGateway) },
	},
	{
		APIVersion: gatewayV2, Name: "Tier1Gateway", Parent: gatewayV2 + "/Group", Plural: "tier1gateways", Singular: "tier1gateway",
		Short: []string{"t1", "tt1"}, Instead: "the kind Gateway with route.clusterDestination",
		Spec: func() proto.Message { return new(gatewayv2.Tier1Gateway) },
	},
	{
		APIVersion: gatewayV2, Name: "EgressGateway", Parent: gatewayV2 + "/Group", Plural: "egressgateways", Singular: "egressgateway",
		Short: []string{"eg", "teg"}, Instead: "the kind Gateway with egressAuthorization",
		Spec: func() proto.Message { return new(gatewayv2.EgressGateway) },
	},
	{
		APIVersion: gatewayV2, Name: "Gateway", Parent: gatewayV2 + "/Group", Plural: "unifiedgateways", Singular: "gateway",
		Short: []string{"gwt"},
		Spec:  func() proto.Message { return new(gatewayv2.Gateway) },
	},
	{
		APIVersion: networkingV1, Name: "Gateway", Parent: gatewayV2 + "/Group", Within: "gatewaygroups",
		Plural: "gateways", Singular: "gateway", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.Gateway) },
	},
	{
		APIVersion: networkingV1, Name: "VirtualService", Parent: gatewayV2 + "/Group", Within: "gatewaygroups",
		Plural: "virtualservices", Singular: "virtualservice", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.VirtualService) },
	},
	{
		APIVersion: istioSecurityV1, Name: "AuthorizationPolicy", Parent: gatewayV2 + "/Group", Within: "gatewaygroups",
		Plural: "authorizationpolicies", Singular: "authorizationpolicy", Versions: olderSecurity,
		Spec: func() proto.Message { return new(security.AuthorizationPolicy) },
	},
	{
		APIVersion: istioSecurityV1, Name: "RequestAuthentication", Parent: gatewayV2 + "/Group", Within: "gatewaygroups",
		Plural: "requestauthentications", Singular: "requestauthentication", Versions: olderSecurity,
		Spec: func() proto.Message { return new(security.RequestAuthentication) },
	},
	{
		APIVersion: trafficV2, Name: "Group", Parent: coreV2 + "/Workspace", Plural: "trafficgroups", Singular: "group",
		Key: "group", Annotation: "trafficGroup", Short: []string{"tg", "ttg", "trafficgroup"},
		Spec: func() proto.Message { return new(trafficv2.Group) },
	},
	{
		APIVersion: trafficV2, Name: "TrafficSetting", Parent: trafficV2 + "/Group", Plural: "settings", Singular: "setting",
		Short: []string{"ts", "ttrs"},
		Spec:  func() proto.Message { return new(trafficv2.TrafficSetting) },
	},
	{
		APIVersion: trafficV2, Name: "ServiceTrafficSetting", Parent: trafficV2 + "/Group", Plural: "servicesettings", Singular: "servicesetting",
		Short: []string{"sts", "tsts"},
		Spec:  func() proto.Message { return new(trafficv2.ServiceTrafficSetting) },
	},
	{
		APIVersion: trafficV2, Name: "ServiceRoute", Parent: trafficV2 + "/Group", Plural: "serviceroutes", Singular: "serviceroute",
		Short: []string{"sr", "tsr"},
		Spec:  func() proto.Message { return new(trafficv2.ServiceRoute) },
	},
	{
		APIVersion: securityV2, Name: "Group", Parent: coreV2 + "/Workspace", Plural: "securitygroups", Singular: "group",
		Key: "group", Annotation: "securityGroup", Short: []string{"sg", "tsg", "securitygroup"},
		Spec: func() proto.Message { return new(securityv2.Group) },
	},
	{
		APIVersion: securityV2, Name: "SecuritySetting", Parent: securityV2 + "/Group", Plural: "settings", Singular: "setting",
		Short: []string{"ss", "tss"},
		Spec:  func() proto.Message { return new(securityv2.SecuritySetting) },
	},
	{
		APIVersion: securityV2, Name: "ServiceSecuritySetting", Parent: securityV2 + "/Group", Plural: "servicesettings", Singular: "servicesetting",
		Short: []string{"sss", "tsss"},
		Spec:  func() proto.Message { return new(securityv2.ServiceSecuritySetting) },
	},
	{
		APIVersion: istioSecurityV1, Name: "PeerAuthentication", Parent: securityV2 + "/Group", Within: "securitygroups",
		Plural: "peerauthentications", Singular: "peerauthentication", Versions: olderSecurity,
		Spec: func() proto.Message { return new(security.PeerAuthentication) },
	},
	{
		APIVersion: istioSecurityV1, Name: "AuthorizationPolicy", Parent: securityV2 + "/Group", Within: "securitygroups",
		Plural: "authorizationpolicies", Singular: "authorizationpolicy", Versions: olderSecurity,
		Spec: func() proto.Message { return new(security.AuthorizationPolicy) },
	},
	{
		APIVersion: istioSecurityV1, Name: "RequestAuthentication", Parent: securityV2 + "/Group", Within: "securitygroups",
		Plural: "requestauthentications", Singular: "requestauthentication", Versions: olderSecurity,
		Spec: func() proto.Message { return new(security.RequestAuthentication) },
	},
	{
		APIVersion: networkingV1, Name: "VirtualService", Parent: trafficV2 + "/Group", Within: "trafficgroups",
		Plural: "virtualservices", Singular: "virtualservice", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.VirtualService) },
	},
	{
		APIVersion: networkingV1, Name: "DestinationRule", Parent: trafficV2 + "/Group", Within: "trafficgroups",
		Plural: "destinationrules", Singular: "destinationrule", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.DestinationRule) },
	},
	{
		APIVersion: networkingV1, Name: "Sidecar", Parent: trafficV2 + "/Group", Within: "trafficgroups",
		Plural: "sidecars", Singular: "sidecar", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.Sidecar) },
	},
	{
		APIVersion: istioInternalV2, Name: "Group", Parent: coreV2 + "/Workspace", Plural: "istiointernalgroups", Singular: "group",
		Key: "group", Annotation: "istioInternalGroup", Short: []string{"iig", "tiig", "istiointernalgroup"},
		Spec: func() proto.Message { return new(istiointernalv2.Group) },
	},
	{
		APIVersion: "networking.istio.io/v1alpha3", Name: "EnvoyFilter", Parent: istioInternalV2 + "/Group", Within: "istiointernalgroups",
		Plural: "envoyfilters", Singular: "envoyfilter",
		Spec: func() proto.Message { return new(networking.EnvoyFilter) },
	},
	{
		APIVersion: networkingV1, Name: "ServiceEntry", Parent: istioInternalV2 + "/Group", Within: "istiointernalgroups",
		Plural: "serviceentries", Singular: "serviceentry", Versions: olderNetworking,
		Spec: func() proto.Message { return new(networking.ServiceEntry) },
	},
	{
		APIVersion: "extensions.istio.io/v1alpha1", Name: "WasmPlugin", Parent: istioInternalV2 + "/Group", Within: "istiointernalgroups",
		Plural: "wasmplugins", Singular: "wasmplugin",
		Spec: func() proto.Message { return new(extensions.WasmPlugin) },
	},
}

// ByID returns the kind with an ID, nil when there is none.
func ByID(id string) *Kind {
	for _, k := range Kinds {
		rest := id
		if k.Within != "" {
			if len(id) <= len(k.Within) || id[:len(k.Within)] != k.Within {
				continue
			}
			rest = id[len(k.Within)+1:]
		}
		if len(rest) == len(k.APIVersion)+1+len(k.Name) && strings.HasPrefix(rest, k.APIVersion) && strings.HasSuffix(rest, k.Name) {
			return k
		}
	}
	return nil
}

// Lookup returns the kinds that a person may mean with a word: a kind ("IngressGateway"), with or without its API
// version, a plural, a singular or a short name, in any case. A name that this API shares with Istio is this API's: Istio's
// Gateway has its API version before it, or is called by its plural.
func Lookup(word string) []*Kind {
	var own, istio []*Kind
	for _, k := range Kinds {
		names := append([]string{k.Name, k.ID(), k.Plural, k.Singular, k.APIVersion + "/" + k.Name}, k.Short...)
		switch {
		case !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, word) }):
		case k.Istio():
			istio = append(istio, k)
		default:
			own = append(own, k)
		}
	}
	if len(own) > 0 {
		return own
	}
	return istio
}

// child returns the kind of the children of parent (nil for the root) below a plural, nil when there is none.
func child(parent *Kind, plural string) *Kind {
	id := ""
	if parent != nil {
		id = parent.ID()
	}
	for _, k := range Kinds {
		if k.Plural == plural && k.Parent == id {
			return k
		}
	}
	return nil
}

// Lineage returns the kinds from the root down to k.
func (k *Kind) Lineage() []*Kind {
	var line []*Kind
	for ; k != nil; k = ByID(k.Parent) {
		line = append(line, k)
	}
	slices.Reverse(line)
	return line
}

// Nearest is the one that is meant of kinds of one name whose parents stand below each other: the one below the nearest owner that is
// named, without any the one furthest up. It is nil for kinds whose parents do not.
func Nearest(kinds []*Kind, named func(owner *Kind) bool) *Kind {
	var found, above *Kind
	for i, k := range kinds {
		parent := ByID(k.Parent)
		if i > 0 && (k.Name != kinds[0].Name || parent == above || !slices.Contains(parent.Lineage(), above)) {
			return nil
		}
		if above = parent; found == nil || named(parent) {
			found = k
		}
	}
	return found
}

// Relatives are a kind and those that differ from it only in where they stand, Istio's aside.
func Relatives(k *Kind) []*Kind {
	if k.Istio() {
		return []*Kind{k}
	}
	return byEnvelope(k.APIVersion, k.Name)
}

// byEnvelope returns the kinds that apiVersion and kind of a document name: none of ours, one, or those that stand below parents of
// several kinds.
func byEnvelope(apiVersion, kind string) []*Kind {
	if apiVersion == coreGitOpsV2 {
		apiVersion = coreV2
	}
	var found []*Kind
	for _, k := range Kinds {
		if k.Name == kind && (k.APIVersion == apiVersion || slices.Contains(k.Versions, apiVersion)) {
			found = append(found, k)
		}
	}
	return found
}
