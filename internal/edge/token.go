package edge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// tokenLife is how long a minted token is good for. The server takes at most ten minutes.
const tokenLife = 5 * time.Minute

// Key is the private key of a cluster's service account. It never prints itself.
type Key struct {
	id     string
	alg    string
	signer crypto.Signer
}

// String hides the key.
func (Key) String() string { return "[redacted]" }

// GoString hides the key.
func (Key) GoString() string { return "[redacted]" }

// ParseKey reads a JSON web key: EC P-256, or OKP Ed25519.
func ParseKey(text []byte) (*Key, error) {
	var k struct {
		Kty, Crv, Kid, X, Y, D string
	}
	if err := json.Unmarshal(text, &k); err != nil {
		return nil, errors.New("the key is not a JSON web key") // the reason would quote it
	}
	d, err := base64.RawURLEncoding.DecodeString(k.D)
	if err != nil || len(d) == 0 {
		return nil, errors.New("the JSON web key has no private half")
	}
	switch k.Kty + " " + k.Crv {
	case "EC P-256":
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		if err != nil {
			return nil, errors.New("the JSON web key is not a point of P-256")
		}
		return &Key{k.Kid, "ES256", private}, nil
	case "OKP Ed25519":
		if len(d) != ed25519.SeedSize {
			return nil, errors.New("the JSON web key is not an Ed25519 seed")
		}
		return &Key{k.Kid, "EdDSA", ed25519.NewKeyFromSeed(d)}, nil
	}
	return nil, fmt.Errorf("a JSON web key of type %q, curve %q: want EC P-256 or OKP Ed25519", k.Kty, k.Crv)
}

// token mints a short-lived token that says which cluster this is.
func (k *Key) token(cluster string, now time.Time) (string, error) {
	part := func(v any) string {
		text, _ := json.Marshal(v) // maps of strings and numbers always encode
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]string{"alg": k.alg, "kid": k.id, "typ": "JWT"}) + "." + part(map[string]any{
		"iss": cluster, "sub": cluster, "aud": "isthmus", "iat": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	sig, err := k.sign([]byte(text))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func (k *Key) sign(text []byte) ([]byte, error) {
	if private, ok := k.signer.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			return nil, err
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return sig, nil
	}
	return k.signer.Sign(rand.Reader, text, crypto.Hash(0))
}
