package cli

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"isthmus.dev/isthmus/deploy"
)

// newInstallManifest prints what `kubectl apply` takes. It needs no server.
func newInstallManifest(e *env) *cobra.Command {
	cmd := group("manifest", "Print Kubernetes manifests for kubectl apply",
		newManifestServer(e), newManifestServerSecrets(e), newManifestEdge(e), newManifestEdgeSecrets(e))
	cmd.Aliases = []string{"manifests"}
	return cmd
}

// imageFlags are where images come from.
type imageFlags struct{ registry, tag, policy, secret string }

func (i *imageFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&i.registry, "registry", "", "registry that holds the images (required)")
	f.StringVar(&i.tag, "tag", "dev", "tag of the images")
	f.StringVar(&i.policy, "image-pull-policy", "IfNotPresent", "Always, IfNotPresent or Never")
	f.StringVar(&i.secret, "image-pull-secret", "", "name of the secret for the registry")
	must(cmd.MarkFlagRequired("registry"))
}

func (i *imageFlags) ref(name string) (string, error) {
	if !slices.Contains([]string{"Always", "IfNotPresent", "Never"}, i.policy) {
		return "", &usageError{fmt.Errorf("--image-pull-policy %q is none of Always, IfNotPresent, Never", i.policy)}
	}
	return path.Join(i.registry, name) + ":" + i.tag, nil
}

// must is for mistakes that only this file can make, such as a flag's name.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// write prints a manifest.
func (e *env) write(text []byte, err error) error {
	if err == nil {
		_, err = e.stdout.Write(text)
	}
	return err
}

func newManifestServer(e *env) *cobra.Command {
	var (
		images                 imageFlags
		org, data, size, store string
		own                    bool
	)
	cmd := &cobra.Command{
		Use:     "management-plane-operator",
		Short:   "Print what runs the server, in the namespace tsb",
		Long:    "Print what runs the server: the namespace tsb, a Deployment of one pod, its data, and the Service envoy on port 8443.\nThe secrets come from management-plane-secrets.",
		Example: "  tctl install manifest management-plane-operator --registry registry.example.com/isthmus | kubectl apply -f -",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			image, err := images.ref("isthmus-server")
			if err != nil {
				return err
			}
			s := deploy.Server{
				Image: image, PullPolicy: images.policy, ImagePullSecret: images.secret,
				Organization: org, StorageClass: store, OwnCertificate: own,
			}
			dir, host := strings.CutPrefix(data, "hostPath=")
			switch {
			case host && path.IsAbs(dir):
				s.DataHostPath = path.Clean(dir)
			case host:
				return &usageError{fmt.Errorf("--data: %q is no absolute path", dir)}
			case data == "claim":
				s.DataClaim = size
			case strings.EqualFold(data, "emptyDir"):
				return &usageError{errors.New("--data emptyDir: everything that was ever applied would be gone with the pod; use claim or hostPath=DIR")}
			default:
				return &usageError{fmt.Errorf("--data %q is neither claim nor hostPath=DIR", data)}
			}
			return e.write(s.Manifest())
		},
	}
	images.add(cmd)
	f := cmd.Flags()
	f.StringVar(&org, "organization", "tetrate", "name of the organization")
	f.StringVar(&data, "data", "claim", "where the data is: claim (a volume claim), or hostPath=DIR on the pod's node")
	f.StringVar(&size, "data-size", "10Gi", "size of the volume claim")
	f.StringVar(&store, "storage-class", "", "storage class of the volume claim (default the cluster's)")
	f.BoolVar(&own, "own-certificate", false, "serve with the certificate of management-plane-secrets instead of one that the server makes")
	return cmd
}

func newManifestServerSecrets(e *env) *cobra.Command {
	var password, cert, key string
	cmd := &cobra.Command{
		Use:     "management-plane-secrets",
		Short:   "Print the server's secrets",
		Example: "  tctl install manifest management-plane-secrets --tsb-admin-password \"$PASSWORD\" | kubectl apply -f -",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			s := deploy.ServerSecrets{AdminPassword: password}
			if (cert == "") != (key == "") {
				return &usageError{errors.New("--tsb-server-certificate and --tsb-server-key go together")}
			}
			if cert != "" {
				var err error
				if s.Certificate, err = textOrFile(cert, "-----BEGIN"); err != nil {
					return fmt.Errorf("--tsb-server-certificate: %w", err)
				}
				if s.Key, err = textOrFile(key, "-----BEGIN"); err != nil {
					return fmt.Errorf("--tsb-server-key: %w", err)
				}
				if _, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key)); err != nil {
					return fmt.Errorf("--tsb-server-certificate and --tsb-server-key: %w", err)
				}
			}
			return e.write(s.Manifest())
		},
	}
	f := cmd.Flags()
	f.StringVar(&password, "tsb-admin-password", "", "password of the first administrator (required)")
	f.StringVar(&password, "admin-password", "", "the same, as demo installations spell it")
	f.StringVar(&cert, "tsb-server-certificate", "", "certificate of the server, as PEM or the name of a file (default the server makes its own)")
	f.StringVar(&key, "tsb-server-key", "", "key of the certificate, as PEM or the name of a file")
	must(f.MarkHidden("admin-password"))
	cmd.MarkFlagsOneRequired("tsb-admin-password", "admin-password")
	cmd.MarkFlagsMutuallyExclusive("tsb-admin-password", "admin-password")
	return cmd
}

