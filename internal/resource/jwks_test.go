package resource

import (
	"fmt"
	"testing"
)

const (
	rsaN = "wMLmnEVHaNQNZNDA7OKCHvaAzZCoDkhw2Zqyq3OtQwvLbVQf3eKDdBcHgVdrQyFuUVZa3VFiJrmLWZbSIPQYLw" // odd, 512 bits
	ecX  = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY"                                            // the generator of P-256
	ecY  = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
)

// TestCheckKeys has what a real Envoy took and what it rejected.
func TestCheckKeys(t *testing.T) {
	keys := func(format string, args ...any) string { return `{"keys":[` + fmt.Sprintf(format, args...) + `]}` }
	cases := map[string]struct{ text, want string }{
		"RSA":          {text: keys(`{"kty":"RSA","n":%q,"e":"AQAB"}`, rsaN)},
		"RSA3":         {text: keys(`{"kty":"RSA","n":"%s==","e":"Aw","use":"enc","alg":"PS256"}`, rsaN)},
		"RSA17":        {text: keys(`{"kty":"RSA","n":%q,"e":"EQ"}`, rsaN), want: "has no key that can verify a token: keys[0] has no e that is 3 or 65537 in base64url"},
		"RSAShort":     {text: keys(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`), want: "has no key that can verify a token: keys[0] has no n that is a modulus in base64url"},
		"RSAOtherAlg":  {text: keys(`{"kty":"RSA","alg":"ES256","n":%q,"e":"AQAB"}`, rsaN), want: `has no key that can verify a token: keys[0] is an RSA key for "ES256"`},
		"EC":           {text: keys(`{"kty":"EC","crv":"P-256","x":%q,"y":%q}`, ecX, ecY)},
		"ECByAlg":      {text: keys(`{"kty":"EC","alg":"ES256","x":%q,"y":%q}`, ecX, ecY)},
		"ECByNothing":  {text: keys(`{"kty":"EC","x":%q,"y":%q}`, ecX, ecY)},
		"ECOffCurve":   {text: keys(`{"kty":"EC","crv":"P-256","x":%q,"y":%[1]q}`, ecX), want: `has no key that can verify a token: keys[0] has no x and y in base64url that are a point of curve "P-256" for ""`},
		"ECOtherAlg":   {text: keys(`{"kty":"EC","crv":"P-256","alg":"ES384","x":%q,"y":%q}`, ecX, ecY), want: `has no key that can verify a token: keys[0] has no x and y in base64url that are a point of curve "P-256" for "ES384"`},
		"Secret":       {text: keys(`{"kty":"oct","k":"c2VjcmV0"}`)},
		"SecretEmpty":  {text: keys(`{"kty":"oct","k":""}`), want: "has no key that can verify a token: keys[0] has no k in base64url"},
		"Ed25519":      {text: keys(`{"kty":"OKP","crv":"Ed25519","x":%q}`, ecX)},
		"X25519":       {text: keys(`{"kty":"OKP","crv":"X25519","x":%q}`, ecX), want: "has no key that can verify a token: keys[0] is not an Ed25519 key"},
		"OtherKind":    {text: keys(`{"kty":"rsa"}`), want: `has no key that can verify a token: keys[0] is of kty "rsa", which is none of RSA, EC, oct and OKP`},
		"OneIsEnough":  {text: keys(`1,{},{"kty":"oct","k":"c2VjcmV0"}`)},
		"Number":       {text: keys(`1`), want: `has no key that can verify a token: keys[0] is of kty "", which is none of RSA, EC, oct and OKP`},
		"Empty":        {text: `{"keys":[]}`, want: "has no key"},
		"NoKeys":       {text: `{}`, want: `has no list "keys"`},
		"KeysNoList":   {text: `{"keys":{}}`, want: `has no list "keys"`},
		"List":         {text: `[]`, want: "is not a JSON object"},
		"NameTwice":    {text: keys(`{"kty":"oct","kty":"oct","k":"c2VjcmV0"}`), want: "is not a JSON object"},
		"OtherMembers": {text: `{"x":[1],"keys":[{"kty":"oct","k":"c2VjcmV0","y":null}]}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := checkKeys(tc.text); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("checkKeys(%s) = %q, want %q", tc.text, got, tc.want)
			}
		})
	}
}
