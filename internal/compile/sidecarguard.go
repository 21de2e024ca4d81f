package compile

import (
	"slices"
	"strings"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// parts are what stands before workloads. Closed ones let nobody in: some of them is not translated, and without it too many
// would be let in.
type parts struct {
	List   []part
	Closed bool
}

// part is what one setting says.
type part struct {
	// FQN and Field are the setting, and what stands before its fields.
	FQN   resource.FQN
	Field string
	// One of these.
	Guard     *intent.Guard
	Extension *intent.Extension
}

func (p *parts) and(q *parts) *parts {
	switch {
	case p == nil:
		return q
	case q == nil:
		return p
	}
	return &parts{slices.Concat(p.List, q.List), p.Closed || q.Closed}
}

// tokenParts are the tokens that a setting accepts, nil when it says nothing of tokens.
func tokenParts(l *level) *parts {
	a := l.Setting.GetAuthenticationSettings().GetHttp()
	if a == nil {
		return nil
	}
	g := &intent.Guard{JWT: tokens(a)}
	return partsOf(l, g, isClosed(l, "authenticationSettings.") || unguarded(&server{authentication: a}, g) != "")
}

// partsOf is a guard, or nobody is let in.
func partsOf(l *level, g *intent.Guard, closed bool) *parts {
	switch {
	case closed:
		return &parts{Closed: true}
	case *g == (intent.Guard{}):
		return &parts{}
	}
	return &parts{List: []part{{FQN: l.FQN, Field: l.Field, Guard: g}}}
}

// askedParts are what decides about requests, nil when the setting says nothing of them.
func askedParts(l *level) *parts {
	a := l.Setting.GetAuthorization().GetHttp()
	if a == nil {
		return nil
	}
	g := &intent.Guard{}
	if e := a.GetExternal(); e != nil {
		g.External = external(e)
	}
	if l := a.GetLocal(); l != nil {
		g.Rules = accessRules(l)
	}
	return partsOf(l, g, isClosed(l, "authorization.") || unguarded(&server{}, g) != "")
}

// closedBy is nil when a setting has none of the fields.
func closedBy(l *level, fields string) *parts {
	if !isClosed(l, fields) {
		return nil
	}
	return &parts{Closed: true}
}

func isClosed(l *level, fields string) bool {
	return slices.ContainsFunc(untranslatedGuards(l), func(f string) bool { return strings.HasPrefix(f, fields) })
}

// untranslatedGuards are the fields of a setting that keep some callers out and are not translated.
func untranslatedGuards(l *level) []string {
	var fields []string
	s := l.Setting
	add := func(field string, set bool) {
		if set {
			fields = append(fields, field)
		}
	}
	add("authenticationSettings.http.oidc", s.GetAuthenticationSettings().GetHttp().GetOidc() != nil)
	// A sidecar has no right to read Secrets.
	add("authorization.http.external.tls.secretName", s.GetAuthorization().GetHttp().GetExternal().GetTls().GetSecretName() != "")
	for i := range s.GetExtension() { // that of the namespace could not be left out for one service
		add("extension["+itoa(i)+"]", l.FQN.Plural() == "servicesettings")
	}
	add("waf", s.GetWaf() != nil)
	return fields
}

// closed says whether nobody is let in.
func (d demands) closed() bool {
	return slices.ContainsFunc([]*parts{d.Tokens, d.Asked, d.Extensions, d.Firewall}, func(p *parts) bool { return p != nil && p.Closed })
}

// guards in the order in which requests meet them: tokens first, because others look at what is in them.
func (d demands) guards() []part {
	var all []part
	for _, p := range []*parts{d.Tokens, d.Asked} {
		if p != nil {
			all = append(all, p.List...)
		}
	}
	return all
}

// decides says whether some guard lets only some requests pass, so that there must be no other way in.
func (d demands) decides() bool {
	for _, p := range d.guards() {
		if p.Guard.External != nil || p.Guard.Rules != nil || p.Guard.JWT != nil && p.Guard.JWT.Required {
			return true
		}
	}
	return d.Extensions != nil && slices.ContainsFunc(d.Extensions.List, func(p part) bool {
		return p.Extension.Phase == extensionv2.WasmExtension_AUTHN.String() || p.Extension.Phase == extensionv2.WasmExtension_AUTHZ.String()
	})
}

// guardsIn are the guards of a namespace, with what its cluster, which has reported, knows of the services that they ask.
func (p *protection) guardsIn(r *Reads, name, namespace string, out *output) []intent.Guard {
	var all []intent.Guard
	for _, part := range p.guards() {
		s := &scene{r: r, out: out, cluster: cluster{Name: name, Known: true}, plan: &plan{FQN: part.FQN, Namespace: namespace}}
		all = append(all, *upstreams(part.Guard, func(at, field string, u *intent.Upstream) *intent.Upstream {
			if rest, ok := strings.CutPrefix(at, "authentication."); ok {
				at = "authenticationSettings.http." + rest
			} else if rest, ok := strings.CutPrefix(at, "authorization."); ok {
				at = "authorization.http." + rest
			}
			return s.upstream(part.Field+at, field, u)
		}))
	}
	return all
}

// atSidecars is one of the extensions that a setting attaches.
func atSidecars(r *Reads, l *level, a *typesv2.WasmAttachment) (intent.Extension, *lack) {
	return attach(r, l.FQN, a, typesv2.WasmAttachment_Match_CLIENT, "Mode CLIENT is about calls that services make, and a setting of security about those that they get")
}

// extensionParts are the extensions that a setting attaches, nil for none. Without one that may decide, nobody is let in.
func extensionParts(r *Reads, l *level) *parts {
	if len(l.Setting.GetExtension()) == 0 || isClosed(l, "extension[") {
		return closedBy(l, "extension[")
	}
	out := &parts{}
	for i, a := range l.Setting.GetExtension() {
		e, lack := atSidecars(r, l, a)
		switch {
		case lack == nil:
			out.List = append(out.List, part{FQN: l.FQN, Field: l.field("extension[" + itoa(i) + "]"), Extension: &e})
		case !lack.Optional:
			out.Closed = true
		}
	}
	return out
}

// sayExtensions says which extensions of a setting cannot be had.
func sayExtensions(r *Reads, l *level, out *output) {
	for i, a := range l.Setting.GetExtension() {
		_, lack := atSidecars(r, l, a)
		field := l.field("extension[" + itoa(i) + "]")
		switch {
		case lack == nil:
		case lack.Optional:
			out.say(l.FQN, no(lack.Reason, field+lack.Field, "%s; it is left out.", lack.What))
		default:
			out.say(l.FQN, no(lack.Reason, field+lack.Field, "%s. Services let nobody in without it.", lack.What))
		}
	}
}

// extensionsIn are those of a namespace. Of two attachments of the same one, that of the level further up holds.
func (p *protection) extensionsIn(r *Reads, name, namespace string, out *output) []intent.Extension {
	if p.Extensions == nil {
		return nil
	}
	var all []intent.Extension
	for _, part := range p.Extensions.List {
		e := *part.Extension
		if slices.ContainsFunc(all, func(x intent.Extension) bool { return x.Name == e.Name }) {
			continue
		}
		s := &scene{r: r, out: out, cluster: cluster{Name: name, Known: true}, plan: &plan{FQN: part.FQN, Namespace: namespace}}
		s.checkPullSecret(part.Field, &e)
		slices.Sort(e.Ports)
		e.Ports = slices.Compact(e.Ports)
		all = append(all, e)
	}
	return all
}
