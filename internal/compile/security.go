package compile

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// securityScope is that of the security groups of a workspace.
func securityScope(workspace resource.FQN) string { return "u/securitygroups/" + string(workspace) }

// protection is how the services of a security group are protected, one of them, or those of a workspace that are in no group:
// before any cluster was looked at. It is shared by the clusters and never changes.
type protection struct {
	FQN, Workspace resource.FQN
	// Namespace and Service are set where it is about one service.
	Namespace, Service string
	// Shared is how many guards the namespace of the service has. With OwnGuards they are not those of the service.
	Shared    int
	OwnGuards bool
	// Owners are the settings that say so, the nearest one first.
	Owners   []resource.FQN
	Metadata intent.Metadata
	Scope    *scope
	demands
}

// demands are what callers have to fulfil. What is not said is empty.
type demands struct {
	MTLS   intent.MTLS
	Access *access
	// Tokens are what requests have to carry, Asked what decides about each of them, and Extensions meet them. Firewall is not
	// translated: it lets nobody in.
	Tokens, Asked, Extensions, Firewall *parts
}

// access lets callers in that are in every one of Admit, and not in Except; without any Admit also those that have no
// identity.
type access struct {
	Admit  []admission
	Except []string
}

// admission is a set of callers.
type admission struct {
	// Any is everybody with an identity of the mesh.
	Any bool
	// Names are identities in the words of intent.Access.
	Names []string
	// Own are service accounts of the protected namespace itself, "*" for all.
	Own []string
}

// and is what fulfils both.
func (d demands) and(e demands) demands {
	d.MTLS = max(d.MTLS, e.MTLS) // the stricter one is the later one in the alphabet, too
	switch {
	case d.Access == nil:
		d.Access = e.Access
	case e.Access != nil:
		d.Access = &access{
			Admit:  slices.Concat(d.Access.Admit, e.Access.Admit),
			Except: slices.Concat(d.Access.Except, e.Access.Except),
		}
	}
	d.Tokens, d.Asked = d.Tokens.and(e.Tokens), d.Asked.and(e.Asked)
	d.Extensions, d.Firewall = d.Extensions.and(e.Extensions), d.Firewall.and(e.Firewall)
	return d
}

// instead is what is demanded where d is said further down than e.
func (d demands) instead(e demands) demands {
	return demands{
		MTLS: cmp.Or(d.MTLS, e.MTLS), Access: cmp.Or(d.Access, e.Access),
		Tokens: cmp.Or(d.Tokens, e.Tokens), Asked: cmp.Or(d.Asked, e.Asked),
		Extensions: cmp.Or(d.Extensions, e.Extensions), Firewall: cmp.Or(d.Firewall, e.Firewall),
	}
}

// level is a setting that has its effect on a scope.
type level struct {
	// FQN of the resource, and what stands before the fields of the setting in it.
	FQN     resource.FQN
	Field   string
	Setting *securityv2.SecuritySetting
	// Profile says that the fields have the names that they have in profiles.
	Profile bool
}

// field is where one of the setting stands.
func (l *level) field(name string) string {
	if l.Profile {
		name = strings.NewReplacer("extension[", "wasmExtensions[", "waf", "wafSettings").Replace(name)
	}
	return l.Field + name
}

// defaults are the settings of organizations, tenants and workspaces.
type defaults interface {
	GetDefaultSecuritySetting() *securityv2.SecuritySetting
}

// levelOf is the setting in a resource, nil when it says nothing of security.
func levelOf(res *resource.Resource) *level {
	switch spec := res.Spec.(type) {
	case *securityv2.SecuritySetting:
		return &level{FQN: res.FQN, Setting: spec}
	case *securityv2.ServiceSecuritySetting:
		return &level{FQN: res.FQN, Field: "settings.", Setting: spec.GetSettings()}
	case defaults:
		if s := spec.GetDefaultSecuritySetting(); s != nil {
			return &level{FQN: res.FQN, Field: "defaultSecuritySetting.", Setting: s}
		}
	}
	return nil
}

