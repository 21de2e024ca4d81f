package edge

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// caSuffix ends the name of the Secret in which Istio looks for a CA before it looks in the one that was named.
const caSuffix = "-cacert"

// secretTypes are those that are looked at. Istio takes certificates from Secrets of other types too, but there hardly
// are any, and what else clusters keep in Secrets (charts, tokens) is none of our business.
var secretTypes = []string{"kubernetes.io/tls", "Opaque"}

// secretItem says what a Secret is good for. Its content is forgotten at once.
func secretItem(u *unstructured.Unstructured) *item {
	i := newItem(u)
	kind, _, _ := unstructured.NestedString(u.Object, "type")
	if !slices.Contains(secretTypes, kind) {
		return i
	}
	s := &isthmusv1.Secret{Namespace: i.Namespace, Name: i.Name, Type: kind}
	data := secretData(u)
	cert, key := "cert", "key" // Istio asks for these first
	if len(data[cert]) == 0 || len(data[key]) == 0 {
		cert, key = "tls.crt", "tls.key"
	}
	leaf, problem := serverProblem(data, cert, key)
	s.Problem = problem
	if leaf != nil {
		s.NotAfter = leaf.NotAfter.Unix()
		s.DnsNames = slices.Compact(slices.Sorted(slices.Values(leaf.DNSNames)))
	}
	s.CaProblem = caProblem(data)
	s.Ca = s.CaProblem == ""
	_, s.ClientProblem = clientSecret(data)
	i.fact = &isthmusv1.Fact{Id: "secret/" + i.Namespace + "/" + i.Name, Fact: &isthmusv1.Fact_Secret{Secret: s}}
	return i
}

// secretData is the content of a Secret.
func secretData(u *unstructured.Unstructured) map[string][]byte {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "data")
	m, _ := v.(map[string]any)
	out := make(map[string][]byte, len(m))
	for k, v := range m {
		text, _ := v.(string)
		b, err := base64.StdEncoding.DecodeString(text)
		if err == nil { // the API server accepts nothing else
			out[k] = b
		}
	}
	return out
}

// serverProblem says why Envoy would refuse a certificate and its key, by what Envoy itself was seen to refuse. The
// certificate is returned when it can be read, whatever else is wrong.
func serverProblem(data map[string][]byte, certKey, keyKey string) (*x509.Certificate, string) {
	for _, k := range []string{certKey, keyKey} {
		if v, ok := data[k]; ok && len(v) == 0 {
			return nil, k + " is empty"
		}
		if data[k] == nil {
			return nil, "it has neither tls.crt and tls.key nor cert and key"
		}
	}
	chain, problem := certificates(certKey, data[certKey])
	if problem != "" {
		return nil, problem
	}
	leaf := chain[0]
	if problem := weakness(leaf.PublicKey); problem != "" {
		return leaf, certKey + " " + problem
	}
	if mustStaple(leaf) && len(data["tls.ocsp-staple"]) == 0 {
		return leaf, certKey + " demands an OCSP staple, and there is none"
	}
	key, problem := privateKey(keyKey, data[keyKey])
	if problem != "" {
		return leaf, problem
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return leaf, "the private key does not belong to the certificate"
	}
	return leaf, ""
}

// caProblem says why Envoy could not check clients' certificates with the CA in a Secret.
func caProblem(data map[string][]byte) string {
	ca, crl := "cacert", "crl" // Istio asks for these first
	if len(data[ca]) == 0 {
		ca, crl = "ca.crt", "ca.crl"
	}
	if len(data[ca]) == 0 {
		return "it has neither ca.crt nor cacert"
	}
	if _, problem := certificates(ca, data[ca]); problem != "" {
		return problem
	}
	blocks, problem := blocksOf(crl, data[crl])
	for _, b := range blocks {
		if _, err := x509.ParseRevocationList(b.Bytes); b.Type == "X509 CRL" && err != nil {
			problem = crl + " is not a list of revoked certificates"
		}
	}
	return problem
}

