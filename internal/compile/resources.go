package compile

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	istiointernalv2 "isthmus.dev/isthmus/api/tsb/istiointernal/v2"
	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// resourceLayer looks at each resource by itself and puts what others ask about into indexes.
func resourceLayer() *layer {
	return &layer{
		name:   "resource",
		unitOf: func(key string) string { return string(store.Key(key).FQN()) },
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveResource,
	}
}

func deriveResource(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
	if res == nil {
		return
	}
	out.say(fqn, resource.Condition{Type: Accepted, OK: true, Reason: reasonAccepted, Message: "The resource is valid."})
	if parent := fqn.Parent(); parent != "" && r.get(string(store.ResourceKey(parent))) == nil {
		out.say(fqn, no(reasonParentMissing, "", "%s %q does not exist.", parentNoun(parent), parent))
	}
	for _, field := range untranslated(res.Spec) {
		out.say(fqn, no(reasonNotTranslated, field, "The field %s is not translated.", field))
	}
	switch spec := res.Spec.(type) {
	case *tsbv2.Cluster:
		deriveCluster(r, fqn, spec, out)
	case *tsbv2.Workspace:
		publishSelection(out, workspaceScope, fqn, claimed(r, fqn, selectorPatterns(spec.GetNamespaceSelector().GetNames())))
		if d := workspaceDomain(r, fqn, spec); d != "" {
			out.put(domainPrefix(d)+string(fqn), fqn)
		}
	case *gatewayv2.Group:
		publishSelection(out, groupScope(fqn.Parent()), fqn, selectorPatterns(spec.GetNamespaceSelector().GetNames()))
	case *trafficv2.Group:
		publishSelection(out, trafficScope(fqn.Parent()), fqn, selectorPatterns(spec.GetNamespaceSelector().GetNames()))
	case *securityv2.Group:
		publishSelection(out, securityScope(fqn.Parent()), fqn, selectorPatterns(spec.GetNamespaceSelector().GetNames()))
		if d := spec.GetSecurityDomain(); d != "" {
			out.put(domainPrefix(d)+string(fqn), fqn)
		}
	case *securityv2.ServiceSecuritySetting:
		out.put(securedServicePrefix(fqn.Parent(), spec.GetService())+string(fqn), fqn)
	case *trafficv2.ServiceTrafficSetting:
		out.put(trafficServicePrefix(fqn.Parent(), spec.GetService())+string(fqn), fqn)
	case *trafficv2.ServiceRoute:
		ref := serviceOf(spec)
		out.put(routedPrefix(fqn.Parent(), ref.Namespace, ref.Name)+string(fqn), fqn)
	case *istiointernalv2.Group:
		publishSelection(out, istioScope(fqn.Parent()), fqn, selectorPatterns(spec.GetNamespaceSelector().GetNames()))
	case *networking.Gateway:
		indexDirectGateway(r, fqn, spec, out)
	case gatewaySpec:
		indexGateway(r, fqn, spec, out)
		indexEgress(fqn, spec, out)
	}
	if _, ok := res.Spec.(resource.Profiled); ok {
		sayProfiles(r, res, out)
	}
	for _, c := range metadataProblems(res) {
		out.say(fqn, c)
	}
}

func parentNoun(parent resource.FQN) string {
	switch parent.Plural() {
	case "organizations":
		return "Organization"
	case "tenants":
		return "Tenant"
	case "workspaces":
		return "Workspace"
	case "gatewaygroups":
		return "Gateway group"
	case "trafficgroups":
		return "Traffic group"
	case "securitygroups":
		return "Security group"
	case "istiointernalgroups":
		return "Istio internal group"
	}
	return "Parent"
}

// cluster is what the layers above know of a cluster.
type cluster struct {
	Name         string
	Organization resource.FQN
	// Known says that its edge has reported.
	Known       bool
	TrustDomain string
	// Aliases are the trust domains of others whose identities the mesh takes.
	Aliases []string
	// Roots are the fingerprints of the root certificates that the mesh trusts; its workloads have certificates of Signer, which
	// is empty while that is not known.
	Roots      []string
	Signer     string
	DNSCapture bool
	// ForwardedClients: proxies in front of gateways tell them who the client is.
	ForwardedClients bool
	// Network is empty unless Istio and the resource agree on it.
	Network string
	// Declared is the network that the resource says: it is where the addresses of gateways can be called from.
	Declared string
	Labels   map[string]string
	// Drained clusters are called no more, as long as others are there.
	Drained  bool
	Locality string
}

