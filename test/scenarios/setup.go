package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Where scenarios are.
const (
	Organization = "tetrate"
	Tenant       = "test"
	Group        = "gw"
)

// Clusters of the sandbox.
var Clusters = []string{"c1", "c2", "c3"}

// Setup is what exists before the first step. Keys of maps are places: "c1/gw" is the gateway gw in the scenario's own
// namespace in cluster c1, "c1/other/gw" the one in the namespace other.
type Setup struct {
	// Alone keeps other scenarios from running at the same time: this one cuts a cluster off, or counts something.
	Alone bool
	// Namespaces of the scenario beside its own, in all clusters where it has something. The workspace owns them.
	Namespaces []string
	// Clusters where there are namespaces, beside those that are named by what is set up.
	Clusters []string
	// Delete is what tctl deletes at the end beside the workspace, with the scenario's steps as its maker: "workspace other".
	Delete []string
	// NoWorkspace leaves workspace and group to the scenario's own steps.
	NoWorkspace  bool `yaml:"noWorkspace"`
	Gateways     map[string]Gateway
	Apps         map[string]App
	Certificates map[string]Certificate
	Tokens       map[string]Token
}

// Gateway is an IngressGateway of install.tetrate.io.
type Gateway struct {
	// Ports of its Service, beside 80 and 443. Ports below 1024 lead to 8000 more than that in the pods.
	Ports    []int
	Replicas int
}

// App is a Deployment and a Service of the same name, with the ports 80 (http), 8081 (grpc), 443 (tls) and 9000 (tcp).
type App struct {
	// Image is echo, authz, jwks, limits, modules or oidc; echo when empty.
	Image string
	// Versions, one Deployment each; v1 when empty.
	Versions []string
	Replicas int
	// Sidecar makes it part of the mesh.
	Sidecar bool
	// Certificate for TLS of its own.
	Certificate string
	// Keys that jwks serves.
	Keys []string
	Env  map[string]string
}

// Certificate is made for one run, and kept in a Secret of its name.
type Certificate struct {
	Names []string
	// Authority that signs it; "public" when empty, which requests trust.
	Authority string
	// Verify is the authority whose certificate is in the Secret, as ca.crt: it signs clients.
	Verify string
	// Client is for a request to show; there is no Secret.
	Client bool
	// In are the places of the Secret, "c1" or "c1/other"; all clusters with a gateway when empty.
	In []string
	// Expired is no longer valid.
	Expired bool
	// RSA instead of ECDSA, for ciphers that need it.
	RSA bool `yaml:"rsa"`
}

// Token is a JWT.
type Token struct {
	// Key signs it; ${jwks:KEY} are the keys to verify it with. Its name is the key's id.
	Key      string
	Issuer   string
	Audience []string
	Claims   map[string]any
	// Expires after so long, an hour when empty. A negative duration was in the past.
	Expires time.Duration
}

// place is a name in a namespace of a cluster.
type place struct{ Cluster, Namespace, Name string }

// parsePlace reads CLUSTER/NAME and CLUSTER/NAMESPACE/NAME.
func parsePlace(s, namespace string) (place, error) {
	parts := strings.Split(s, "/")
	p := place{Cluster: parts[0], Namespace: namespace, Name: parts[len(parts)-1]}
	if len(parts) == 3 {
		p.Namespace = parts[1]
	}
	if len(parts) < 2 || len(parts) > 3 || !slices.Contains(Clusters, p.Cluster) {
		return p, fmt.Errorf("%q is not CLUSTER/NAME or CLUSTER/NAMESPACE/NAME, with a cluster of %s", s, strings.Join(Clusters, ", "))
	}
	return p, nil
}

// images that apps have.
var images = []string{"echo", "authz", "jwks", "limits", "modules", "oidc"}

func (s *Setup) check() error {
	var errs []error
	for where := range s.Gateways {
		if _, err := parsePlace(where, ""); err != nil {
			errs = append(errs, fmt.Errorf("gateways: %w", err))
		}
	}
	for where, a := range s.Apps {
		if _, err := parsePlace(where, ""); err != nil {
			errs = append(errs, fmt.Errorf("apps: %w", err))
		}
		if a.Image != "" && !slices.Contains(images, a.Image) {
			errs = append(errs, fmt.Errorf("apps: %s: there is no image %q, only %s", where, a.Image, strings.Join(images, ", ")))
		}
		if _, ok := s.Certificates[a.Certificate]; a.Certificate != "" && !ok {
			errs = append(errs, fmt.Errorf("apps: %s: there is no certificate %q", where, a.Certificate))
		}
		if (a.Image == "jwks") != (len(a.Keys) > 0) {
			errs = append(errs, fmt.Errorf("apps: %s: keys are what jwks serves", where))
		}
	}
	for name, c := range s.Certificates {
		if c.Client == (len(c.Names) > 0) {
			errs = append(errs, fmt.Errorf("certificates: %s: it has names, or is a client's", name))
		}
	}
	for name, t := range s.Tokens {
		if t.Key == "" {
			errs = append(errs, fmt.Errorf("tokens: %s: key is missing", name))
		}
	}
	for _, c := range s.Clusters {
		if !slices.Contains(Clusters, c) {
			errs = append(errs, fmt.Errorf("clusters: there is no %q", c))
		}
	}
	return errors.Join(errs...)
}

// knows says what is wrong with a placeholder.
func (s *Setup) knows(kind, arg string) error {
	switch kind {
	case "lb", "ip":
		_, err := parsePlace(arg, "")
		return err
	case "cert", "key":
		if _, ok := s.Certificates[arg]; !ok {
			return fmt.Errorf("setup has no certificate %q", arg)
		}
	case "token":
		if _, ok := s.Tokens[arg]; !ok {
			return fmt.Errorf("setup has no token %q", arg)
		}
	case "ca", "ca-key", "jwks", "run":
	default:
		return errors.New("there is no such placeholder")
	}
	return nil
}

// clusters where the scenario has something.
func (s *Setup) clusters() []string {
	used := map[string]bool{}
	for _, c := range s.Clusters {
		used[c] = true
	}
	for where := range s.Gateways {
		c, _, _ := strings.Cut(where, "/")
		used[c] = true
	}
	for where := range s.Apps {
		c, _, _ := strings.Cut(where, "/")
		used[c] = true
	}
	if len(used) == 0 {
		used[Clusters[0]] = true
	}
	return slices.Sorted(maps.Keys(used))
}

// gatewayClusters are those with a gateway.
func (s *Setup) gatewayClusters() []string {
	used := map[string]bool{}
	for where := range s.Gateways {
		c, _, _ := strings.Cut(where, "/")
		used[c] = true
	}
	return slices.Sorted(maps.Keys(used))
}
