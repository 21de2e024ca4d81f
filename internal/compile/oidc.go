package compile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

// tokenTimeout is how long the provider may take to make or show something.
const tokenTimeout = 5 * time.Second

// signIn is what a server says about signing in at a provider.
func signIn(o *typesv2.OIDC, host string) *intent.SignIn {
	p := o.GetProvider()
	out := &intent.SignIn{
		Secret: o.GetClientTokenSecret(), ClientID: o.GetClientId(),
		AuthorizeURI: p.GetAuthorizationEndpoint(), TokenURI: p.GetTokenEndpoint(), TokenAt: upstream(p.GetTokenEndpoint(), p.GetTls(), tokenTimeout),
		// Envoy's own example asks for a header that does not exist.
		RedirectURI:  strings.Replace(o.GetRedirectUri(), "%REQ(:x-forwarded-proto)%", "%REQ(x-forwarded-proto)%", 1),
		RedirectPath: cmp.Or(o.GetRedirectPathMatcher(), pathOf(o.GetRedirectUri())),
		SignoutPath:  cmp.Or(o.GetSignoutPath(), "/signout"), Scopes: o.GetAuthScopes(),
		Basic: o.GetAuthType() == typesv2.OIDC_BASIC_AUTH, Refresh: o.UseRefreshToken == nil || o.GetUseRefreshToken(),
		// Browsers do not tell the ports of a host apart. Servers of one client share who is signed in, others must not.
		Cookies: "isthmus-" + shortHash(host+"/"+o.GetClientId()),
		Host:    host,
	}
	if len(out.Scopes) == 0 {
		out.Scopes = []string{"user"}
	}
	if same := o.GetCookieConfig().GetSameSite(); same != typesv2.OIDC_CookieConfig_DISABLED {
		out.SameSite = same.String()
	}
	if host == "*" {
		out.Host = ""
	}
	return out
}

// pathOf is the path of an address, which may have a "%REQ(…)%" in its scheme or host.
func pathOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:]
	}
	return "/"
}

// providerTokens are those that a provider gives to who signs in, nil when it is not said how to verify them. The first
// is the ID token, which is for the client; behind it comes the access token, which is for somebody whom we do not know.
func providerTokens(o *typesv2.OIDC, in *intent.SignIn) *intent.JWT {
	p := o.GetProvider()
	if p.GetKeys() == nil {
		return nil
	}
	i := intent.JWTIssuer{Issuer: p.GetIssuer(), SignIn: true, Keys: p.GetJwks(), KeysURI: p.GetJwksUri()}
	if i.KeysURI != "" {
		i.KeysAt = upstream(i.KeysURI, p.GetTls(), tokenTimeout)
	}
	id, access := i, i
	id.Audiences, id.Cookies = []string{in.ClientID}, []string{in.Cookies + "-id"}
	access.Headers = []intent.TokenHeader{{Name: "authorization", Prefix: "Bearer "}}
	return &intent.JWT{Required: true, Issuers: []intent.JWTIssuer{id, access}}
}

// handOver finds the files with the secret of a server's client. Without them, or without a provider that can be asked,
// the guard lets nobody pass; it still says which Secret it waits for, so that the edge gives it to the pods.
func (s *scene) handOver(i int, g *intent.Guard) {
	if g.SignIn == nil {
		return
	}
	in := *g.SignIn
	if s.cluster.Known && !in.TokenAt.Lost {
		in.File = s.clientFile(s.plan.Fields[i]+".authentication.oidc.clientTokenSecret", in.Secret, s.plan.Servers[i].Host)
	}
	g.SignIn = &in // the plan's own is shared
}

func (s *scene) clientFile(field, name, host string) string {
	for _, w := range s.pods {
		if !slices.Contains(w.GetMounts(), wellknown.SignInMount) {
			s.say(no(reasonSecretsUnmounted, field, "The pods of %q in namespace %q have no volume at %s: they are not installed by Isthmus, or not yet replaced by newer ones.", w.GetName(), s.plan.Namespace, wellknown.SignInMount))
			return ""
		}
	}
	ns := s.plan.Namespace
	secret := s.fact("secret/" + ns + "/" + name).GetSecret()
	file, told := secret.GetClientFiles()[host]
	switch {
	case secret == nil:
		s.say(no(reasonSecretMissing, field, "Secret %q does not exist in namespace %q.", name, ns))
	case secret.GetClientProblem() != "":
		s.say(no(reasonSecretInvalid, field, "Secret %q in namespace %q cannot be used: %s.", name, ns, secret.GetClientProblem()))
	case len(s.pods) == 0: // which is said already
	case told && file == "":
		s.say(no(reasonSecretNoRoom, field, "The pods of gateways in namespace %q have no room for the secret with which browsers sign in at host %q.", ns, host))
	case file == "":
		s.say(no(reasonSecretPending, field, "Secret %q in namespace %q is not in the gateway's pods yet.", name, ns))
	default:
		return file
	}
	return ""
}
