package server

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

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
)

const (
	sessionIssuer   = "isthmus"
	sessionAudience = "isthmus-session"
	sessionLife     = 12 * time.Hour
	sessionKeyID    = "session"

	edgeAudience = "isthmus"
	// edgeTokenLife is the longest that a token of an edge may live.
	edgeTokenLife = 10 * time.Minute
	clockLeeway   = 30 * time.Second
)

var errBadToken = errors.New("the token is not valid")

// sessionClaims are the server's own additions to a session token.
type sessionClaims struct {
	// Password is a fingerprint of the password hash: a changed password ends the sessions.
	Password string `json:"pw"`
}

// signSession makes a token for a user.
func signSession(key ed25519.PrivateKey, user resource.FQN, hash []byte, now time.Time) (token string, expires time.Time, err error) {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", sessionKeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, options)
	if err != nil {
		return "", time.Time{}, err
	}
	expires = now.Add(sessionLife)
	token, err = jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   sessionIssuer,
		Subject:  string(user),
		Audience: jwt.Audience{sessionAudience},
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(expires),
	}).Claims(sessionClaims{Password: hashPrint(hash)}).Serialize()
	return token, expires, err
}

// hashPrint is a fingerprint of a password hash that is safe to show.
func hashPrint(hash []byte) string {
	sum := sha256.Sum256(hash)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// verifySession returns the user and the fingerprint of the password that the session began with.
func verifySession(key ed25519.PublicKey, token *jwt.JSONWebToken, now time.Time) (resource.FQN, string, error) {
	var claims jwt.Claims
	var own sessionClaims
	if err := token.Claims(key, &claims, &own); err != nil {
		return "", "", errBadToken
	}
	expected := jwt.Expected{Issuer: sessionIssuer, AnyAudience: jwt.Audience{sessionAudience}, Time: now}
	if err := claims.ValidateWithLeeway(expected, clockLeeway); err != nil || claims.Expiry == nil {
		return "", "", fmt.Errorf("%w: %w", errBadToken, cmpErr(err, errors.New("no expiry")))
	}
	return resource.FQN(claims.Subject), own.Password, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// verifyEdge checks a token that the edge of a cluster signed with a key of its service account.
func verifyEdge(token *jwt.JSONWebToken, cluster resource.FQN, keys []*tsbv2.KeyPair, now time.Time) error {
	key, err := publicKey(keys, token.Headers[0].KeyID)
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := token.Claims(key, &claims); err != nil {
		return errBadToken
	}
	// When it was made is not asked: it would shut out clusters whose clocks are a little ahead, and its end is bounded.
	claims.IssuedAt = nil
	expected := jwt.Expected{Issuer: string(cluster), Subject: string(cluster), AnyAudience: jwt.Audience{edgeAudience}, Time: now}
	if err := claims.ValidateWithLeeway(expected, clockLeeway); err != nil {
		return fmt.Errorf("%w: %w", errBadToken, err)
	}
	if claims.Expiry == nil || claims.Expiry.Time().Sub(now) > edgeTokenLife+clockLeeway {
		return fmt.Errorf("%w: it has to expire within %v", errBadToken, edgeTokenLife)
	}
	return nil
}

// publicKey finds a key by its ID.
func publicKey(keys []*tsbv2.KeyPair, id string) (crypto.PublicKey, error) {
	for _, k := range keys {
		if k.GetId() != id || id == "" || k.GetEncoding() != tsbv2.KeyPair_JWK {
			continue
		}
		var jwk jose.JSONWebKey
		if err := json.Unmarshal([]byte(k.GetPublicKey()), &jwk); err != nil {
			return nil, fmt.Errorf("%w: key %q: %w", errBadToken, id, err)
		}
		return jwk.Key, nil
	}
	return nil, fmt.Errorf("%w: its key %q is not one of the cluster's", errBadToken, id)
}

// newClusterKey makes a key pair: both halves as JWK.
func newClusterKey() (id, public, private string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", "", err
	}
	jwk := jose.JSONWebKey{Key: key, Algorithm: string(jose.ES256), Use: "sig"}
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", "", "", err
	}
	jwk.KeyID = base64.RawURLEncoding.EncodeToString(print)
	priv, err := json.Marshal(jwk)
	if err != nil {
		return "", "", "", err
	}
	pub, err := json.Marshal(jwk.Public())
	if err != nil {
		return "", "", "", err
	}
	return jwk.KeyID, string(pub), string(priv), nil
}
