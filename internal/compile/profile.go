package compile

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/resource"
)

// attached is a profile that somebody attaches.
type attached struct {
	// To is who does, and At the field.
	To  resource.FQN
	At  string
	FQN resource.FQN
	// Spec is nil when there is no such profile, or when it may not be attached there.
	Spec *profilev2.Profile
}

// ownersOf are all above a resource, the organization first.
func ownersOf(fqn resource.FQN) []resource.FQN {
	var owners []resource.FQN
	for owner := fqn.Parent(); owner != ""; owner = owner.Parent() {
		owners = append(owners, owner)
	}
	slices.Reverse(owners)
	return owners
}

// profilesOf are those that owners attach, in that order.
func profilesOf(r *Reads, owners ...resource.FQN) []attached {
	var all []attached
	for _, owner := range owners {
		spec, ok := specOf(r, owner).(resource.Profiled)
		if !ok {
			continue
		}
		for i, name := range spec.GetProfiles() {
			a := attached{To: owner, At: "profiles[" + itoa(i) + "]", FQN: resource.FQN(name)}
			if resource.MayAttach(a.FQN, owner) {
				a.Spec, _ = specOf(r, a.FQN).(*profilev2.Profile)
			}
			all = append(all, a)
		}
	}
	return all
}

// section is one of the two of a profile, without the fields that others unset.
type section struct {
	attached
	// Field is what stands before its fields.
	Field  string
	Config *profilev2.ProfileConfig
}

// defaultsOf are the defaults of profiles. Those of later ones come before those of earlier ones, and so are last.
func defaultsOf(all []attached) []section {
	var out []section
	unset := mandatedUnset(all)
	for _, a := range slices.Backward(all) {
		if c := a.Spec.GetDefaults(); c != nil {
			out = append(out, section{a, "defaults.", resource.Without(c, spellings(unset)...)})
			unset = append(unset, c.GetUnsetFields()...)
		}
	}
	slices.Reverse(out)
	return out
}

// mandatesOf are the mandates of profiles. Those of earlier ones come before those of later ones; one that is attached twice is one.
func mandatesOf(all []attached) []section {
	var out []section
	var unset []string
	for _, a := range all {
		c := a.Spec.GetMandates()
		if c == nil || slices.ContainsFunc(out, func(s section) bool { return s.FQN == a.FQN }) {
			continue
		}
		out = append(out, section{a, "mandates.", resource.Without(c, spellings(unset)...)})
		unset = append(unset, c.GetUnsetFields()...)
	}
	return out
}

// mandatedUnset are the fields that mandates unset.
func mandatedUnset(all []attached) []string {
	var paths []string
	for _, a := range all {
		paths = append(paths, a.Spec.GetMandates().GetUnsetFields()...)
	}
	return paths
}

// level is what a section says of security, nil for nothing.
func (s *section) level() *level {
	c := s.Config
	if c.GetAuthenticationSettings() == nil && len(c.GetWasmExtensions()) == 0 && c.GetWafSettings() == nil {
		return nil
	}
	return &level{FQN: s.FQN, Field: s.Field, Profile: true, Setting: &securityv2.SecuritySetting{
		AuthenticationSettings: c.GetAuthenticationSettings(), Extension: c.GetWasmExtensions(), Waf: c.GetWafSettings(),
	}}
}

// traffic is what a section says of traffic, nil for nothing.
func (s *section) traffic() *trafficLevel {
	if t := s.Config.GetTraffic(); t != nil {
		return &trafficLevel{FQN: s.FQN, Field: s.Field + "traffic.", Setting: &trafficv2.TrafficSetting{Inbound: t.GetInbound(), Outbound: t.GetOutbound()}}
	}
	if t := s.Config.GetTrafficSettings(); t != nil { //nolint:staticcheck // deprecated for users, still obeyed
		return &trafficLevel{FQN: s.FQN, Field: s.Field + "trafficSettings.", Setting: t}
	}
	return nil
}

// olderTraffic are fields of a setting of traffic, and older spellings of them.
var olderTraffic = [][2]string{
	{"outbound.reachability", "reachability"},
	{"outbound.egress", "egress"},
	{"outbound.upstreamTrafficSettings", "upstreamTrafficSettings"},
	{"inbound.rateLimiting", "rateLimiting"},
	{"inbound.resilience.connectionPool.tcp.keepAlive", "resilience.keepAlive.tcp.downstream"},
}

// trafficPaths are the paths in a setting of traffic that a path in a profile means, in all spellings; none for those that are about
// something else.
func trafficPaths(path string) []string {
	root, rest, _ := strings.Cut(path, ".")
	if root != "traffic" && root != "trafficSettings" {
		return nil
	}
	if rest == "" {
		return append(trafficPaths(root+".inbound"), trafficPaths(root+".outbound")...)
	}
	paths := []string{rest}
	for _, pair := range olderTraffic {
		for i, field := range pair {
			other := pair[1-i]
			if below, ok := strings.CutPrefix(rest+".", field+"."); ok {
				paths = append(paths, strings.TrimSuffix(other+"."+below, "."))
			} else if i == 0 && strings.HasPrefix(field, rest+".") {
				paths = append(paths, other)
			}
		}
	}
	if strings.HasPrefix("outbound.upstreamTrafficSettings.", rest+".") {
		paths = append(paths, "resilience") // which says it of all hosts
	}
	return paths
}

