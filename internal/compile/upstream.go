package compile

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
)

// upstream reads the address of a service that a gateway asks: http, https, grpc or grpcs. What was checked when the
// resource was accepted parses.
func upstream(uri string, tls *typesv2.ClientTLS, timeout time.Duration) *intent.Upstream {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	host := strings.ToLower(u.Hostname())
	out := &intent.Upstream{Host: host, HTTP2: strings.HasPrefix(u.Scheme, "grpc"), TLS: clientTLS(tls, host), Timeout: timeout}
	port := "80"
	if u.Scheme == "https" || u.Scheme == "grpcs" {
		port = "443"
		if out.TLS == nil {
			out.TLS = &intent.ClientTLS{Mode: "SIMPLE", Name: host}
		}
	}
	n, err := strconv.ParseUint(cmp.Or(u.Port(), port), 10, 16)
	if err != nil || n == 0 {
		return nil
	}
	out.Port = uint32(n)
	return out
}

func clientTLS(t *typesv2.ClientTLS, name string) *intent.ClientTLS {
	if t == nil || t.GetMode() == typesv2.ClientTLS_DISABLED {
		return nil
	}
	return &intent.ClientTLS{
		Mode: t.GetMode().String(), Name: name, Secret: t.GetSecretName(), SubjectAltNames: t.GetSubjectAltNames(),
		Certificate: t.GetFiles().GetClientCertificate(), Key: t.GetFiles().GetPrivateKey(), CA: t.GetFiles().GetCaCertificates(),
	}
}

// upstream finds out what the cluster knows of a service that a guard asks, which stands in a field of the message at.
func (s *scene) upstream(at, field string, u *intent.Upstream) *intent.Upstream {
	found := *u
	if name, namespace, ok := s.serviceOf(u.Host); ok {
		found.Host, found.Mesh = name+"."+namespace+".svc.cluster.local", u.TLS == nil
		if s.cluster.Known {
			s.checkUpstream(at+"."+field, name, namespace, &found)
		}
	}
	if s.cluster.Known && !s.trusted(at+".tls.secretName", u.TLS) {
		found.Lost = true
	}
	return &found
}

// serviceOf is the Service of the cluster that a host name means. One of a single label is of the gateway's own
// namespace; it and one of two labels mean a Service only where there is one.
func (s *scene) serviceOf(host string) (name, namespace string, ok bool) {
	labels := strings.Split(host, ".")
	switch {
	case len(labels) == 1:
		name, namespace = host, s.plan.Namespace
	case len(labels) == 2 || labels[2] == "svc":
		name, namespace = labels[0], labels[1]
	default:
		return "", "", false
	}
	return name, namespace, len(labels) > 2 || s.fact("service/"+namespace+"/"+name) != nil
}

func (s *scene) checkUpstream(field, name, namespace string, u *intent.Upstream) {
	svc := s.fact("service/" + namespace + "/" + name).GetService()
	i := slices.IndexFunc(svc.GetPorts(), func(p *isthmusv1.Service_Port) bool { return p.GetNumber() == u.Port })
	switch {
	case svc == nil:
		s.say(no(reasonUnknownService, field, "Service %q does not exist in namespace %q.", name, namespace))
	case i < 0:
		s.say(no(reasonUnknownPort, field, "Service %q in namespace %q has no port %d.", name, namespace, u.Port))
	case u.Mesh && u.HTTP2 && !speaksHTTP2(svc.GetPorts()[i]):
		s.say(no(reasonNotHTTP2, field, "Port %d of Service %q in namespace %q does not say that it speaks gRPC: its name is %q.", u.Port, name, namespace, svc.GetPorts()[i].GetName()))
	}
}

// speaksHTTP2 says whether Istio takes the protocol of a port for one over HTTP/2.
func speaksHTTP2(p *isthmusv1.Service_Port) bool {
	protocol, _, _ := strings.Cut(strings.ToLower(cmp.Or(p.GetAppProtocol(), p.GetName())), "-")
	return protocol == "grpc" || protocol == "http2" || protocol == "kubernetes.io/h2c"
}

// trusted says whether Envoy can use the Secret with which it starts TLS. A cluster with one that it cannot use would
// hold up the start of the gateway's pods.
func (s *scene) trusted(field string, t *intent.ClientTLS) bool {
	if t == nil || t.Secret == "" {
		return true
	}
	secret := s.fact("secret/" + s.plan.Namespace + "/" + t.Secret).GetSecret()
	if secret == nil {
		s.say(no(reasonSecretMissing, field, "Secret %q does not exist in namespace %q.", t.Secret, s.plan.Namespace))
		return false
	}
	problem := secret.GetCaProblem()
	if t.Mode == typesv2.ClientTLS_MUTUAL.String() {
		problem = cmp.Or(secret.GetProblem(), problem)
	}
	if problem != "" {
		s.say(no(reasonSecretInvalid, field, "Secret %q in namespace %q cannot be used: %s.", t.Secret, s.plan.Namespace, problem))
	}
	return problem == ""
}
