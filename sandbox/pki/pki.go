// Package pki makes the certificates of a sandbox: throw-away authorities,
// intermediates and leaves, all ECDSA P-256 and good for ten years.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const lifetime = 10 * 365 * 24 * time.Hour

// Pair is a certificate with its key, and the PEM of both.
type Pair struct {
	Cert    *x509.Certificate
	Key     *ecdsa.PrivateKey
	CertPEM []byte
	KeyPEM  []byte
}

// Leaf says whom a leaf certificate is for. SANs may be names or addresses.
type Leaf struct {
	Name   string
	Groups []string
	SANs   []string
}

// NewRoot makes a self-signed authority.
func NewRoot(name string) (*Pair, error) {
	return issue(authority(name, 1), nil)
}

// Intermediate makes an authority that ca vouches for and that may issue
// leaves, but no further authorities.
func (ca *Pair) Intermediate(name string) (*Pair, error) {
	return issue(authority(name, 0), ca)
}

// Issue makes a certificate for clients and servers alike.
func (ca *Pair) Issue(l Leaf) (*Pair, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: l.Name, Organization: l.Groups},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, san := range l.SANs {
		if ip := net.ParseIP(san); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, san)
		}
	}
	return issue(t, ca)
}

func authority(name string, maxPath int) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Isthmus sandbox"}},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            maxPath,
		MaxPathLenZero:        maxPath == 0,
	}
}

// issue signs t with ca, or with its own key when ca is nil.
func issue(t *x509.Certificate, ca *Pair) (*Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key for %q: %w", t.Subject.CommonName, err)
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("serial number for %q: %w", t.Subject.CommonName, err)
	}
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	parent, signer := t, key
	if ca != nil {
		parent, signer = ca.Cert, ca.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", t.Subject.CommonName, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("key for %q: %w", t.Subject.CommonName, err)
	}
	return &Pair{
		Cert:    cert,
		Key:     key,
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// Write stores p as dir/name.crt and dir/name.key.
func (p *Pair) Write(dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), p.CertPEM, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".key"), p.KeyPEM, 0o600)
}
