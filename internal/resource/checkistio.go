package resource

import (
	"errors"
	"fmt"
	"regexp"

	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"
)

// istioRules is what Istio's webhook says of an object of a kind. That of EnvoyFilter would bring along the types of all
// filters of Envoy, which are larger than everything else here: docs/adr/0016-istio-says-what-is-valid.md.
func istioRules(spec proto.Message) validation.ValidateFunc {
	switch spec.(type) {
	case *networking.EnvoyFilter:
		return envoyFilter
	case *networking.Gateway:
		return validation.ValidateGateway
	case *security.AuthorizationPolicy:
		return validation.ValidateAuthorizationPolicy
	case *security.RequestAuthentication:
		return validation.ValidateRequestAuthentication
	case *security.PeerAuthentication:
		return validation.ValidatePeerAuthentication
	case *networking.VirtualService:
		return validation.ValidateVirtualService
	case *networking.DestinationRule:
		return validation.ValidateDestinationRule
	case *networking.Sidecar:
		return validation.ValidateSidecar
	case *networking.ServiceEntry:
		return validation.ValidateServiceEntry
	case *extensions.WasmPlugin:
		return validation.ValidateWasmPlugin
	}
	return nil
}

// istio checks an object of Istio's kinds as Istio does.
func (c *checker) istio(r *Resource) {
	o := r.Object
	switch {
	case o.GetNamespace() == "":
		c.at("metadata.namespace", "is missing: the namespace of the object in the clusters")
	case !dnsLabel.MatchString(o.GetNamespace()):
		c.at("metadata.namespace", "%q is not a namespace name", o.GetNamespace())
	}
	c.labels(o.GetLabels(), "metadata.labels")
	for k := range o.GetAnnotations() {
		if !labelKey.MatchString(k) {
			c.at(mapPath("metadata.annotations", k), "is not an annotation key of Kubernetes")
		}
	}
	if len(c.problems) > 0 {
		return // Istio takes an object for granted that its API server would refuse
	}
	if _, wrong := istioSays(r, r.Spec); len(wrong) > 0 {
		search := newFieldSearch(r, wrong)
		for _, words := range wrong {
			c.say(search.field(words), words)
		}
	}
}

// istioSays is what Istio has to say of an object with a specification, which may be another one than the resource's.
func istioSays(r *Resource, spec proto.Message) (warnings, wrong []string) {
	rules := istioRules(spec)
	if rules == nil {
		return nil, nil // a test wants rules for every kind
	}
	warning, err := rules(config.Config{
		Meta: config.Meta{
			Name: r.FQN.Name(), Namespace: r.Object.GetNamespace(), Labels: r.Object.GetLabels(), Annotations: r.Object.GetAnnotations(),
		},
		Spec: spec,
	})
	return sentences(warning), sentences(err)
}

// sentences takes apart what Istio has put together.
func sentences(err error) []string {
	if err == nil {
		return nil
	}
	all := []error{err}
	if several, ok := errors.AsType[interface {
		error
		WrappedErrors() []error
	}](err); ok {
		all = several.WrappedErrors()
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Error())
	}
	return out
}

// envoyFilter is what Istio's webhook says of an EnvoyFilter without looking into what is patched in.
func envoyFilter(cfg config.Config) (validation.Warning, error) {
	spec, ok := cfg.Spec.(*networking.EnvoyFilter)
	if !ok {
		return nil, fmt.Errorf("cannot cast to Envoy filter")
	}
	if _, err := validation.ValidateAlphaWorkloadSelector(spec.GetWorkloadSelector()); err != nil {
		return nil, err
	}
	var wrong []error
	for _, p := range spec.GetConfigPatches() {
		if p.GetMatch().GetContext() == networking.EnvoyFilter_WAYPOINT {
			continue
		}
		if why := patchProblem(p); why != "" {
			wrong = append(wrong, errors.New("Envoy filter: "+why)) //nolint:staticcheck // Istio's words
		}
	}
	if len(wrong) == 0 {
		return nil, nil
	}
	return nil, manyErrors(wrong)
}

// manyErrors are errors that are told apart, as those of Istio are.
type manyErrors []error

func (m manyErrors) Error() string          { return errors.Join(m...).Error() }
func (m manyErrors) WrappedErrors() []error { return m }

// maxProxyVersion is how long an expression Istio looks at.
const maxProxyVersion = 1024

// patchProblem says what is wrong with a patch, in Istio's words; empty when nothing is.
func patchProblem(p *networking.EnvoyFilter_EnvoyConfigObjectPatch) string {
	match := p.GetMatch()
	switch {
	case p.GetApplyTo() == networking.EnvoyFilter_INVALID:
		return "missing applyTo"
	case p.GetPatch() == nil:
		return "missing patch"
	case p.GetPatch().GetOperation() == networking.EnvoyFilter_Patch_INVALID:
		return "missing patch operation"
	case p.GetPatch().GetOperation() != networking.EnvoyFilter_Patch_REMOVE && p.GetPatch().GetValue() == nil:
		return "missing patch value for non-remove operation"
	}
	if v := match.GetProxy().GetProxyVersion(); len(v) <= maxProxyVersion {
		if _, err := regexp.Compile(v); err != nil {
			return fmt.Sprintf("invalid regex for proxy version, [%v]", err)
		}
	}
	if match.GetObjectTypes() == nil {
		return ""
	}
	switch p.GetApplyTo() {
	case networking.EnvoyFilter_LISTENER, networking.EnvoyFilter_FILTER_CHAIN, networking.EnvoyFilter_NETWORK_FILTER, networking.EnvoyFilter_HTTP_FILTER:
		if match.GetListener() == nil {
			return "applyTo for listener class objects cannot have non listener match"
		}
		return filterProblem(p.GetApplyTo(), match.GetListener().GetFilterChain().GetFilter())
	case networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE:
		if match.GetRouteConfiguration() == nil {
			return "applyTo for http route class objects cannot have non route configuration match"
		}
	case networking.EnvoyFilter_CLUSTER:
		if match.GetCluster() == nil {
			return "applyTo for cluster class objects cannot have non cluster match"
		}
	}
	return ""
}

const connectionManager = "envoy.filters.network.http_connection_manager"

// filterProblem says what is wrong with the filter that a patch looks for.
func filterProblem(to networking.EnvoyFilter_ApplyTo, f *networking.EnvoyFilter_ListenerMatch_FilterMatch) string {
	switch sub := f.GetSubFilter(); {
	case f == nil:
	case f.GetName() == "":
		return "filter match has no name to match on"
	case sub == nil:
	case to != networking.EnvoyFilter_HTTP_FILTER:
		return "subfilter match can be used with applyTo HTTP_FILTER only"
	case f.GetName() != connectionManager && f.GetName() != "envoy.http_connection_manager":
		return "subfilter match requires filter match with " + connectionManager
	case sub.GetName() == "":
		return "subfilter match has no name to match on"
	}
	return ""
}