// blocksOf reads PEM. Text around blocks is allowed, a block that is cut off or spoiled is not.
func blocksOf(name string, text []byte) ([]*pem.Block, string) {
	var out []*pem.Block
	for rest := text; ; {
		b, next := pem.Decode(rest)
		if b == nil {
			break
		}
		out, rest = append(out, b), next
	}
	begun := bytes.Count(append([]byte("\n"), text...), []byte("\n-----BEGIN "))
	if begun != len(out) {
		return nil, name + " has a part that cannot be read"
	}
	return out, ""
}

// certificates reads all of them; there is at least one.
func certificates(name string, text []byte) ([]*x509.Certificate, string) {
	blocks, problem := blocksOf(name, text)
	if problem != "" {
		return nil, problem
	}
	var out []*x509.Certificate
	for _, b := range blocks {
		if !strings.HasSuffix(b.Type, "CERTIFICATE") {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, name + " is not a certificate"
		}
		out = append(out, c)
	}
	if out == nil {
		return nil, name + " is not a certificate"
	}
	return out, ""
}

// privateKey is the first one of a text.
func privateKey(name string, text []byte) (crypto.Signer, string) {
	blocks, problem := blocksOf(name, text)
	if problem != "" {
		return nil, problem
	}
	i := slices.IndexFunc(blocks, func(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") })
	if i < 0 {
		return nil, name + " is not a private key"
	}
	b := blocks[i]
	if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
		return nil, name + " is encrypted"
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	} {
		key, err := parse(b.Bytes)
		if signer, ok := key.(crypto.Signer); ok && err == nil {
			return signer, ""
		}
	}
	return nil, name + " is not a private key"
}

// weakness says why Envoy does not serve with a kind of key.
func weakness(key any) string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.Size() < 256 { // bytes, as Envoy counts
			return fmt.Sprintf("has an RSA key of %d bits; Envoy takes no less than 2048", key.N.BitLen())
		}
		return ""
	case *ecdsa.PublicKey:
		if name := key.Curve.Params().Name; key.Curve.Params().BitSize < 256 {
			return "has a key on the curve " + name + "; Envoy takes P-256, P-384 and P-521"
		}
		return ""
	case ed25519.PublicKey:
		return ""
	}
	return "has a kind of key that Envoy does not take"
}

// tlsFeature is the extension in which a certificate says which extensions of TLS a server has to use.
var tlsFeature = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

func mustStaple(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		var features []int
		if !e.Id.Equal(tlsFeature) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, 5) { // status_request
			return true
		}
	}
	return false
}

// secretFact is about a Secret and the one with its CA, which Istio takes even when it is of no use.
func secretFact(own, ca *item) *isthmusv1.Fact {
	if own == nil || own.fact == nil {
		return nil
	}
	s, other := own.fact.GetSecret(), (*isthmusv1.Secret)(nil)
	if ca != nil {
		other = ca.fact.GetSecret()
	}
	if other == nil {
		return own.fact
	}
	out := &isthmusv1.Secret{
		Namespace: s.GetNamespace(), Name: s.GetName(), Type: s.GetType(), Problem: s.GetProblem(), NotAfter: s.GetNotAfter(), DnsNames: s.GetDnsNames(),
		Ca: other.GetCa(), CaProblem: other.GetCaProblem(), ClientProblem: s.GetClientProblem(),
	}
	if out.CaProblem != "" {
		out.CaProblem = "in Secret " + other.GetName() + ": " + out.GetCaProblem()
	}
	return &isthmusv1.Fact{Id: own.fact.GetId(), Fact: &isthmusv1.Fact_Secret{Secret: out}}
}

// withClient adds to the fact about a Secret in which files gateways have it.
func withClient(f *isthmusv1.Fact, files map[string]string) *isthmusv1.Fact {
	if f == nil || len(files) == 0 || f.GetSecret().GetClientProblem() != "" {
		return f
	}
	out := proto.CloneOf(f) // the fact is shared
	out.GetSecret().ClientFiles = files
	return out
}