func newManifestEdge(e *env) *cobra.Command {
	var images imageFlags
	cmd := &cobra.Command{
		Use:     "cluster-operators",
		Short:   "Print what runs the edge and the rate limiter, in the namespace istio-system",
		Long:    "Print what runs the edge: the kinds of install.tetrate.io, the edge's permissions, and its Deployment; and the rate limiter\nof the cluster's gateways, which needs no configuration. Where the server is, and the secrets, come from control-plane-secrets.",
		Example: "  tctl install manifest cluster-operators --registry registry.example.com/isthmus | kubectl apply -f -",
		Args:    exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			image, err := images.ref("isthmus-edge")
			if err != nil {
				return err
			}
			limiter, err := images.ref("isthmus-ratelimit")
			if err != nil {
				return err
			}
			edge, err := deploy.Edge{Image: image, PullPolicy: images.policy, ImagePullSecret: images.secret}.Manifest()
			if err := e.write(edge, err); err != nil {
				return err
			}
			text, err := deploy.RateLimit{Image: limiter, PullPolicy: images.policy, ImagePullSecret: images.secret}.Manifest()
			return e.write(append([]byte("---\n"), text...), err)
		},
	}
	images.add(cmd)
	return cmd
}

func newManifestEdgeSecrets(e *env) *cobra.Command {
	var cluster, org, jwk, ca, server string
	cmd := &cobra.Command{
		Use:   "control-plane-secrets",
		Short: "Print the edge's secrets, and where its server is",
		Long:  "Print where the server is, and the edge's secrets: the key of its cluster's service account, and the certificate by which it\nknows the server.",
		Example: `  tctl install manifest control-plane-secrets --cluster c1 \
    --cluster-service-account "$(tctl install cluster-service-account --cluster c1)" \
    --management-plane tsb.example.com:8443 --management-plane-ca-certificate ca.crt | kubectl apply -f -`,
		Args: exactly(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if host, port, err := net.SplitHostPort(server); err != nil || host == "" || port == "" {
				return &usageError{fmt.Errorf("--management-plane %q is not HOST:PORT", server)}
			}
			s := deploy.EdgeSecrets{Server: server}
			var err error
			if s.Cluster, err = e.clusterFQN(cluster, org); err != nil {
				return err
			}
			if s.JWK, err = textOrFile(jwk, "{"); err != nil {
				return fmt.Errorf("--cluster-service-account: %w", err)
			}
			if err := checkJWK(s.JWK); err != nil {
				return fmt.Errorf("--cluster-service-account: %w", err)
			}
			if s.CA, err = textOrFile(ca, "-----BEGIN"); err != nil {
				return fmt.Errorf("--management-plane-ca-certificate: %w", err)
			}
			if err := checkCertificates(s.CA); err != nil {
				return fmt.Errorf("--management-plane-ca-certificate: %w", err)
			}
			return e.write(s.Manifest())
		},
	}
	f := cmd.Flags()
	f.StringVar(&cluster, "cluster", "", "name or FQN of the cluster (required)")
	f.StringVar(&org, "org", "", "organization of a cluster that is given by name (default the profile's, else tetrate)")
	f.StringVar(&jwk, "cluster-service-account", "", "private key of the cluster's service account, as JWK or the name of a file (required)")
	f.StringVar(&ca, "management-plane-ca-certificate", "", "certificate authority of the server, as PEM or the name of a file (required)")
	f.StringVar(&server, "management-plane", "", "HOST:PORT at which the cluster reaches the server (required)")
	for _, name := range []string{"management-plane", "cluster", "cluster-service-account", "management-plane-ca-certificate"} {
		must(cmd.MarkFlagRequired(name))
	}
	for _, name := range []string{"xcp-central-ca-bundle", "elastic-ca-certificate"} {
		f.String(name, "", "accepted for compatibility; there is no such component")
		must(f.MarkHidden(name))
	}
	return cmd
}

// clusterFQN completes the name of a cluster.
func (e *env) clusterFQN(cluster, org string) (string, error) {
	if parts := strings.Split(cluster, "/"); len(parts) == 4 && parts[0] == "organizations" && parts[2] == "clusters" && parts[1] != "" && parts[3] != "" {
		return cluster, nil
	}
	if cluster == "" || strings.Contains(cluster, "/") {
		return "", &usageError{fmt.Errorf("--cluster %q is neither a name nor organizations/<organization>/clusters/<name>", cluster)}
	}
	if org == "" {
		s, err := e.settings()
		if err != nil {
			return "", err
		}
		// A configuration without a profile is fine: there is a default.
		if _, _, u, err := e.active(s); err == nil {
			org = u.Org
		}
	}
	return "organizations/" + cmp.Or(org, "tetrate") + "/clusters/" + cluster, nil
}

// textOrFile takes a value as it is when it begins as such values do, and as the name of a file otherwise.
func textOrFile(value, begin string) (string, error) {
	if strings.HasPrefix(strings.TrimSpace(value), begin) {
		return value, nil
	}
	text, err := os.ReadFile(value)
	return string(text), err
}

// checkJWK finds the mistakes that are easily made: a public key, or another file.
func checkJWK(text string) error {
	var k struct{ Kty, D, Kid string }
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		return fmt.Errorf("not a JSON Web Key: %w", err)
	}
	if k.Kty == "" {
		return errors.New("not a JSON Web Key: kty is missing")
	}
	if k.D == "" {
		return errors.New("this is a public key; the private one is needed, as install cluster-service-account printed it")
	}
	return nil
}

func checkCertificates(text string) error {
	n := 0
	for rest := []byte(text); ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	if n == 0 {
		return errors.New("there is no PEM certificate in it")
	}
	return nil
}
