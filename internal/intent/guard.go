package intent

import "time"

// Guard is what stands before the routes of a server, for its host alone. Requests meet the parts in this order.
type Guard struct {
	// SignIn sends browsers to a provider; nil asks for no signing in.
	SignIn *SignIn
	JWT    *JWT
	// External asks a service; nil for nobody.
	External *External
	// Rules decide in the gateway itself who may do what; nil lets everybody.
	Rules *AccessRules
	// Limits bound how many requests pass; nil lets all.
	Limits *Limits
}

// SignIn lets requests pass that carry the cookies of somebody who signed in at an OpenID Connect provider, and sends all
// others there.
type SignIn struct {
	// File is the name, without an ending, of the files below SignInMount with the client's secret and the key of cookies.
	// Empty is none, and then nobody passes.
	File string
	// Secret of the gateway's namespace that the files should have.
	Secret   string
	ClientID string
	// AuthorizeURI is where browsers are sent, TokenURI what the gateway itself asks, at TokenAt.
	AuthorizeURI, TokenURI string
	TokenAt                *Upstream
	// RedirectURI is where the provider sends them back to, and RedirectPath how it arrives here.
	RedirectURI, RedirectPath string
	SignoutPath               string
	Scopes                    []string
	// Basic sends the client's secret in a header, and not in the body.
	Basic bool
	// Refresh renews tokens that expire.
	Refresh bool
	// SameSite of cookies: STRICT, LAX, NONE, or empty for not saying it.
	SameSite string
	// Cookies is what the names of the cookies begin with.
	Cookies string
	// Host that browsers may be sent back to, "*.x" for all below x, and empty for any.
	Host string
}

// JWT says which tokens are accepted. A request with a token that none of the issuers made is refused.
type JWT struct {
	// Required refuses requests without a token.
	Required bool
	Issuers  []JWTIssuer
}

// JWTIssuer is one maker of tokens.
type JWTIssuer struct {
	Issuer string
	// SignIn says that it is the provider where browsers sign in: its tokens are those that they got there.
	SignIn    bool
	Audiences []string
	// Keys as a JWKS, or empty and KeysURI where they are published and KeysAt what to ask.
	Keys    string
	KeysURI string
	KeysAt  *Upstream
	// Headers and Cookies in which the token is; without any, "authorization: Bearer" and the query parameter access_token.
	Headers []TokenHeader
	Cookies []string
	// PayloadHeader, when set, carries the verified payload to the service.
	PayloadHeader string
	Claims        []ClaimHeader
}

// TokenHeader is a header with a token behind a prefix.
type TokenHeader struct{ Name, Prefix string }

// ClaimHeader sends a claim to the service as a header.
type ClaimHeader struct{ Claim, Header string }

// External is a service that says which requests may pass. When it does not answer, none may.
type External struct {
	// At is asked in Envoy's own protocol when GRPC, else with the request itself.
	At   *Upstream
	GRPC bool
	// PathPrefix stands before the path of the request that is asked about.
	PathPrefix string
	// RequestHeaders are shown to the service. Without any, gRPC sees all and HTTP only method, host, path and
	// authorization.
	RequestHeaders []string
	// UpstreamHeaders of the answer go on with the request. Without any, all that a gRPC service sets do, and none of an
	// HTTP service.
	UpstreamHeaders []string
}

// AccessRules let a request pass when one of them matches; without any, none passes.
type AccessRules struct {
	Rules []AccessRule
}

// AccessRule matches a request whose caller matches one of From, and which is one of To; an empty list matches all.
type AccessRule struct {
	Name string
	From []Claims
	To   []Operation
}

// Claims of a verified token, all of which must be there; a claim that is a list must contain the value.
type Claims map[string]string

// Operation is a kind of requests. Empty lists match all. Paths may begin or end with "*".
type Operation struct {
	Methods, Paths []string
}

// Upstream is a service that a gateway asks by itself.
type Upstream struct {
	// Host and Port to connect to. Mesh says that Host is the full name of a Service of the cluster, which Istio knows.
	Host string
	Port uint32
	Mesh bool
	// TLS that the gateway starts; nil for none, and for services of the mesh Istio's own.
	TLS *ClientTLS
	// HTTP2 for gRPC.
	HTTP2 bool
	// Timeout of one question.
	Timeout time.Duration
	// Lost says that it cannot be asked, because of the cluster. Every question fails.
	Lost bool
}

// ClientTLS says how a gateway starts TLS.
type ClientTLS struct {
	// Mode is SIMPLE or MUTUAL.
	Mode string
	// Name of the server, which its certificate has unless SubjectAltNames say otherwise.
	Name string
	// Secret in the gateway's namespace.
	Secret string
	// Certificate, Key and CA are files in the gateway's pods.
	Certificate, Key, CA string
	SubjectAltNames      []string
}
