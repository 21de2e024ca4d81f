package resource

import (
	"regexp"
	"strings"

	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
)

// domainName is a full name of a security domain. A domain is no resource: it is there as soon as somebody is in it.
var domainName = regexp.MustCompile(`^organizations/[^/]+/securitydomains/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (c *checker) securityDomain(name, path string) {
	if name != "" && !domainName.MatchString(name) {
		c.at(path, `%q is not "organizations/<organization>/securitydomains/<name>"`, name)
	}
}

// ownService checks the name of a service whose pods are protected: it is one of a cluster, in the namespace before it.
func (c *checker) ownService(name, path string) {
	namespace, host, _ := strings.Cut(name, "/")
	service, rest, _ := strings.Cut(host, ".")
	if name != "" && (!dnsLabel.MatchString(namespace) || !dnsLabel.MatchString(service) || rest != namespace+".svc.cluster.local") {
		c.at(path, `%q is not "<namespace>/<service>.<namespace>.svc.cluster.local"`, name)
	}
}

// security checks how services are protected, wherever that is said.
func (c *checker) security(s *securityv2.SecuritySetting, path string) {
	old, now := int32(s.GetAuthentication()), int32(s.GetAuthenticationSettings().GetTrafficMode()) //nolint:staticcheck // old input
	if old != 0 && now != 0 && old != now {
		c.at(path+".authentication", "is %s, and authenticationSettings.trafficMode is %s: they mean the same", s.GetAuthentication(), s.GetAuthenticationSettings().GetTrafficMode()) //nolint:staticcheck // old input
	}
	c.attachments(s.GetExtension(), path+".extension")
	a, at := s.GetAuthorization(), path+".authorization"
	c.serviceAccounts(a, at)
	if r := a.GetRules(); r != nil {
		if a.GetMode() != securityv2.AuthorizationSettings_RULES {
			c.at(at+".mode", "is %s, and rules are for mode RULES", a.GetMode())
		}
		if r.GetDenyAll() && len(r.GetAllow())+len(r.GetDeny()) > 0 {
			c.at(at+".rules.denyAll", "refuses everybody: allow and deny beside it say nothing")
		}
		c.rules(r.GetAllow(), at+".rules.allow")
		c.rules(r.GetDeny(), at+".rules.deny")
	}
}

// serviceAccounts checks that those of mode CUSTOM are there, and only then.
func (c *checker) serviceAccounts(a *securityv2.AuthorizationSettings, path string) {
	custom := a.GetMode() == securityv2.AuthorizationSettings_CUSTOM
	switch {
	case custom && len(a.GetServiceAccounts()) == 0:
		c.at(path+".serviceAccounts", "is missing: mode CUSTOM is about them")
	case !custom && len(a.GetServiceAccounts()) > 0:
		c.at(path+".serviceAccounts", "are for mode CUSTOM, not %s", a.GetMode())
	}
	c.accounts(a.GetServiceAccounts(), path+".serviceAccounts")
}

func (c *checker) rules(rules []*securityv2.AuthorizationSettings_Rule, path string) {
	for i, r := range rules {
		at := path + "[" + itoa(i) + "]"
		c.ruleEnd(r.GetFrom().GetFqn(), at+".from.fqn")
		c.ruleEnd(r.GetTo().GetFqn(), at+".to.fqn")
		if to := FQN(r.GetTo().GetFqn()); to.Plural() == "gatewaygroups" || to.Plural() == "trafficgroups" {
			c.at(at+".to.fqn", "%q is no security group: rules are about services of those, of workspaces and of security domains", to)
		}
	}
}

// ruleEnd checks who calls or is called.
func (c *checker) ruleEnd(name, path string) {
	if name == "" || domainName.MatchString(name) {
		return // the annotations say what is missing
	}
	_, kind, err := ParseFQN(name)
	switch {
	case err != nil:
		c.at(path, "%v", err)
	case kind.Name != "Workspace" && kind.Name != "Group":
		c.at(path, "%q is the name of %s, not of a workspace, a group or a security domain", name, kind.Noun())
	}
}