const (
	clustersPrefix     = "u/cluster/"
	clusterNamesPrefix = "u/clustername/"
	intentClusters     = "u/intent/cluster/"
)

func deriveCluster(r *Reads, fqn resource.FQN, spec *tsbv2.Cluster, out *output) {
	c := cluster{Name: fqn.Name(), Organization: fqn.Parent(), Declared: spec.GetNetwork(), Labels: spec.GetLabels()}
	c.Drained = c.Labels[resource.DrainedLabel] == "true"
	f, _ := r.get(string(store.FactKey(c.Name, "mesh//"))).(*isthmusv1.Fact)
	mesh := f.GetMesh()
	c.Known = mesh != nil
	c.TrustDomain = cmp.Or(spec.GetTrustDomain(), "cluster.local")
	c.Locality = spec.GetLocality().GetRegion() //nolint:staticcheck // deprecated for users, still obeyed
	if mesh != nil {
		c.TrustDomain = cmp.Or(mesh.GetTrustDomain(), c.TrustDomain)
		c.Roots, c.Signer, c.Aliases = mesh.GetRootsSha256(), mesh.GetSignerSha256(), mesh.GetTrustDomainAliases()
		c.DNSCapture, c.ForwardedClients = mesh.GetDnsCapture(), mesh.GetForwardedClients()
		c.Locality = cmp.Or(locality(mesh.GetRegion(), mesh.GetZone(), ""), c.Locality)
		if n := spec.GetNetwork(); n != "" && n == mesh.GetNetwork() {
			c.Network = n
		} else if n != "" {
			out.say(fqn, no(reasonNetwork, "network", "Istio's network in the cluster is %q, not %q.", mesh.GetNetwork(), n))
		}
	}
	out.put(clustersPrefix+c.Name, c)
	out.put(clusterNamesPrefix+c.Name, c.Organization)
	if c.Known {
		out.put(trustPrefix+c.Name, trust{c.Organization, c.TrustDomain})
	}
}

func locality(region, zone, subzone string) string {
	switch {
	case region == "":
		return ""
	case zone == "":
		return region
	case subzone == "":
		return region + "/" + zone
	}
	return region + "/" + zone + "/" + subzone
}

// listener is a server in the index of those that may be in each other's way.
type listener struct {
	FQN    resource.FQN
	Server string
	// Order of servers within one gateway.
	Order  int
	Labels map[string]string
}

// named is who asks for a host, in the index of names: since when, and on which pods.
type named struct {
	Since     int64
	Namespace string
	Labels    map[string]string
}

// The indexes of gateways.
func listenerHostKey(group resource.FQN, ns string, port uint32, host string) string {
	return "u/listen/" + string(group) + "/" + ns + "/" + itoa(port) + "/host/" + host + "/"
}

func listenerClassKey(group resource.FQN, ns string, port uint32, class string) string {
	return "u/listen/" + string(group) + "/" + ns + "/" + itoa(port) + "/class/" + class + "/"
}

func hostClaimPrefix(host string) string  { return "u/hostclaim/" + host + "/" }
func frontClaimPrefix(host string) string { return "u/frontclaim/" + host + "/" }
func dashPrefix(dashed string) string     { return "u/dash/" + dashed + "/" }

// indexGateway says which hosts and ports a gateway asks for.
func indexGateway(r *Reads, fqn resource.FQN, spec gatewaySpec, out *output) {
	group, workspace := fqn.Parent(), fqn.Ancestor("workspaces")
	ns, labels := spec.GetWorkloadSelector().GetNamespace(), spec.GetWorkloadSelector().GetLabels()
	for i, s := range servers(spec) {
		claim, index := store.HostClaimKey(s.host), hostClaimPrefix(s.host)
		if s.front {
			claim, index = store.FrontClaimKey(s.host), frontClaimPrefix(s.host)
		}
		at := rank{since(r, claim, workspace), workspace}
		out.put(index+string(fqn), at)
		out.put(dashPrefix(dashed(s.host))+s.host+"/"+string(fqn), named{Since: at.Since, Namespace: ns, Labels: labels})
		var l any = listener{FQN: fqn, Server: s.name, Order: i, Labels: labels}
		// Of several servers under one key the first one stays.
		out.put(listenerHostKey(group, ns, s.port, s.host)+string(fqn), l)
		out.put(listenerClassKey(group, ns, s.port, s.class())+string(fqn), l)
	}
}

