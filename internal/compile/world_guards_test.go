package compile

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/store"
)

// Guards as their authors write them. "" is none; others ask services of the cluster that may be there or not, services
// outside of it, or nobody, and some say what is not translated.
var (
	authentications = []string{
		``, ``,
		`{}`,
		`{"requireJwt": true}`,
		`{"jwt": {"issuer": "i", "jwks": "{\"keys\": []}"}}`,
		`{"requireJwt": true, "rules": {"jwt": [
			{"issuer": "i", "jwksUri": "http://keys.b.svc.cluster.local:81/k", "fromCookies": ["c"]},
			{"issuer": "j", "jwksUri": "https://login.test/k", "audiences": ["x"]}]}}`,
		`{"rules": {"jwt": [{"issuer": "i", "jwksUri": "http://keys.b/k"}]}}`,
		`{"rules": {"jwt": [{"issuer": "i", "jwksUri": "http://keys/k", "outputPayloadToHeader": "p"}]}}`,
		`{"rules": {"jwt": [{"issuer": "i", "jwks": "{\"keys\": []}", "outputClaimToHeaders": [{"header": "h", "claim": "sub"}]}, {"issuer": "j"}]}}`,
		`{"oidc": {"provider": {"issuer": "https://login.test"}, "clientId": "i", "clientTokenSecret": "token", "redirectUri": "https://h.test/back"}}`,
	}
	authorizations = []string{
		``, ``,
		`{"local": {}}`,
		`{"local": {"rules": [{"name": "r", "from": [{"jwt": {"sub": "s", "other": {"g": "x"}}}], "to": [{"methods": ["GET"], "paths": ["/a*"]}]}]}}`,
		`{"external": {"uri": "grpc://grants.b:81"}}`,
		`{"external": {"uri": "http://grants.b.svc.cluster.local:80/check", "includeRequestHeaders": ["x"], "timeout": "2s"}}`,
		`{"external": {"uri": "grpcs://grants.test", "tls": {"mode": "MUTUAL", "secretName": "ca"}}}`,
		`{"external": {"uri": "https://grants.test", "tls": {"mode": "SIMPLE", "secretName": "ca"}}}`,
		`{"external": {"uri": "nowhere"}}`,
	}
	rateLimits = []string{
		``, ``,
		`{"settings": {"rules": [{"dimensions": [{"remoteAddress": {"value": "*"}}], "limit": {"requestsPerUnit": 3, "unit": "MINUTE"}}]}}`,
		`{"settings": {"failClosed": true, "rules": [{"dimensions": [{"header": {"name": "x", "value": {"exact": "y"}}}], "limit": {"requestsPerUnit": 3, "unit": "HOUR"}}]}}`,
		`{"externalService": {"domain": "d", "rateLimitServerUri": "counter.b:81", "rules": [{"dimensions": [{"sourceCluster": {}}, {"remoteAddress": {}}]}]}}`,
		`{"externalService": {"domain": "d", "rateLimitServerUri": "grpcs://counter.test:443", "tls": {"mode": "SIMPLE", "secretName": "ca"}, "rules": [{"dimensions": [{"destinationCluster": {}}]}]}}`,
		`{"local": {"rules": [{"dimensions": [{"remoteAddress": {"value": "10.0.0.0/8"}}], "tokenBucket": {"maxTokens": 2, "fillInterval": "1s"}}]}}`,
		`{"local": {}}`,
	}
	serverTLSes = []string{
		`{"mode": "SIMPLE", "secretName": "cert"}`, `{"mode": "SIMPLE", "secretName": "cert"}`,
		`{"mode": "MUTUAL", "secretName": "cert"}`,
		`{"mode": "SIMPLE", "files": {"serverCertificate": "/certs/tls.crt", "privateKey": "/certs/tls.key"}}`,
	}
)

// read makes a message of its JSON, and none of "".
func read[M any, P interface {
	*M
	proto.Message
}](text string) P {
	if text == "" {
		return nil
	}
	m := P(new(M))
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		panic(text + ": " + err.Error())
	}
	return m
}