// levelAt is the setting below an owner.
func levelAt(r *Reads, owner resource.FQN) *level { return settingAt(r, owner, levelOf) }

// securityLayer decides how the services of each group, and of each workspace, are protected, and in which clusters.
func securityLayer() *layer {
	return &layer{
		name: "security",
		unitOf: func(key string) string {
			switch fqn := store.Key(key).FQN(); fqn.Plural() {
			case "securitygroups", "workspaces", "settings", "servicesettings", "profiles":
				return string(fqn)
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ResourceKey(resource.FQN(unit))) },
		derive: deriveSecurity,
	}
}

func securePrefix(cluster string) string { return "u/secure/" + cluster + "/" }

func deriveSecurity(r *Reads, unit string, out *output) {
	fqn := resource.FQN(unit)
	if fqn.Plural() == "profiles" {
		spec, _ := specOf(r, fqn).(*profilev2.Profile)
		for _, s := range sectionsOf(fqn, spec) {
			if l := s.level(); l != nil {
				sayGuards(r, l, out)
			}
		}
		return
	}
	if strings.HasSuffix(fqn.Plural(), "settings") && !saySetting(r, fqn, out) || fqn.Plural() == "settings" {
		return
	}
	p := protectionOf(r, fqn)
	if p == nil {
		return
	}
	if p.Service != "" && !slices.ContainsFunc(p.Scope.Patterns, func(q pattern) bool { return matchName(q.Namespace, p.Namespace) }) {
		out.say(fqn, no(reasonNamespaceForeign, "service", "Namespace %q is not selected by group %q.", p.Namespace, p.Scope.FQN))
		return
	}
	if p.Service != "" {
		p.sayUnknown(r, out)
	}
	for _, name := range clustersIn(r, fqn, p.Scope.Patterns) {
		out.put(securePrefix(name)+unit, p)
	}
}

// protectionOf is nil when nothing is demanded of callers.
func protectionOf(r *Reads, fqn resource.FQN) *protection {
	workspace, _ := specOf(r, fqn.Ancestor("workspaces")).(*tsbv2.Workspace)
	p := &protection{FQN: fqn, Workspace: fqn.Ancestor("workspaces")}
	owners := []resource.FQN{fqn.Ancestor("organizations"), fqn.Ancestor("tenants"), p.Workspace}
	if group := fqn.Ancestor("securitygroups"); group != "" {
		spec, _ := specOf(r, group).(*securityv2.Group)
		if spec == nil || spec.GetConfigMode() == typesv2.ConfigMode_DIRECT {
			return nil
		}
		owners = append(owners, group)
	}
	if workspace == nil {
		return nil
	}
	p.Scope = scopeOf(r, owners[len(owners)-1])
	// What is held are the demands that no setting further down can take back.
	var held, own demands
	var wanted []proto.Message
	add := func(l *level) (said demands) {
		p.Owners = append([]resource.FQN{l.FQN}, p.Owners...)
		wanted = append(wanted, l.Setting)
		said = p.demandsOf(r, l)
		own = said.instead(own)
		if l.Setting.GetPropagationStrategy() == securityv2.SecuritySetting_STRICTER {
			held, own = held.and(own), demands{}
		}
		return said
	}
	for _, owner := range owners {
		wanted = append(wanted, specOf(r, owner))
		if l := levelAt(r, owner); l != nil {
			add(l)
		}
	}
	service, _ := specOf(r, fqn).(*securityv2.ServiceSecuritySetting)
	profiles := profilesOf(r, owners...)
	mandates, defaults := p.demanded(r, profiles)
	p.demands = mandates.and(held.and(own).instead(defaults))
	if service != nil {
		wanted = append(wanted, service)
		p.aim(service.GetService())
		p.Shared = len(p.guards())
		said := add(&level{FQN: fqn, Field: "settings.", Setting: service.GetSettings()})
		p.demands = mandates.and(held.and(own).instead(defaults)).where(said)
		p.OwnGuards = said.Tokens != nil || said.Asked != nil
	}
	p.addProfiles(profiles)
	p.Metadata = mergeMetadata(wanted...)
	if p.demands == (demands{}) {
		return nil
	}
	return p
}

