// Package deploy holds the Kubernetes manifests that install Isthmus, and fills them in.
package deploy

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"text/template"
)

//go:embed manifests/*.yaml crds/*.yaml
var files embed.FS

// Server says how the server is to run in a cluster.
type Server struct {
	Image           string
	PullPolicy      string // a Kubernetes pull policy
	ImagePullSecret string // empty is none
	Organization    string
	// DataHostPath is a directory of the node; DataClaim the size of a volume to claim. One of the two.
	DataHostPath string
	DataClaim    string
	StorageClass string // of the claim; empty is the cluster's default
	// OwnCertificate makes the server use the certificate of ServerSecrets instead of one that it makes itself.
	OwnCertificate bool
}

// ServerSecrets are what the server must know and nobody else.
type ServerSecrets struct {
	AdminPassword string
	// Certificate and Key as PEM; empty when the server makes its own.
	Certificate, Key string
}

// Edge says how an edge is to run in its cluster.
type Edge struct {
	Image           string
	PullPolicy      string // a Kubernetes pull policy
	ImagePullSecret string // empty is none
}

// RateLimit says how the rate limiter of a cluster is to run.
type RateLimit struct {
	Image           string
	PullPolicy      string // a Kubernetes pull policy
	ImagePullSecret string // empty is none
}

// EdgeSecrets say who the cluster is, where the server is, and by what it is known.
type EdgeSecrets struct {
	Server  string // host:port
	Cluster string // FQN
	JWK     string // the private key of the cluster's service account
	CA      string // PEM
}

// Manifest returns the YAML for kubectl apply.
func (s Server) Manifest() ([]byte, error) { return fill("manifests/server.yaml", s) }

// Manifest returns the YAML for kubectl apply.
func (s ServerSecrets) Manifest() ([]byte, error) { return fill("manifests/server-secrets.yaml", s) }

// Manifest returns the YAML for kubectl apply, the CRDs of install.tetrate.io first.
func (e Edge) Manifest() ([]byte, error) {
	crds, err := CRDs()
	if err != nil {
		return nil, err
	}
	edge, err := fill("manifests/edge.yaml", e)
	return append(append(crds, "---\n"...), edge...), err
}

// Manifest returns the YAML for kubectl apply.
func (r RateLimit) Manifest() ([]byte, error) { return fill("manifests/ratelimit.yaml", r) }

// Manifest returns the YAML for kubectl apply.
func (s EdgeSecrets) Manifest() ([]byte, error) { return fill("manifests/edge-secrets.yaml", s) }

// CRDs returns the kinds of install.tetrate.io.
func CRDs() ([]byte, error) {
	entries, err := files.ReadDir("crds")
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, e := range entries {
		b, err := files.ReadFile("crds/" + e.Name())
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, b...)
	}
	return out, nil
}

// fill puts values into a manifest. They are quoted, so that no value can become structure.
func fill(name string, values any) ([]byte, error) {
	text, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"quote":  quote,
		"base64": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	}).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return b.Bytes(), nil
}

// quote writes a string as JSON does, which YAML reads too.
func quote(s string) (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}