// spellings are paths in a profile, and those that mean the same.
func spellings(paths []string) []string {
	all := slices.Clone(paths)
	for _, path := range paths {
		for _, p := range trafficPaths(path) {
			all = append(all, "traffic."+p, "trafficSettings."+p)
		}
	}
	return all
}

// without is a level without the fields of traffic that paths in profiles mean.
func (l *trafficLevel) without(paths []string) *trafficLevel {
	if len(paths) == 0 {
		return l
	}
	var all []string
	for _, path := range paths {
		all = append(all, trafficPaths(path)...)
	}
	return &trafficLevel{FQN: l.FQN, Field: l.Field, Setting: resource.Without(l.Setting, all...)}
}

// sectionsOf are both of a profile by itself.
func sectionsOf(fqn resource.FQN, spec *profilev2.Profile) [2]section {
	one := attached{FQN: fqn, Spec: spec}
	return [2]section{{one, "defaults.", spec.GetDefaults()}, {one, "mandates.", spec.GetMandates()}}
}

// sayProfiles says which of the profiles of a resource it does not have, and what they say in vain.
func sayProfiles(r *Reads, res *resource.Resource, out *output) {
	all := profilesOf(r, res.FQN)
	for _, a := range all {
		switch lack := lackOf(res.Spec); {
		case !resource.MayAttach(a.FQN, a.To):
			out.say(a.To, no(reasonProfileMissing, a.At, "Profile %q may be attached to %q and to what is below it only.%s", a.FQN, a.FQN.Parent(), lack))
		case a.Spec == nil:
			out.say(a.To, no(reasonProfileMissing, a.At, "Profile %q does not exist.%s", a.FQN, lack))
		case configMode(res.Spec) == typesv2.ConfigMode_DIRECT:
			out.say(a.To, no(reasonDirectGroup, a.At, "Group %q is in DIRECT mode.", a.To))
		case res.Kind.Plural == "gatewaygroups":
			out.say(a.To, no(reasonNotTranslated, a.At, "Profiles of a gateway group are not translated: what they say is about services, and not about gateways."))
		default:
			if vain := inVain(res.Spec, a.Spec); len(vain) > 0 {
				out.say(a.To, no(reasonNoEffect, a.At, "What profile %q says in %s is not for a group of this type.", a.FQN, strings.Join(vain, ", ")))
			}
		}
	}
	if configMode(res.Spec) != typesv2.ConfigMode_DIRECT {
		return
	}
	for _, s := range mandatesOf(profilesOf(r, ownersOf(res.FQN)...)) {
		if len(inVain(res.Spec, &profilev2.Profile{Mandates: s.Config})) < len(said("", s.Config)) {
			out.say(res.FQN, no(reasonDirectGroup, "configMode", "The mandates of profile %q, which %q attaches, do not hold for a group in DIRECT mode.", s.FQN, s.To))
		}
	}
}

// lackOf is what becomes of a resource without one of its profiles.
func lackOf(spec proto.Message) string {
	switch spec.(type) {
	case *gatewayv2.Group, *trafficv2.Group:
		return ""
	}
	if configMode(spec) == typesv2.ConfigMode_DIRECT {
		return ""
	}
	return " Services let nobody in without it."
}

func configMode(spec proto.Message) typesv2.ConfigMode {
	if g, ok := spec.(interface{ GetConfigMode() typesv2.ConfigMode }); ok {
		return g.GetConfigMode()
	}
	return typesv2.ConfigMode_BRIDGED
}

// said are the fields in which a section says something.
func said(prefix string, c *profilev2.ProfileConfig) (fields []string) {
	for field, set := range map[string]bool{
		"authenticationSettings": c.GetAuthenticationSettings() != nil, "wafSettings": c.GetWafSettings() != nil, "wasmExtensions": len(c.GetWasmExtensions()) > 0,
		"traffic": c.GetTraffic() != nil, "trafficSettings": c.GetTrafficSettings() != nil, //nolint:staticcheck // deprecated for users, still obeyed
	} {
		if set {
			fields = append(fields, prefix+field)
		}
	}
	slices.Sort(fields)
	return fields
}

// inVain are the fields of a profile that say nothing to a group; none for other resources.
func inVain(to proto.Message, p *profilev2.Profile) []string {
	all := append(said("defaults.", p.GetDefaults()), said("mandates.", p.GetMandates())...)
	isTraffic := func(field string) bool { return strings.Contains(field, ".traffic") }
	switch to.(type) {
	case *gatewayv2.Group:
		return all
	case *trafficv2.Group:
		return slices.DeleteFunc(all, isTraffic)
	case *securityv2.Group:
		return slices.DeleteFunc(all, func(field string) bool { return !isTraffic(field) })
	}
	return nil
}

