package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

func text(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// pair makes a certificate for the names shop.test and b.shop.test, and the PEM of its key.
func pair(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) (cert, private string) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"shop.test", "b.shop.test", "shop.test"},
		NotBefore: time.Unix(1_000, 0), NotAfter: time.Unix(2_000_000_000, 0),
	}
	if change != nil {
		change(c)
	}
	cert = text("CERTIFICATE", must[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)))
	return cert, text("PRIVATE KEY", must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key)))
}

// What is a problem here, and what is none, is what Envoy 1.40 was seen to refuse and to take.
func TestSecretItem(t *testing.T) {
	ec := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	small := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	strong := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pair(t, ec, nil)
	smallCert, smallKey := pair(t, small, nil)
	weakCert, weakKey := pair(t, weak, nil)
	strongCert, strongKey := pair(t, strong, nil)
	edCert, edKey := pair(t, ed, nil)
	stapled, _ := pair(t, ec, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: tlsFeature, Value: []byte{0x30, 3, 2, 1, 5}}}
	})
	expired, _ := pair(t, ec, func(c *x509.Certificate) { c.NotAfter = time.Unix(2_000, 0) })
	pkcs1 := text("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(strong))
	sec1 := text("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(ec)))
	spoiled := text("CERTIFICATE", []byte{0, 0, 0})
	cut := cert[:len(cert)/2]

	const none = "it has neither tls.crt and tls.key nor cert and key"
	const noCA = "it has neither ca.crt nor cacert"
	type data map[string]string
	for name, tc := range map[string]struct {
		data        data
		problem, ca string
	}{
		"TLS":               {data{"tls.crt": cert, "tls.key": key}, "", noCA},
		"Generic":           {data{"cert": cert, "key": key}, "", noCA},
		"GenericComesFirst": {data{"tls.crt": cert, "tls.key": key, "cert": spoiled, "key": key}, "cert is not a certificate", noCA},
		"HalfGeneric":       {data{"tls.crt": cert, "tls.key": key, "cert": spoiled}, "", noCA},
		"RSA":               {data{"tls.crt": strongCert, "tls.key": strongKey}, "", noCA},
		"PKCS1":             {data{"tls.crt": strongCert, "tls.key": pkcs1}, "", noCA},
		"SEC1":              {data{"tls.crt": cert, "tls.key": sec1}, "", noCA},
		"Parameters":        {data{"tls.crt": cert, "tls.key": text("EC PARAMETERS", []byte{5, 0}) + sec1}, "", noCA},
		"Ed25519":           {data{"tls.crt": edCert, "tls.key": edKey}, "", noCA},
		"Chain":             {data{"tls.crt": cert + strongCert, "tls.key": key}, "", noCA},
		"WordsAround":       {data{"tls.crt": "Bag Attributes\n" + cert + "the end", "tls.key": key}, "", noCA},
		"KeyInTheChain":     {data{"tls.crt": key + cert, "tls.key": key}, "", noCA},
		"CarriageReturns":   {data{"tls.crt": strings.ReplaceAll(cert, "\n", "\r\n"), "tls.key": key}, "", noCA},
		"Expired":           {data{"tls.crt": expired, "tls.key": key}, "", noCA},

		"Empty":            {data{}, none, noCA},
		"Password":         {data{"password": "x"}, none, noCA},
		"NoKey":            {data{"tls.crt": cert}, none, noCA},
		"EmptyKey":         {data{"tls.crt": cert, "tls.key": ""}, "tls.key is empty", noCA},
		"Words":            {data{"tls.crt": "later", "tls.key": key}, "tls.crt is not a certificate", noCA},
		"DER":              {data{"tls.crt": "\x30\x03\x02", "tls.key": key}, "tls.crt is not a certificate", noCA},
		"Indented":         {data{"tls.crt": "  " + cert, "tls.key": key}, "tls.crt is not a certificate", noCA},
		"OnlyAKey":         {data{"tls.crt": key, "tls.key": key}, "tls.crt is not a certificate", noCA},
		"SpoiledChain":     {data{"tls.crt": cert + spoiled, "tls.key": key}, "tls.crt is not a certificate", noCA},
		"CutOff":           {data{"tls.crt": cert + cut, "tls.key": key}, "tls.crt has a part that cannot be read", noCA},
		"KeyIsWords":       {data{"tls.crt": cert, "tls.key": "later"}, "tls.key is not a private key", noCA},
		"KeyIsSpoiled":     {data{"tls.crt": cert, "tls.key": text("PRIVATE KEY", []byte{0, 0, 0})}, "tls.key is not a private key", noCA},
		"KeyIsEncrypted":   {data{"tls.crt": cert, "tls.key": text("ENCRYPTED PRIVATE KEY", []byte{0, 0, 0})}, "tls.key is encrypted", noCA},
		"OtherKey":         {data{"tls.crt": cert, "tls.key": strongKey}, "the private key does not belong to the certificate", noCA},
		"SmallCurve":       {data{"tls.crt": smallCert, "tls.key": smallKey}, "tls.crt has a key on the curve P-224; Envoy takes P-256, P-384 and P-521", noCA},
		"WeakRSA":          {data{"tls.crt": weakCert, "tls.key": weakKey}, "tls.crt has an RSA key of 1024 bits; Envoy takes no less than 2048", noCA},
		"NoStaple":         {data{"tls.crt": stapled, "tls.key": key}, "tls.crt demands an OCSP staple, and there is none", noCA},
		"Staple":           {data{"tls.crt": stapled, "tls.key": key, "tls.ocsp-staple": "x"}, "", noCA},
		"CA":               {data{"ca.crt": weakCert + smallCert}, none, ""},
		"GenericCA":        {data{"cacert": cert}, none, ""},
		"GenericCAIsFirst": {data{"ca.crt": cert, "cacert": "later"}, none, "cacert is not a certificate"},
		"EmptyCA":          {data{"ca.crt": ""}, none, noCA},
		"CAIsAKey":         {data{"ca.crt": key}, none, "ca.crt is not a certificate"},
		"CAIsCutOff":       {data{"ca.crt": cert + cut}, none, "ca.crt has a part that cannot be read"},
		"RevokedIsWords":   {data{"ca.crt": cert, "ca.crl": "later"}, none, ""},
		"RevokedIsSpoiled": {data{"ca.crt": cert, "ca.crl": text("X509 CRL", []byte{0, 0, 0})}, none, "ca.crl is not a list of revoked certificates"},
		"RevokedOfOthers":  {data{"ca.crt": cert, "crl": text("X509 CRL", []byte{0, 0, 0})}, none, ""},
		"All":              {data{"tls.crt": cert, "tls.key": key, "ca.crt": cert}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := secretItem(secretObject("Opaque", tc.data)).fact.GetSecret()
			if got.GetProblem() != tc.problem || got.GetCaProblem() != tc.ca || got.GetCa() != (tc.ca == "") {
				t.Errorf("problem %q, ca_problem %q, ca %t; want %q, %q", got.GetProblem(), got.GetCaProblem(), got.GetCa(), tc.problem, tc.ca)
			}
		})
	}
	t.Run("Certificate", func(t *testing.T) {
		want := &isthmusv1.Secret{
			Namespace: "front", Name: "x", Type: "kubernetes.io/tls", NotAfter: 2_000_000_000, DnsNames: []string{"b.shop.test", "shop.test"}, CaProblem: noCA,
			ClientProblem: "it has 2 keys and none of them is client-secret",
		}
		got := secretItem(secretObject("kubernetes.io/tls", data{"tls.crt": cert, "tls.key": key})).fact.GetSecret()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("secretItem() (-want +got):\n%s", diff)
		}
	})
	t.Run("OtherType", func(t *testing.T) {
		if f := secretItem(secretObject("helm.sh/release.v1", data{"tls.crt": cert, "tls.key": key})).fact; f != nil {
			t.Errorf("secretItem() = %v, want no fact", f)
		}
	})
}

