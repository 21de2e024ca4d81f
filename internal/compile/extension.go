package compile

import (
	"slices"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
)

// extend gives a plan the extensions that its gateway attaches. One that cannot be had may be what decides who gets in, so
// that without it no HTTP server is exposed; only those of phase STATS never decide.
func extend(r *Reads, p *plan, spec gatewaySpec, out *output) {
	if w, ok := spec.(interface{ GetWaf() *typesv2.WAF }); ok && w.GetWaf() != nil {
		p.Closed = true
		out.say(p.FQN, no(reasonNotTranslated, "waf", "The field waf is not translated. The HTTP servers of the gateway are not exposed without it."))
	}
	field, list := resource.Attachments(spec)
	for i, a := range list {
		at := field + "[" + itoa(i) + "]"
		e, l := attach(r, p.FQN, a, typesv2.WasmAttachment_Match_SERVER, "Mode SERVER selects nothing at a gateway, which is a client of what it leads to")
		switch {
		case l == nil:
			p.Extensions = append(p.Extensions, e)
			p.ExtensionFields = append(p.ExtensionFields, at)
		case l.Optional:
			out.say(p.FQN, no(l.Reason, at+l.Field, "%s; it is left out.", l.What))
		default:
			p.Closed = true
			out.say(p.FQN, no(l.Reason, at+l.Field, "%s. The HTTP servers of the gateway are not exposed without it.", l.What))
		}
	}
}

// lack is why an extension cannot be attached. What is optional decides nothing.
type lack struct {
	Reason, Field, What string
	Optional            bool
}

// attach is an extension as the proxies of somebody have it who attaches it. Traffic of the mode other never meets it there, which
// why says.
func attach(r *Reads, to resource.FQN, a *typesv2.WasmAttachment, other typesv2.WasmAttachment_Match_Mode, why string) (intent.Extension, *lack) {
	fqn := resource.FQN(a.GetFqn())
	ext, _ := specOf(r, fqn).(*extensionv2.WasmExtension)
	lacks := func(reason, field, what string) (intent.Extension, *lack) {
		return intent.Extension{}, &lack{reason, field, what, ext.GetPhase() == extensionv2.WasmExtension_STATS}
	}
	switch {
	case ext == nil:
		return lacks(reasonExtensionMissing, ".fqn", "Extension \""+string(fqn)+"\" does not exist")
	case !allowedIn(ext, to):
		return lacks(reasonExtensionForbidden, ".fqn", "Extension \""+string(fqn)+"\" may not be attached here: its field allowedIn names other places")
	}
	e, selects := extension(fqn, ext, a, other)
	if !selects {
		return lacks(reasonNoEffect, ".match", why+": extension \""+string(fqn)+"\" would see no request")
	}
	return e, nil
}

func allowedIn(e *extensionv2.WasmExtension, gateway resource.FQN) bool {
	return len(e.GetAllowedIn()) == 0 || slices.ContainsFunc(e.GetAllowedIn(), func(s string) bool { return resource.FQN(s).Contains(gateway) })
}

// extension is one without the traffic of the mode other. False means that it selects none.
func extension(fqn resource.FQN, e *extensionv2.WasmExtension, a *typesv2.WasmAttachment, other typesv2.WasmAttachment_Match_Mode) (out intent.Extension, selects bool) {
	out = intent.Extension{
		Name: fqn.Name(), URL: resource.ModuleURL(e), PullSecret: e.GetImagePullSecret(), Priority: e.GetPriority(),
		// Whether a module of no phase guards is not known.
		Optional: e.GetPhase() == extensionv2.WasmExtension_STATS,
		Config:   overlay(e.GetConfig().AsMap(), a.GetConfig().AsMap()),
	}
	if v := e.GetImagePullPolicy(); v != extensionv2.WasmExtension_UNSPECIFIED_POLICY {
		out.PullPolicy = v.String()
	}
	if v := e.GetPhase(); v != extensionv2.WasmExtension_UNSPECIFIED_PHASE {
		out.Phase = v.String()
	}
	for _, v := range e.GetVmConfig().GetEnv() {
		out.Env = append(out.Env, intent.ExtensionEnv{Name: v.GetName(), Value: v.GetValue(), FromHost: v.GetValueFrom() == extensionv2.WasmExtension_HOST})
	}
	matches := a.GetMatch()
	if len(matches) == 0 && e.GetMatch() != nil {
		matches = []*typesv2.WasmAttachment_Match{e.GetMatch()}
	}
	selects, all := len(matches) == 0, len(matches) == 0
	for _, m := range matches {
		if m.GetMode() == other {
			continue
		}
		selects = true
		all = all || len(m.GetPorts()) == 0
		for _, port := range m.GetPorts() {
			out.Ports = append(out.Ports, port.GetNumber())
		}
	}
	if all {
		out.Ports = nil
	}
	return out, selects
}

// overlay lays an object over another one: its keys win, and objects under the same key are joined. Both stay as they are.
func overlay(under, over map[string]any) map[string]any {
	if len(under)+len(over) == 0 {
		return nil
	}
	out := make(map[string]any, len(under)+len(over))
	for k, v := range under {
		out[k] = v
	}
	for k, v := range over {
		a, isObject := out[k].(map[string]any)
		b, alsoObject := v.(map[string]any)
		if isObject && alsoObject {
			v = overlay(a, b)
			if v.(map[string]any) == nil {
				v = map[string]any{}
			}
		}
		out[k] = v
	}
	return out
}

// checkPullSecret says when the Secret is not there with which a module is fetched.
func (s *scene) checkPullSecret(field string, e *intent.Extension) {
	if e.PullSecret != "" && s.cluster.Known && s.fact("secret/"+s.plan.Namespace+"/"+e.PullSecret) == nil {
		s.say(no(reasonSecretMissing, field+".fqn", "Secret %q, with which the module of extension %q is fetched, does not exist in namespace %q.", e.PullSecret, e.Name, s.plan.Namespace))
	}
}

// extensions are those of the plan, with the ports of the pods.
func (s *scene) extensions() []intent.Extension {
	all := slices.Clone(s.plan.Extensions)
	for i := range all {
		e, field := &all[i], s.plan.ExtensionFields[i]
		s.checkPullSecret(field, e)
		e.Ports = slices.Clone(e.Ports)
		for j, port := range e.Ports {
			if s.cluster.Known && len(s.services) > 0 {
				s.checkPort(field+".match", port)
			}
			if target := s.target(port); target != 0 {
				e.Ports[j] = target
			}
		}
		slices.Sort(e.Ports)
		e.Ports = slices.Compact(e.Ports)
	}
	return all
}