// demanded is what profiles demand: whatever settings say, and where they say nothing. A profile that is not there may be the one that
// decides who gets in, so that without it nobody does.
func (p *protection) demanded(r *Reads, all []attached) (mandates, defaults demands) {
	for _, s := range mandatesOf(all) {
		if l := s.level(); l != nil {
			mandates = mandates.and(p.demandsOf(r, l))
		}
	}
	for _, s := range defaultsOf(all) {
		if l := s.level(); l != nil {
			defaults = p.demandsOf(r, l).instead(defaults)
		}
	}
	if slices.ContainsFunc(all, func(a attached) bool { return a.Spec == nil }) {
		mandates.Firewall = mandates.Firewall.and(&parts{Closed: true})
	}
	return mandates, defaults
}

// addProfiles adds those who say so through profiles, which come after settings: who attaches one that is not there says so, too.
func (p *protection) addProfiles(all []attached) {
	for _, a := range slices.Backward(all) {
		says := func(c *profilev2.ProfileConfig) bool { return (&section{a, "", c}).level() != nil }
		by := a.FQN
		switch {
		case a.Spec == nil:
			by = a.To
		case !says(a.Spec.GetDefaults()) && !says(a.Spec.GetMandates()):
			continue
		}
		if !slices.Contains(p.Owners, by) {
			p.Owners = append(p.Owners, by)
		}
	}
}

// mannersOf are what profiles say of traffic: whatever settings say, and where they say nothing; and who says so, the nearest one first.
func mannersOf(all []attached) (mandates, defaults manners, by []*trafficLevel) {
	for _, s := range mandatesOf(all) {
		if l := s.traffic(); l != nil {
			mandates = mandates.mandating(l.manners())
			by = append(by, l)
		}
	}
	for _, s := range defaultsOf(all) {
		if l := s.traffic(); l != nil {
			defaults = l.manners().over(defaults)
			by = append(by, l)
		}
	}
	order := func(l *trafficLevel) int {
		return -slices.IndexFunc(all, func(a attached) bool { return a.FQN == l.FQN })
	}
	slices.SortStableFunc(by, func(a, b *trafficLevel) int { return order(a) - order(b) })
	return mandates, defaults, by
}

// mandatesFor are what profiles mandate to a setting.
func mandatesFor(r *Reads, setting resource.FQN) []section {
	return mandatesOf(profilesOf(r, ownersOf(setting)...))
}

func (s *section) over(field string) resource.Condition {
	return no(reasonMandated, field, "Profile %q, which %q attaches, mandates something else, which holds.", s.FQN, s.To)
}

// sayMandated says what a setting of security says in vain.
func sayMandated(r *Reads, l *level, out *output) {
	for _, s := range mandatesFor(r, l.FQN) {
		m := s.level()
		if m == nil {
			continue
		}
		if modeOf(m.Setting) == securityv2.AuthenticationSettings_REQUIRED && modeOf(l.Setting) == securityv2.AuthenticationSettings_OPTIONAL {
			field := "authenticationSettings.trafficMode"
			if l.Setting.GetAuthenticationSettings().GetTrafficMode() == securityv2.AuthenticationSettings_UNSET {
				field = "authentication"
			}
			out.say(l.FQN, s.over(l.Field+field))
		}
		asked, own := tokens(m.Setting.GetAuthenticationSettings().GetHttp()), l.Setting.GetAuthenticationSettings().GetHttp()
		if asked != nil && own != nil && (tokens(own) == nil || asked.Required && !tokens(own).Required) {
			out.say(l.FQN, s.over(l.Field+"authenticationSettings.http"))
		}
		for i, a := range l.Setting.GetExtension() {
			if slices.ContainsFunc(m.Setting.GetExtension(), func(b *typesv2.WasmAttachment) bool { return a.GetFqn() == b.GetFqn() && !proto.Equal(a, b) }) {
				out.say(l.FQN, s.over(l.Field+"extension["+itoa(i)+"]"))
			}
		}
	}
}

// sayMandatedTraffic says what a setting of traffic says in vain, and which profile is the first that mandates something else.
func sayMandatedTraffic(r *Reads, l *trafficLevel, out *output) {
	all := profilesOf(r, ownersOf(l.FQN)...)
	rest := l.without(mandatedUnset(all))
	var mandates manners
	var before []string
	for _, s := range mandatesOf(all) {
		for _, path := range s.Config.GetUnsetFields() {
			for _, p := range trafficPaths(path) {
				if !proto.Equal(l.Setting, resource.Without(l.Setting, p)) {
					out.say(l.FQN, no(reasonMandated, l.Field+p, "Profile %q, which %q attaches, mandates that the field is not set, and it is left out.", s.FQN, s.To))
				}
			}
		}
		m := s.traffic()
		if m == nil {
			continue
		}
		mandates = mandates.mandating(m.manners())
		for _, field := range mandates.against(rest) {
			if !slices.Contains(before, field) {
				out.say(l.FQN, s.over(field))
				before = append(before, field)
			}
		}
	}
}
