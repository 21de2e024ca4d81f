package resource

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
)

var (
	// labelKey and labelValue are what Kubernetes accepts; anything else would fail in the clusters.
	labelKey   = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
	headerName = regexp.MustCompile("^:?[-A-Za-z0-9!#$%&'*+.^_`|~]+$")
)

// message checks what holds for a message wherever it stands.
func (c *checker) message(m protoreflect.Message, path string) {
	if len(m.GetUnknown()) > 0 {
		c.at(path, "has a field that this version does not know")
	}
	switch m := m.Interface().(type) {
	case *durationpb.Duration:
		if !m.IsValid() || m.AsDuration() < 0 {
			c.at(path, "must not be negative or longer than 290 years")
		}
		return
	case *structpb.Struct:
		c.freeForm(m, path, 0)
		return
	case *typesv2.StringMatch:
		c.stringMatch(m, path)
	case *typesv2.ConfigGenerationMetadata:
		c.labels(m.GetLabels(), path+".labels")
		for k := range m.GetAnnotations() {
			if !labelKey.MatchString(k) {
				c.at(mapPath(path+".annotations", k), "is not an annotation key of Kubernetes")
			}
		}
	case *typesv2.WorkloadSelector:
		if m.GetNamespace() != "" && !dnsLabel.MatchString(m.GetNamespace()) {
			c.at(path+".namespace", "%q is not a namespace name", m.GetNamespace())
		}
		c.labels(m.GetLabels(), path+".labels")
	case *tsbv2.EastWestGatewaySetting_ExposedService:
		c.labels(m.GetServiceLabels(), path+".serviceLabels")
	case *trafficv2.TrafficSetting:
		c.traffic(m, path)
	case *typesv2.RegionalFailover:
		if m.GetFrom() != "" && m.GetFrom() == m.GetTo() {
			c.at(path+".to", "is the same region as from")
		}
	case *typesv2.ServerTLS:
		c.serverTLS(m, path)
	case *typesv2.RateLimiting:
		c.rateLimiting(m, path)
	case *typesv2.ClientTLS:
		c.clientTLS(m, path)
	case *typesv2.Authentication:
		c.authentication(m, path)
	case *typesv2.JWT:
		c.jwt(m, path)
	case *typesv2.OIDC:
		c.oidc(m, path)
	case *typesv2.Authorization_External:
		c.external(m, path)
	case *typesv2.Authorization_Local:
		c.local(m, path)
	case *gatewayv2.CorsPolicy:
		c.cors(m, path)
	case *gatewayv2.Modify:
		c.modify(m, path)
	case *gatewayv2.DirectResponse:
		c.body(m, path)
	case *securityv2.SecuritySetting:
		c.security(m, path)
	case guarded:
		c.guards(m, path)
	}
	eachField(m, path, func(fd protoreflect.FieldDescriptor, v protoreflect.Value) { c.values(fd, v, path) }, c.message)
}

// values checks in a field of the message at path what YAML cannot express and binary can: numbers that no enum has,
// texts that are not UTF-8.
func (c *checker) values(fd protoreflect.FieldDescriptor, v protoreflect.Value, path string) {
	switch {
	case fd.IsMap():
	case fd.IsList() && fd.Kind() == protoreflect.EnumKind:
		for i := range v.List().Len() {
			c.enum(fd, v.List().Get(i).Enum(), path)
		}
	case fd.IsList():
	case fd.Kind() == protoreflect.EnumKind:
		c.enum(fd, v.Enum(), path)
	case fd.Kind() == protoreflect.StringKind:
		if s := v.String(); strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			c.at(path+"."+fd.JSONName(), "has characters that are no text")
		}
	}
}

func (c *checker) enum(fd protoreflect.FieldDescriptor, n protoreflect.EnumNumber, path string) {
	if fd.Enum().Values().ByNumber(n) == nil {
		c.at(path+"."+fd.JSONName(), "must be %s, not %d", want(fd), n)
	}
}

func (c *checker) labels(labels map[string]string, path string) {
	for k, v := range labels {
		if !labelKey.MatchString(k) {
			c.at(mapPath(path, k), "is not a label key of Kubernetes")
		} else if !labelValue.MatchString(v) {
			c.at(mapPath(path, k), "%q is not a label value of Kubernetes", v)
		}
	}
}

// selector checks the patterns of namespaces one by one; their form is checked by annotation.
func (c *checker) selector(s *typesv2.NamespaceSelector, path string) {
	seen := map[string]int{}
	for i, n := range s.GetNames() {
		at := path + ".names[" + itoa(i) + "]"
		cluster, namespace, _ := strings.Cut(n, "/")
		prefix := strings.TrimSuffix(namespace, "*")
		switch first, again := seen[n]; {
		case again:
			c.at(at, "%q is there twice, first in names[%d]", n, first)
		case cluster != "*" && !dnsLabel.MatchString(cluster):
			c.at(at, "%q is not the name of a cluster", cluster)
		case prefix != "" && !dnsLabel.MatchString(prefix) && !dnsLabel.MatchString(prefix+"x"):
			c.at(at, "%q is not the name of a namespace", namespace)
		}
		if _, again := seen[n]; !again {
			seen[n] = i
		}
	}
}

// DrainedLabel is "true" on a Cluster whose gateways are to be called no more, as long as others expose their hosts.
const DrainedLabel = "isthmus.dev/drained"

func (c *checker) cluster(s *tsbv2.Cluster) {
	if n := s.GetNetwork(); n != "" && !labelValue.MatchString(n) {
		c.at("spec.network", "%q is not a label value of Kubernetes", n)
	}
	c.labels(s.GetLabels(), "spec.labels")
	if v, set := s.GetLabels()[DrainedLabel]; set && v != "true" && v != "false" {
		c.at(`spec.labels["`+DrainedLabel+`"]`, "%q is neither true nor false", v)
	}
	if d := s.GetTrustDomain(); d != "" && !hostname.MatchString(d) {
		c.at("spec.trustDomain", "%q is not a DNS name", d)
	}
	seen := map[string]bool{}
	for i, k := range s.GetServiceAccount().GetKeys() {
		if seen[k.GetId()] {
			c.at("spec.serviceAccount.keys["+itoa(i)+"].id", "%q is there twice", k.GetId())
		}
		seen[k.GetId()] = true
	}
}

// Networks are those of a list with commas.
func Networks(list string) []string {
	if strings.TrimSpace(list) == "" {
		return nil
	}
	names := strings.Split(list, ",")
	for i, n := range names {
		names[i] = strings.TrimSpace(n)
	}
	return names
}

// networks checks what an organization says of networks: from which one which others can be reached.
func (c *checker) networks(s *tsbv2.NetworkSettings) {
	const path = "spec.networkSettings.networkReachability"
	for _, from := range slices.Sorted(maps.Keys(s.GetNetworkReachability())) {
		at := path + `["` + from + `"]`
		if from == "" || !labelValue.MatchString(from) {
			c.at(at, "%q is not the name of a network: it has to be a label value of Kubernetes", from)
		}
		for _, to := range Networks(s.GetNetworkReachability()[from]) {
			if to == "" || !labelValue.MatchString(to) {
				c.at(at, "%q is not the name of a network: it has to be a list of label values of Kubernetes with commas between them", to)
			}
		}
	}
}
