package scenarios

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"path"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// public is the authority that clients trust when they name none.
const public = "public"

// mint makes certificates and tokens. What it makes it keeps, so that a name always means the same.
type mint struct {
	mu          sync.Mutex
	authorities map[string]*pair
	pairs       map[string]*pair
	keys        map[string]*ecdsa.PrivateKey
}

// pair is a certificate with its key.
type pair struct {
	Cert, Key []byte // PEM
	cert      *x509.Certificate
	key       crypto.Signer
}

func newMint() *mint {
	return &mint{authorities: map[string]*pair{}, pairs: map[string]*pair{}, keys: map[string]*ecdsa.PrivateKey{}}
}

// authority by name.
func (m *mint) authority(name string) (*pair, error) {
	if name == "" {
		name = public
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.authorities[name]; a != nil {
		return a, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name, time.Now().Add(-time.Hour))
	t.IsCA, t.KeyUsage, t.BasicConstraintsValid = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, true
	a, err := sign(t, t, key, key)
	if err == nil {
		m.authorities[name] = a
	}
	return a, err
}

// certificate that a setup describes. What stands before a slash in its name tells scenarios apart.
func (m *mint) certificate(name string, c Certificate) (*pair, error) {
	by, err := m.authority(c.Authority)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pairs[name]; p != nil {
		return p, nil
	}
	from := time.Now().Add(-time.Hour)
	if c.Expired {
		from = from.Add(-72 * time.Hour)
	}
	t := template(path.Base(name), from)
	t.DNSNames = c.Names
	t.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if c.Client {
		t.DNSNames, t.ExtKeyUsage = []string{path.Base(name)}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	var key crypto.Signer
	if c.RSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	p, err := sign(t, by.cert, key, by.key)
	if err == nil {
		m.pairs[name] = p
	}
	return p, err
}

func template(name string, from time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Isthmus scenarios"}}, SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore: from, NotAfter: from.Add(48 * time.Hour),
	}
}

func sign(t, parent *x509.Certificate, key, by crypto.Signer) (*pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), by)
	if err != nil {
		return nil, fmt.Errorf("certificate %q: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
		cert: cert, key: key,
	}, nil
}

// signingKey by name.
func (m *mint) signingKey(name string) (*ecdsa.PrivateKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.keys[name]; k != nil {
		return k, nil
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil {
		m.keys[name] = k
	}
	return k, err
}

// jwks are the keys to verify tokens with, as JSON on one line.
func (m *mint) jwks(names ...string) (string, error) {
	var set jose.JSONWebKeySet
	for _, name := range names {
		k, err := m.signingKey(name)
		if err != nil {
			return "", err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: name, Algorithm: string(jose.ES256), Use: "sig"})
	}
	text, err := json.Marshal(set)
	return string(text), err
}

// token that a setup describes, as it travels.
func (m *mint) token(t Token) (string, error) {
	k, err := m.signingKey(t.Key)
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", t.Key))
	if err != nil {
		return "", err
	}
	expires := t.Expires
	if expires == 0 {
		expires = time.Hour
	}
	claims := map[string]any{"iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(expires).Unix()}
	if t.Issuer != "" {
		claims["iss"] = t.Issuer
	}
	if len(t.Audience) > 0 {
		claims["aud"] = t.Audience
	}
	maps.Copy(claims, t.Claims)
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := s.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
