package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// leafCache bounds how many names certificates are kept for: callers choose the names.
	leafCache = 64
)

// newCA makes a certificate authority and returns its certificate and key as PEM.
func newCA(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Isthmus server CA"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	b[0] &= 0x7f // positive
	return new(big.Int).SetBytes(b)
}

// issuer makes the server's certificates from its own CA, for the names that callers use.
type issuer struct {
	ca    *x509.Certificate
	key   any
	hosts []string // always part of a certificate
	now   func() time.Time

	mu     sync.Mutex
	leaves map[string]*tls.Certificate // guarded by mu
}

func newIssuer(certPEM, keyPEM []byte, hosts []string, now func() time.Time) (*issuer, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("server CA: %w", err)
	}
	names := []string{"localhost", "127.0.0.1", "::1", "isthmus"}
	if h, err := os.Hostname(); err == nil {
		names = append(names, h)
	}
	return &issuer{ca: pair.Leaf, key: pair.PrivateKey, hosts: append(names, hosts...), now: now, leaves: map[string]*tls.Certificate{}}, nil
}

// certificate answers a handshake. Clients that name a host get a certificate for it; those that dial an address get
// one for the address that they reached here. The CA vouches for this server only, so any name is as good as another.
func (i *issuer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hello.ServerName
	if name == "" && hello.Conn != nil {
		name, _, _ = net.SplitHostPort(hello.Conn.LocalAddr().String())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if c := i.leaves[name]; c != nil && i.now().Before(c.Leaf.NotAfter.Add(-leafLife/2)) {
		return c, nil
	}
	c, err := i.issue(name)
	if err != nil {
		return nil, err
	}
	if len(i.leaves) >= leafCache {
		clear(i.leaves)
	}
	i.leaves[name] = c
	return c, nil
}

func (i *issuer) issue(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: "Isthmus server"},
		NotBefore:    i.now().Add(-time.Hour),
		NotAfter:     i.now().Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range slices.Compact(slices.Sorted(slices.Values(append([]string{name}, i.hosts...)))) {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if h != "" {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.ca, key.Public(), i.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, i.ca.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// fileCertificate reads a certificate that somebody else issued, again whenever the files change.
type fileCertificate struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate // guarded by mu
	at     time.Time        // guarded by mu; when the certificate file was written
}

func (f *fileCertificate) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.loaded != nil && info.ModTime().Equal(f.at) {
		return f.loaded, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.loaded, f.at = &pair, info.ModTime()
			return f.loaded, nil
		}
	}
	if f.loaded != nil { // in the middle of being replaced
		return f.loaded, nil
	}
	return nil, errors.Join(fmt.Errorf("certificate %q", f.cert), err)
}