// dashed is a host name as part of an object name.
func dashed(host string) string {
	return strings.ReplaceAll(strings.ReplaceAll(host, ".", "-"), "*", "wildcard")
}

// untranslated lists the fields of a specification that are set and mean something that is not translated, servers
// of gateways aside.
func untranslated(spec proto.Message) []string {
	var fields []string
	add := func(field string, set bool) {
		if set {
			fields = append(fields, field)
		}
	}
	switch s := spec.(type) {
	case *tsbv2.Cluster:
		add("namespaceScope", s.GetNamespaceScope() != nil)
		add("tokenTtl", s.GetTokenTtl() != nil)
		add("configGenerationMetadata", s.GetConfigGenerationMetadata() != nil)
	case *extensionv2.WasmExtension:
		add("configGenerationMetadata", s.GetConfigGenerationMetadata() != nil)
	case *tsbv2.Workspace:
		add("isolationBoundary", s.GetIsolationBoundary() != "")
	case *tsbv2.WorkspaceSetting, *tsbv2.OrganizationSetting:
		fields = setFields(s, "fqn", "displayName", "description", "etag", "defaultSecuritySetting", "defaultTrafficSetting", "failoverSettings", "regionalFailover", "networkSettings", "hostsReachability", eastWestField)
		add("failoverSettings.automaticLoadBalancing", s.(failoverSetting).GetFailoverSettings().GetAutomaticLoadBalancing() != nil)
	case *tsbv2.TenantSetting:
		fields = setFields(s, "fqn", "displayName", "description", "etag", "defaultSecuritySetting", "defaultTrafficSetting")
	case *profilev2.Profile:
		for _, c := range sectionsOf("", s) {
			if l := c.traffic(); l != nil {
				fields = append(fields, untranslatedTraffic(l.Setting, l.Field)...)
			}
		}
	case *trafficv2.TrafficSetting:
		fields = untranslatedTraffic(s, "")
	case *trafficv2.ServiceTrafficSetting:
		fields = untranslatedTraffic(s.GetSettings(), "settings.")
	case *trafficv2.ServiceRoute:
		add("argoRollout", s.GetArgoRollout() != nil)
		for i, h := range s.GetHttpRoutes() {
			add("httpRoutes["+itoa(i)+"].flagger", h.GetFlagger() != nil)
		}
	}
	if d, ok := spec.(trafficDefaults); ok && d.GetDefaultTrafficSetting() != nil {
		fields = append(fields, untranslatedTraffic(d.GetDefaultTrafficSetting(), "defaultTrafficSetting.")...)
	}
	slices.Sort(fields)
	return fields
}

// untranslatedTraffic are the fields of a setting of traffic that stands below a prefix.
func untranslatedTraffic(s *trafficv2.TrafficSetting, prefix string) []string {
	fields := setFields(s, "fqn", "displayName", "description", "etag", "configGenerationMetadata", "egress", "reachability", "resilience", "outbound", "upstreamTrafficSettings")
	r := s.GetResilience() //nolint:staticcheck // deprecated for users, still obeyed
	if r.GetCircuitBreakerSensitivity() == trafficv2.Sensitivity_CUSTOM {
		fields = append(fields, "resilience.circuitBreakerSensitivity")
	}
	fields = slices.DeleteFunc(fields, func(f string) bool {
		return strings.HasPrefix(f, "inbound.resilience.connectionPool.tcp.keepAlive") || strings.HasPrefix(f, "inbound.resilience.meshTimeout")
	})
	for i := range fields {
		fields[i] = prefix + fields[i]
	}
	return fields
}
