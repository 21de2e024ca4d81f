package resource

import (
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/wellknown"
)

// accountName is a name of a service account.
var accountName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// egress checks who may call what through an egress gateway. A caller that nobody can be is a mistake, and so is one that
// says nothing: what is left out means everybody.
func (c *checker) egress(g *gatewayv2.EgressGateway) {
	for i, a := range g.GetAuthorization() {
		at := "spec.authorization[" + itoa(i) + "]"
		if a.GetFrom() != nil {
			c.callers(a.GetFrom(), at+".from")
		}
		for j, to := range a.GetTo() {
			c.outside(to, at+".to["+itoa(j)+"]")
		}
	}
}

func (c *checker) callers(from *securityv2.AuthorizationSettings, path string) {
	switch from.GetMode() {
	case securityv2.AuthorizationSettings_UNSET:
		c.at(path+".mode", "is missing: leave out from for every caller of the mesh")
	case securityv2.AuthorizationSettings_DISABLED:
		c.at(path+".mode", "DISABLED does not say who may call: use CLUSTER for every caller of the mesh")
	default:
		c.serviceAccounts(from, path)
	}
}

// accounts checks "<namespace>/<service account>"; the namespace may be "." and the account "*".
func (c *checker) accounts(names []string, path string) {
	for i, name := range names {
		ns, account, ok := strings.Cut(name, "/")
		if !ok || ns != "." && !dnsLabel.MatchString(ns) || account != "*" && !accountName.MatchString(account) {
			c.at(path+"["+itoa(i)+"]", `%q is not "<namespace>/<service account>", "<namespace>/*" or "./<service account>"`, name)
		}
	}
}

// outside checks "<host>" or "<namespace>/<host>", where the host may be "*" or begin with "*.".
func (c *checker) outside(to, path string) {
	host := to
	if ns, rest, ok := strings.Cut(to, "/"); ok {
		host = rest
		if ns != "*" && ns != "." && !dnsLabel.MatchString(ns) {
			c.at(path, "%q is not the name of a namespace", ns)
		}
	}
	bare := strings.TrimPrefix(host, "*.")
	switch {
	case host == "*" || len(host) <= 253 && hostname.MatchString(bare):
	case hostname.MatchString(strings.ToLower(bare)):
		c.at(path, "%q must be in lower case", host)
	case strings.Contains(host, ":"):
		c.at(path, "%q has a port: a host is allowed on all ports", host)
	default:
		c.at(path, `%q is not a DNS name, "*" or "*.<domain>"`, host)
	}
}

// unifiedEgress checks the same of a gateway of any type.
func (c *checker) unifiedEgress(g *gatewayv2.Gateway) {
	for i, a := range g.GetEgressAuthorization() {
		at := "spec.egressAuthorization[" + itoa(i) + "]"
		if a.GetFrom() != nil {
			c.unifiedCallers(a.GetFrom(), at+".from")
		}
		for j, to := range a.GetTo() {
			c.operationOf(to.GetMethods(), to.GetPaths(), at+".to["+itoa(j)+"]")
			if to.GetHost() != nil {
				c.hostMatch(to.GetHost(), at+".to["+itoa(j)+"].host")
			}
		}
	}
}

func (c *checker) unifiedCallers(from *gatewayv2.GatewayEgressAuthorization_From, path string) {
	mode := from.GetMode() //nolint:staticcheck // old input
	accounts := len(from.GetServiceAccounts())
	switch {
	case mode == gatewayv2.GatewayEgressAuthorization_From_UNSET && accounts+len(from.GetResources()) == 0:
		c.at(path, "says nobody: set resources or serviceAccounts, or leave out from for every caller of the mesh")
	case mode == gatewayv2.GatewayEgressAuthorization_From_SERVICE_ACCOUNT && accounts == 0:
		c.at(path+".serviceAccounts", "is missing: mode SERVICE_ACCOUNT is about them")
	}
	c.accounts(from.GetServiceAccounts(), path+".serviceAccounts")
	for i, name := range from.GetResources() {
		at := path + ".resources[" + itoa(i) + "]"
		_, kind, err := ParseFQN(name)
		switch {
		case err != nil:
			c.at(at, "%v", err)
		case kind.Name != "Workspace" && kind.Name != "Group":
			c.at(at, "%q is the name of %s, not of a workspace or a group", name, kind.Noun())
		}
	}
}

// hostMatch checks what cannot match a host. Regular expressions are checked wherever they stand.
func (c *checker) hostMatch(m *typesv2.StringMatch, path string) {
	if e := m.GetExact(); e != "" && !hostname.MatchString(e) {
		c.at(path+".exact", "%q is not a DNS name in lower case", e)
	}
	if p := m.GetPrefix(); strings.ContainsAny(p, ":/*") || p != strings.ToLower(p) {
		c.at(path+".prefix", "%q is not the beginning of a DNS name in lower case", p)
	}
	if m.MatchType != nil && m.GetExact()+m.GetPrefix()+m.GetRegex() == "" {
		c.at(path, "is empty")
	}
}

// traffic checks where unknown hosts are sent to, and which are known.
func (c *checker) traffic(s *trafficv2.TrafficSetting, path string) {
	old, now := s.GetEgress(), s.GetOutbound().GetEgress()
	c.egressHost(old, path+".egress")
	c.egressHost(now, path+".outbound.egress")
	if old != nil && now != nil && old.GetHost() != now.GetHost() {
		c.at(path+".egress.host", "is %q, and outbound.egress.host is %q: they mean the same", old.GetHost(), now.GetHost())
	}
	c.reachability(s.GetReachability(), path+".reachability")
	c.reachability(s.GetOutbound().GetReachability(), path+".outbound.reachability")
	if old, now := s.GetReachability(), s.GetOutbound().GetReachability(); old != nil && now != nil && !proto.Equal(old, now) {
		c.at(path+".reachability", "differs from outbound.reachability: they mean the same")
	}
	c.calls(s, path)
}

// reachable is how a host is written that may be known: in a namespace, that of the caller, or any.
var reachable = regexp.MustCompile(`^(\*|\.|[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/(\*|(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)$`)

func (c *checker) reachability(r *trafficv2.Reachability, path string) {
	custom := r.GetMode() == trafficv2.Reachability_CUSTOM
	switch {
	case custom && len(r.GetHosts()) == 0:
		c.at(path+".hosts", "is missing: mode CUSTOM is about them")
	case !custom && len(r.GetHosts()) > 0:
		c.at(path+".hosts", "is for mode CUSTOM, and mode is %s", r.GetMode())
	}
	for i, h := range r.GetHosts() {
		if !reachable.MatchString(h) {
			c.at(path+".hosts["+itoa(i)+"]", `%q is not "<namespace>/<host>", such as "./*", "shop/*", "*/api.example.com"`, h)
		}
	}
}

func (c *checker) egressHost(e *trafficv2.Egress, path string) {
	if e == nil {
		return
	}
	if _, host, ok := strings.Cut(e.GetHost(), "/"); ok && !strings.Contains(host, "/") {
		c.service(e.GetHost(), path)
	} else if e.GetHost() != "" {
		c.at(path+".host", `%q is not "<namespace>/<full name of the gateway's Service>"`, e.GetHost())
	}
	if port := e.GetPort(); port != 0 && port != wellknown.MTLSPort { //nolint:staticcheck // old input
		c.at(path+".port", "must be %d, on which gateways are called within the mesh", wellknown.MTLSPort)
	}
}