func secretObject(kind string, content map[string]string) *unstructured.Unstructured {
	data := map[string]any{}
	for k, v := range content {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data, "metadata": map[string]any{"namespace": "front", "name": "x"},
	}}
}

// Istio takes a CA from the Secret that is named for it, even where that one is of no use.
func TestSecretWithItsCA(t *testing.T) {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cert, _ := pair(t, key, nil)
	with := func(name string, content map[string]string) *item {
		u := secretObject("Opaque", content)
		u.SetName(name)
		return secretItem(u)
	}
	own := with("x", map[string]string{"ca.crt": cert})
	for name, tc := range map[string]struct {
		own, ca *item
		want    string // ca_problem, or "no fact"
	}{
		"None":     {nil, with("x-cacert", map[string]string{"ca.crt": cert}), "no fact"},
		"Own":      {own, nil, ""},
		"Both":     {own, with("x-cacert", map[string]string{"cacert": cert}), ""},
		"Other":    {with("x", nil), with("x-cacert", map[string]string{"cacert": cert}), ""},
		"OtherBad": {own, with("x-cacert", map[string]string{"cacert": "later"}), "in Secret x-cacert: cacert is not a certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			f := secretFact(tc.own, tc.ca)
			got := f.GetSecret().GetCaProblem()
			if f == nil {
				got = "no fact"
			} else if f.GetId() != "secret/front/x" || f.GetSecret().GetCa() != (tc.want == "") {
				t.Errorf("secretFact() = %v", f)
			}
			if got != tc.want {
				t.Errorf("secretFact() says %q, want %q", got, tc.want)
			}
		})
	}
}