func drawAuthentication(t *rapid.T) *typesv2.Authentication {
	return read[typesv2.Authentication](one(t, "authentication", authentications...))
}

func drawAuthorization(t *rapid.T) *typesv2.Authorization {
	return read[typesv2.Authorization](one(t, "authorization", authorizations...))
}

func drawLimits(t *rapid.T) *typesv2.RateLimiting {
	return read[typesv2.RateLimiting](one(t, "limits", rateLimits...))
}

// drawTLS is how a server on a port terminates TLS.
func drawTLS(t *rapid.T, port uint32) *typesv2.ServerTLS {
	if port != 443 {
		return nil
	}
	return read[typesv2.ServerTLS](one(t, "tls", serverTLSes...))
}

func drawSelector(t *rapid.T) *typesv2.WorkloadSelector {
	return &typesv2.WorkloadSelector{Namespace: one(t, "ns", "a", "b"), Labels: map[string]string{"app": one(t, "app", "x", "y")}}
}

func drawAttachments(t *rapid.T) []*typesv2.WasmAttachment {
	return one(t, "attached", nil, nil, nil,
		[]*typesv2.WasmAttachment{read[typesv2.WasmAttachment](`{"fqn": "` + string(testExtension) + `", "match": [{"ports": [{"number": 80}]}]}`)})
}

// drawAsked is a service that guards ask, or the limiter of the installation.
func drawAsked(t *rapid.T, ns string) *isthmusv1.Fact {
	name := one(t, "asked", "keys", "grants", "counter", limiterName)
	if name == limiterName {
		ns = limiterNamespace
	}
	return &isthmusv1.Fact{Id: "service/" + ns + "/" + name, Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
		Namespace: ns, Name: name, Ports: []*isthmusv1.Service_Port{
			{Number: 80, Name: "http"}, {Number: one(t, "asked at", uint32(81), 82), Name: one(t, "speaks", "grpc", "tcp")},
		},
	}}}
}

// drawSecret is a Secret of servers or of guards.
func drawSecret(t *rapid.T, ns string) *isthmusv1.Fact {
	s := &isthmusv1.Secret{Namespace: ns, Name: one(t, "secret", "cert", "ca", "token"), Ca: true}
	switch one(t, "problem", "", "", "key", "ca") {
	case "key":
		s.Problem = "it has no key"
	case "ca":
		s.Ca, s.CaProblem = false, "it has no authority"
	}
	return secretFact(s)
}

func secretFact(s *isthmusv1.Secret) *isthmusv1.Fact {
	return &isthmusv1.Fact{Id: "secret/" + s.GetNamespace() + "/" + s.GetName(), Fact: &isthmusv1.Fact_Secret{Secret: s}}
}

// guardAll puts guards before a server that ask everybody whom guards can ask.
func guardAll(h *gatewayv2.HttpServer) {
	h.Authentication = read[typesv2.Authentication](authentications[5])
	h.Authorization = read[typesv2.Authorization](`{"external": {"uri": "grpcs://grants.b.svc.cluster.local:81", "tls": {"mode": "MUTUAL", "secretName": "ca"}}}`)
	h.RateLimiting = read[typesv2.RateLimiting](rateLimits[2])
}

// goodAsked is everybody whom guards ask, in a cluster.
func goodAsked(cluster string) []edit {
	var edits []edit
	for _, at := range [][2]string{{"b", "keys"}, {"b", "grants"}, {"b", "counter"}, {limiterNamespace, limiterName}} {
		f := &isthmusv1.Fact{Id: "service/" + at[0] + "/" + at[1], Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{
			Namespace: at[0], Name: at[1], Ports: []*isthmusv1.Service_Port{{Number: 80, Name: "http"}, {Number: 81, Name: "grpc"}, {Number: limiterPort, Name: "grpc-asked"}},
		}}}
		edits = append(edits, edit{store.FactKey(cluster, f.GetId()), f})
	}
	for _, ns := range []string{"a", "b"} {
		f := secretFact(&isthmusv1.Secret{Namespace: ns, Name: "ca", Ca: true})
		edits = append(edits, edit{store.FactKey(cluster, f.GetId()), f})
	}
	return edits
}
