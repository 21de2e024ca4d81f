package compile

import (
	"fmt"
	"slices"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/intent"
)

// resolve looks at the destinations of routes, and returns the hosts with what cannot be called replaced, and those that
// are called with TLS of the gateway's own.
func (s *scene) resolve() ([]intent.GatewayHost, []intent.Origin) {
	hosts, own := s.aim(s.plan.Hosts)
	change := func(ref destinationRef) *intent.GatewayHost {
		if !own {
			hosts, own = cloneHosts(hosts), true
		}
		return &hosts[ref.Host]
	}
	var origins []intent.Origin
	splits := map[spot]*splitter{}
	for _, ref := range s.plan.Refs {
		// The gateway is placed only where its workspace owns its namespace.
		if ref.Namespace != s.plan.Namespace && !s.plan.Privileged && !owns(s.r, s.plan.Workspace, s.cluster.Name, ref.Namespace) {
			s.say(no(reasonNamespaceForeign, ref.Field+".host", "Namespace %q does not belong to workspace %q; requests are answered with 503.", ref.Namespace, s.plan.Workspace))
			refuse(change(ref), ref)
			continue
		}
		s.checkDestination(ref)
		if x := s.splitterOf(ref); x != nil {
			change(ref)
			splits[spot{ref.Host, ref.Kind, ref.Index}] = x
		}
		if ref.TLS == nil {
			continue
		}
		o := s.origin(ref)
		if o == nil {
			refuse(change(ref), ref)
			continue
		}
		redirect(change(ref), ref, intent.Destination{Host: o.Host, Port: o.Port})
		if !slices.ContainsFunc(origins, func(x intent.Origin) bool { return x.Name == o.Name }) {
			origins = append(origins, *o)
		}
	}
	if len(splits) > 0 {
		split(hosts, splits)
	}
	if own {
		for i := range hosts {
			hosts[i].Pass = slices.DeleteFunc(hosts[i].Pass, isRefused)
			hosts[i].TCP = slices.DeleteFunc(hosts[i].TCP, isRefused)
		}
	}
	return hosts, origins
}

// origin is a destination to which the gateway starts TLS, nil while it cannot.
func (s *scene) origin(ref destinationRef) *intent.Origin {
	port := ref.Port
	if port == 0 {
		ports := s.fact("service/" + ref.Namespace + "/" + ref.Service).GetService().GetPorts()
		if len(ports) != 1 {
			return nil // which has been said
		}
		port = ports[0].GetNumber()
	}
	if s.cluster.Known && !s.trusted(ref.Field+".tls.secretName", ref.TLS) {
		return nil
	}
	// The same destination with the same TLS is one, whoever leads to it.
	name := "origin-" + s.plan.Name + "-" + shortHash(fmt.Sprintf("%s %d %s %+v", ref.Kind, port, ref.TLS.Name, *ref.TLS))
	return &intent.Origin{
		Name: name, Host: name + ".isthmus.internal", Address: ref.TLS.Name, Port: port, HTTP: ref.Kind == kindHTTP, TLS: ref.TLS,
	}
}

// redirect makes a route lead elsewhere.
func redirect(h *intent.GatewayHost, ref destinationRef, to intent.Destination) {
	if ref.Kind == kindHTTP {
		h.HTTP[ref.Index].To = intent.All(to)
	} else {
		h.TCP[ref.Index].To = intent.All(to)
	}
}

// refuse keeps a rule's match, so that its requests do not fall to a later rule, and takes its destination away.
func refuse(h *intent.GatewayHost, ref destinationRef) {
	switch ref.Kind {
	case kindHTTP:
		route := &h.HTTP[ref.Index]
		route.To, route.Rewrite = nil, nil
		route.Direct = &intent.Direct{Status: 503}
	case kindTLS:
		h.Pass[ref.Index] = intent.Forward{}
	case kindTCP:
		h.TCP[ref.Index] = intent.Forward{}
	}
}

func isRefused(f intent.Forward) bool { return len(f.To) == 0 }

// checkDestination says whether a service of the cluster exists and has the port.
func (s *scene) checkDestination(ref destinationRef) {
	if ref.Service == "" || !s.cluster.Known {
		return
	}
	svc := s.fact("service/" + ref.Namespace + "/" + ref.Service).GetService()
	switch {
	case svc == nil:
		s.say(no(reasonUnknownService, ref.Field+".host", "Service %q does not exist in namespace %q.", ref.Service, ref.Namespace))
	case ref.Port == 0 && len(svc.GetPorts()) > 1:
		s.say(no(reasonUnknownPort, ref.Field+".port", "Service %q in namespace %q has several ports: choose one.", ref.Service, ref.Namespace))
	case ref.Port != 0 && !slices.ContainsFunc(svc.GetPorts(), func(p *isthmusv1.Service_Port) bool { return p.GetNumber() == ref.Port }):
		s.say(no(reasonUnknownPort, ref.Field+".port", "Service %q in namespace %q has no port %d.", ref.Service, ref.Namespace, ref.Port))
	}
}