// aim makes a protection one of a service, "<namespace>/<service>.<namespace>.svc.cluster.local".
func (p *protection) aim(service string) {
	namespace, host, _ := strings.Cut(service, "/")
	p.Namespace = namespace
	p.Service, _, _ = strings.Cut(host, ".")
}

// where leaves the demands out about which others say nothing: those of a service that it shares with its namespace. All but
// mutual TLS go together.
func (d demands) where(others demands) demands {
	if others.MTLS == "" {
		d.MTLS = ""
	}
	if others.MTLS = ""; others == (demands{}) {
		return demands{MTLS: d.MTLS}
	}
	return d
}

// demandsOf is what a setting demands of those who call the services of the scope.
func (p *protection) demandsOf(r *Reads, l *level) demands {
	var d demands
	switch modeOf(l.Setting) {
	case securityv2.AuthenticationSettings_REQUIRED:
		d.MTLS = intent.Strict
	case securityv2.AuthenticationSettings_OPTIONAL:
		d.MTLS = intent.Permissive
	}
	d.Access = p.accessOf(r, l.Setting.GetAuthorization())
	d.Tokens, d.Asked = tokenParts(l), askedParts(l)
	d.Extensions, d.Firewall = extensionParts(r, l), closedBy(l, "waf")
	return d
}

// modeOf is whether a setting wants mutual TLS.
func modeOf(s *securityv2.SecuritySetting) securityv2.AuthenticationSettings_TrafficMode {
	if mode := s.GetAuthenticationSettings().GetTrafficMode(); mode != securityv2.AuthenticationSettings_UNSET {
		return mode
	}
	return securityv2.AuthenticationSettings_TrafficMode(s.GetAuthentication()) //nolint:staticcheck // old input, with the same values
}

// accessOf is nil when a setting does not say who may call.
func (p *protection) accessOf(r *Reads, a *securityv2.AuthorizationSettings) *access {
	one := func(m admission) *access { return &access{Admit: []admission{m}} }
	switch a.GetMode() {
	case securityv2.AuthorizationSettings_DISABLED:
		return &access{}
	case securityv2.AuthorizationSettings_NAMESPACE:
		return one(admission{Own: []string{"*"}})
	case securityv2.AuthorizationSettings_GROUP:
		if p.Scope.Index == "" { // in no group a namespace is alone
			return one(admission{Own: []string{"*"}})
		}
		return one(admission{Names: identitiesIn(r, p.Scope, nil)})
	case securityv2.AuthorizationSettings_WORKSPACE:
		return one(admission{Names: identitiesIn(r, scopeOf(r, p.Workspace), nil)})
	case securityv2.AuthorizationSettings_CLUSTER:
		return one(admission{Any: true})
	case securityv2.AuthorizationSettings_CUSTOM:
		return one(accountsAnywhere(r, p.FQN.Ancestor("organizations"), a.GetServiceAccounts()))
	case securityv2.AuthorizationSettings_RULES:
		return p.ruled(r, a.GetRules())
	}
	return nil
}

