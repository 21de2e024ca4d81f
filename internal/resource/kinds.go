package resource

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
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

	extensionV2 = "extension.tsb.tetrate.io/v2"

	// coreGitOpsV2 is how Kubernetes objects spell coreV2.
	coreGitOpsV2 = "tsb.tetrate.io/v2"
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
}

// ByID returns the kind with an ID, nil when there is none.
func ByID(id string) *Kind {
	for _, k := range Kinds {
		if len(id) == len(k.APIVersion)+1+len(k.Name) && strings.HasPrefix(id, k.APIVersion) && strings.HasSuffix(id, k.Name) {
			return k
		}
	}
	return nil
}

// Lookup returns the kinds that a person may mean with a word: a kind ("IngressGateway"), with or without its API
// version, a plural, a singular or a short name, in any case.
func Lookup(word string) []*Kind {
	var found []*Kind
	for _, k := range Kinds {
		names := append([]string{k.Name, k.ID(), k.Plural, k.Singular}, k.Short...)
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, word) }) {
			found = append(found, k)
		}
	}
	return found
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

// byEnvelope returns the kind that apiVersion and kind of a document name, nil when it is none of ours.
func byEnvelope(apiVersion, kind string) *Kind {
	if apiVersion == coreGitOpsV2 {
		apiVersion = coreV2
	}
	return ByID(apiVersion + "/" + kind)
}
