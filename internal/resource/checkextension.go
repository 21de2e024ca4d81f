package resource

import (
	"net/url"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	extensionv2 "isthmus.dev/isthmus/api/tsb/extension/v2"
	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// imageName is a reference of an OCI image: a registry, a path, and a tag or a digest.
var imageName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[a-f0-9]{64})?$`)

// ModuleURL is where the module of an extension is.
func ModuleURL(e *extensionv2.WasmExtension) string {
	if u := e.GetUrl(); u != "" {
		return u
	}
	image := e.GetImage() //nolint:staticcheck // old input
	if image == "" || strings.Contains(image, "://") {
		return image
	}
	return "oci://" + image
}

func (c *checker) extension(fqn FQN, e *extensionv2.WasmExtension) {
	image := e.GetImage() //nolint:staticcheck // old input
	switch {
	case e.GetUrl() == "" && image == "":
		c.at("spec.url", "is missing: it says where the module is")
	case e.GetUrl() != "" && image != "":
		c.at("spec.image", "says the same as url: set one of them")
	case image != "":
		c.moduleURL(ModuleURL(e), "spec.image")
	default:
		c.moduleURL(e.GetUrl(), "spec.url")
	}
	if s := e.GetImagePullSecret(); s != "" && (len(s) > 253 || !hostname.MatchString(s)) {
		c.at("spec.imagePullSecret", "%q is not the name of a Secret", s)
	}
	for i, a := range e.GetAllowedIn() {
		c.scope(fqn, a, "spec.allowedIn["+itoa(i)+"]")
	}
	seen := map[string]bool{}
	for i, v := range e.GetVmConfig().GetEnv() {
		at := "spec.vmConfig.env[" + itoa(i) + "]"
		switch {
		case seen[v.GetName()] && v.GetName() != "":
			c.at(at+".name", "%q is there twice", v.GetName())
		case len(v.GetName()) > 256:
			c.at(at+".name", "is longer than 256 characters")
		case strings.HasPrefix(v.GetName(), "ISTIO_META_"):
			c.at(at+".name", "%q is reserved: Istio tells the fetcher of the module with it", v.GetName())
		case v.GetValueFrom() == extensionv2.WasmExtension_HOST && v.GetValue() != "":
			c.at(at+".value", "has no meaning with valueFrom HOST: the value is that of the proxy's environment")
		}
		seen[v.GetName()] = true
	}
}

func (c *checker) moduleURL(s, path string) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		c.at(path, "%q is not a URL", s)
	case u.Scheme == "oci" && !imageName.MatchString(strings.TrimPrefix(s, "oci://")):
		c.at(path, "%q is not oci://<registry>/<image>:<tag>", s)
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/"):
		c.at(path, "%q is not file:///<path in the proxy's container>", s)
	case (u.Scheme == "http" || u.Scheme == "https") && (u.Host == "" || u.User != nil):
		c.at(path, "%q needs a host, and no password", s)
	case u.Scheme != "oci" && u.Scheme != "file" && u.Scheme != "http" && u.Scheme != "https":
		c.at(path, "%q must start with oci://, https://, http:// or file://", s)
	}
}

// scope checks the name of something that may attach an extension.
func (c *checker) scope(extension FQN, s, path string) {
	fqn, kind, err := ParseFQN(s)
	switch {
	case err != nil:
		c.at(path, "%v", err)
	case !extension.Parent().Contains(fqn):
		c.at(path, "%q is not in the organization of the extension", s)
	case kind.Name != "Organization" && kind.Name != "Tenant" && kind.Name != "Workspace" && kind.Name != "Group":
		c.at(path, "%q is not the name of an organization, a tenant, a workspace or a group", s)
	}
}

// attachments checks the extensions that somebody attaches.
func (c *checker) attachments(list []*typesv2.WasmAttachment, path string) {
	first := map[string]int{}
	for i, a := range list {
		at := path + "[" + itoa(i) + "].fqn"
		fqn, kind, err := ParseFQN(a.GetFqn())
		before, twice := first[a.GetFqn()]
		switch {
		case a.GetFqn() == "":
		case err != nil:
			c.at(at, "%v", err)
		case kind.Name != "WasmExtension":
			c.at(at, "%q is the name of %s, not of a WasmExtension", fqn, kind.Noun())
		case fqn.Ancestor("organizations") != c.of.Ancestor("organizations"):
			c.at(at, "%q is an extension of another organization", fqn)
		case twice:
			c.at(at, "%q is attached already in %s[%d]", fqn, path[strings.LastIndexByte(path, '.')+1:], before)
		default:
			first[a.GetFqn()] = i
		}
	}
}

// Attachments are the extensions that a resource attaches to its proxies, and the field with them.
func Attachments(spec proto.Message) (field string, list []*typesv2.WasmAttachment) {
	switch spec := spec.(type) {
	case *gatewayv2.IngressGateway:
		return "extension", spec.GetExtension()
	case *gatewayv2.Tier1Gateway:
		return "extension", spec.GetExtension()
	case *gatewayv2.EgressGateway:
		return "extension", spec.GetExtension()
	case *gatewayv2.Gateway:
		return "wasmPlugins", spec.GetWasmPlugins()
	}
	return "", nil
}