// ruled is what rules say about the scope. Rules about other ones let nobody in, and keep nobody out.
func (p *protection) ruled(r *Reads, rules *securityv2.AuthorizationSettings_Rules) *access {
	out := &access{}
	if rules.GetDenyAll() || len(rules.GetAllow()) > 0 {
		var m admission
		for _, rule := range rules.GetAllow() {
			if isAbout(r, rule.GetTo().GetFqn(), p.Scope.FQN) {
				m.Names = append(m.Names, identitiesOf(r, rule.GetFrom().GetFqn())...)
			}
		}
		m.Names = sorted(m.Names)
		out.Admit = []admission{m}
	}
	for _, rule := range rules.GetDeny() {
		if isAbout(r, rule.GetTo().GetFqn(), p.Scope.FQN) {
			out.Except = append(out.Except, identitiesOf(r, rule.GetFrom().GetFqn())...)
		}
	}
	return out
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// saySetting says what a setting of security cannot do, wherever it stands. False means that it does nothing at all.
func saySetting(r *Reads, fqn resource.FQN, out *output) bool {
	res, _ := r.get(string(store.ResourceKey(fqn))).(*resource.Resource)
	l := levelOf(res)
	if l == nil {
		return false
	}
	if group, _ := specOf(r, fqn.Parent()).(*securityv2.Group); group.GetConfigMode() == typesv2.ConfigMode_DIRECT {
		out.say(fqn, no(reasonDirectGroup, "", "Group %q is in DIRECT mode.", fqn.Parent()))
		return false
	}
	if first := firstBeside(r, res); first != fqn {
		out.say(fqn, no(reasonNoEffect, strings.TrimSuffix(l.Field, "."), "One setting of security holds, and that of %q comes first.", first))
		return false
	}
	if fqn.Plural() == "servicesettings" && l.Setting.GetPropagationStrategy() == securityv2.SecuritySetting_STRICTER {
		out.say(fqn, no(reasonNoEffect, l.Field+"propagationStrategy", "Nothing is further down than a service."))
	}
	sayGuards(r, l, out)
	sayMandated(r, l, out)
	a := l.Setting.GetAuthorization()
	switch a.GetIdentityMatch() {
	case securityv2.AuthorizationSettings_PERMISSIVE, securityv2.AuthorizationSettings_SOURCE_IDENTITY:
		field := l.Field + "authorization.identityMatch"
		out.say(fqn, no(reasonNotTranslated, field, "Identities are not passed on by gateways: the caller is the one whose certificate the service sees."))
	}
	sayRules(r, l, "allow", a.GetRules().GetAllow(), out)
	sayRules(r, l, "deny", a.GetRules().GetDeny(), out)
	return true
}

// sayGuards says which of those that a setting wants cannot be had.
func sayGuards(r *Reads, l *level, out *output) {
	sayExtensions(r, l, out)
	for _, field := range untranslatedGuards(l) {
		out.say(l.FQN, no(reasonNotTranslated, l.field(field), "The field %s is not translated; services let nobody in, because they would let in too many.", l.field(field)))
	}
}

// firstBeside is the setting that holds of those about the same.
func firstBeside(r *Reads, res *resource.Resource) resource.FQN {
	if s, ok := res.Spec.(*securityv2.ServiceSecuritySetting); ok {
		for _, v := range r.prefix(securedServicePrefix(res.FQN.Parent(), s.GetService())) {
			return v.(resource.FQN)
		}
	}
	if l := levelAt(r, res.FQN.Parent()); l != nil {
		return l.FQN
	}
	return res.FQN
}

// securedServicePrefix is where the settings of one service of a group are.
func securedServicePrefix(group resource.FQN, service string) string {
	return securedServicesPrefix(group, service) // "<namespace>/<full name>"
}

// securedServicesPrefix is where those of the services of one namespace are.
func securedServicesPrefix(group resource.FQN, namespace string) string {
	return "u/securedservice/" + string(group) + "/" + namespace + "/"
}

func sayRules(r *Reads, l *level, list string, rules []*securityv2.AuthorizationSettings_Rule, out *output) {
	for i, rule := range rules {
		field := l.Field + "authorization.rules." + list + "[" + itoa(i) + "]"
		from, to := rule.GetFrom().GetFqn(), rule.GetTo().GetFqn()
		if !existsAs(r, from) {
			out.say(l.FQN, no(reasonUnknownCaller, field+".from.fqn", "%q does not exist; the rule is about nobody.", from))
		}
		switch owner := l.FQN.Parent(); {
		case !existsAs(r, to):
			out.say(l.FQN, no(reasonNoEffect, field+".to.fqn", "%q does not exist.", to))
		case owner.Plural() == "securitygroups" && !isAbout(r, to, owner):
			out.say(l.FQN, no(reasonNoEffect, field+".to.fqn", "The services of group %q are not in %q.", owner, to))
		}
	}
}
