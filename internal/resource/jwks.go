package resource

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"
)

// checkKeys says why Envoy would not take a JSON Web Key Set. It has to be asked here: the listener with such a set would
// be rejected, and with it every other host of the port. One key that can verify a token is enough, the others are left out.
func checkKeys(text string) error {
	set := new(structpb.Struct) // as Envoy reads it: no name may be there twice
	if err := set.UnmarshalJSON([]byte(text)); err != nil {
		return errors.New("is not a JSON object")
	}
	keys, ok := set.GetFields()["keys"].GetKind().(*structpb.Value_ListValue)
	if !ok {
		return errors.New(`has no list "keys"`)
	}
	if len(keys.ListValue.GetValues()) == 0 {
		return errors.New("has no key")
	}
	var first error
	for i, k := range keys.ListValue.GetValues() {
		err := checkKey(k.GetStructValue())
		if err == nil {
			return nil
		}
		if first == nil {
			first = fmt.Errorf("has no key that can verify a token: keys[%d] %w", i, err)
		}
	}
	return first
}

func checkKey(k *structpb.Struct) error {
	field := func(name string) string { return k.GetFields()[name].GetStringValue() }
	number := func(name string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(field(name), "="))
		if err != nil {
			return nil
		}
		return b
	}
	alg, curve := field("alg"), field("crv")
	switch kty := field("kty"); kty {
	case "RSA":
		if alg != "" && !strings.HasPrefix(alg, "RS") && !strings.HasPrefix(alg, "PS") {
			return fmt.Errorf("is an RSA key for %q", alg)
		}
		return checkRSA(number("n"), number("e"))
	case "EC":
		return checkEC(alg, curve, number("x"), number("y"))
	case "oct":
		if alg != "" && !strings.HasPrefix(alg, "HS") {
			return fmt.Errorf("is a secret for %q", alg)
		}
		if len(number("k")) == 0 {
			return errors.New("has no k in base64url")
		}
	case "OKP":
		if curve != "Ed25519" || alg != "" && alg != "EdDSA" || len(number("x")) != ed25519.PublicKeySize {
			return errors.New("is not an Ed25519 key")
		}
	default:
		return fmt.Errorf("is of kty %q, which is none of RSA, EC, oct and OKP", kty)
	}
	return nil
}

// checkRSA is as strict as Envoy about the exponent.
func checkRSA(modulus, exponent []byte) error {
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.Bit(0) == 0 || n.BitLen() < 512 {
		return errors.New("has no n that is a modulus in base64url")
	}
	if !e.IsInt64() || e.Int64() != 3 && e.Int64() != 65537 {
		return errors.New("has no e that is 3 or 65537 in base64url")
	}
	return nil
}

// checkEC takes the curve from the algorithm when it is not said, and P-256 when neither is.
func checkEC(alg, name string, x, y []byte) error {
	if alg == "" && name == "" {
		name = "P-256"
	}
	for _, c := range []struct {
		alg, name string
		curve     ecdh.Curve
		size      int
	}{
		{"ES256", "P-256", ecdh.P256(), 32}, {"ES384", "P-384", ecdh.P384(), 48}, {"ES512", "P-521", ecdh.P521(), 66},
	} {
		if alg != "" && alg != c.alg || name != "" && name != c.name {
			continue
		}
		if len(x) > c.size || len(y) > c.size {
			break
		}
		pad := func(b []byte) []byte { return append(make([]byte, c.size-len(b)), b...) }
		if _, err := c.curve.NewPublicKey(bytes.Join([][]byte{{4}, pad(x), pad(y)}, nil)); err != nil {
			break
		}
		return nil
	}
	return fmt.Errorf("has no x and y in base64url that are a point of curve %q for %q", name, alg)
}
