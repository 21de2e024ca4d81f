package istio

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/wellknown"
)

const oauthMessage = "extensions.filters.http.oauth2.v3."

// signInFilter sends browsers to a provider until they come back with its word. While the gateway does not have the
// client's secret, nobody passes: Envoy refuses a whole port over a file that is not there.
func signInFilter(in *intent.SignIn, suffix string) httpFilter {
	f := httpFilter{name: "isthmus.sign-in" + suffix}
	if in.File == "" {
		f.config = typed("extensions.filters.http.rbac.v3.RBAC", "rules", nested("action", text("ALLOW")))
		f.host = switchOn()
		return f
	}
	name, cluster := upstreamCluster(in.TokenAt, f.name)
	if cluster != nil {
		f.clusters = append(f.clusters, cluster)
	}
	names, cookies := object(), object()
	for _, c := range []struct{ field, config, name string }{
		{"bearer_token", "bearer_token_cookie_config", "token"}, {"oauth_hmac", "oauth_hmac_cookie_config", "hmac"},
		{"oauth_expires", "oauth_expires_cookie_config", "expires"}, {"id_token", "id_token_cookie_config", "id"},
		{"refresh_token", "refresh_token_cookie_config", "refresh"}, {"oauth_nonce", "oauth_nonce_cookie_config", "nonce"},
		{"code_verifier", "code_verifier_cookie_config", "verifier"},
	} {
		names.Fields[c.field] = text(in.Cookies + "-" + c.name)
		if in.SameSite != "" {
			cookies.Fields[c.config] = nested("same_site", text(in.SameSite))
		}
	}
	config := object(
		"token_endpoint", nested("uri", text(in.TokenURI), "cluster", text(name), "timeout", duration(in.TokenAt.Timeout)),
		"authorization_endpoint", text(in.AuthorizeURI),
		"redirect_uri", text(in.RedirectURI),
		"redirect_path_matcher", exactPath(in.RedirectPath),
		"signout_path", exactPath(in.SignoutPath),
		"auth_scopes", texts(in.Scopes),
		"use_refresh_token", structpb.NewBoolValue(in.Refresh),
		// What a page loads in the background cannot sign in, and each attempt would leave cookies, of which Envoy bears
		// about thirty pairs in a request. It is answered 401.
		"deny_redirect_matcher", list(nested("name", text("sec-fetch-mode"), "string_match", nested("exact", text("navigate")), "invert_match", yes())),
		"forward_bearer_token", yes(), // in the place of what the client says there
		"default_expires_in", text("3600s"), // for providers that do not say how long their tokens live
		"stat_prefix", text("isthmus"),
		"credentials", nested(
			"client_id", text(in.ClientID),
			"token_secret", fileSecret(in.File+"-secret"),
			"hmac_secret", fileSecret(in.File+"-cookies"),
			"cookie_names", structpb.NewStructValue(names),
		),
	)
	if in.Host != "" {
		config.Fields["allowed_redirect_domains"] = texts([]string{in.Host})
	}
	if strings.HasPrefix(in.RedirectURI, "https://") { // also where TLS ends in front of the gateway
		config.Fields["original_request_uri"] = text("https://%REQ(:authority)%")
	}
	if in.Basic {
		config.Fields["auth_type"] = text("BASIC_AUTH")
	}
	if in.SameSite != "" {
		config.Fields["cookie_configs"] = structpb.NewStructValue(cookies)
	}
	f.config = typed(oauthMessage+"OAuth2", "config", structpb.NewStructValue(config))
	f.host = switchOn()
	return f
}

func exactPath(path string) *structpb.Value { return nested("path", nested("exact", text(path))) }

// fileSecret is a secret that the edge writes and Kubernetes brings to the pods. Envoy may not go on without it: it
// would take cookies that are signed with nothing.
func fileSecret(name string) *structpb.Value {
	return nested("name", text(name), "sds_config", nested(
		"path_config_source", nested("path", text(wellknown.SignInMount+"/"+name+".json"), "watched_directory", nested("path", text(wellknown.SignInMount))),
		"resource_api_version", text("V3"), "initial_fetch_timeout", text("0s"),
	))
}

// signInSecrets are those that the servers of a host need, for the annotation.
func signInSecrets(g *intent.Gateway, host string) string {
	var names []string
	for i := range g.Servers {
		if s := &g.Servers[i]; s.Host == host && s.Guard != nil && s.Guard.SignIn != nil {
			names = append(names, s.Guard.SignIn.Secret+"/"+host)
		}
	}
	return strings.Join(names, ",")
}
