package istio

import (
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	istiotype "istio.io/api/type/v1beta1"

	"isthmus.dev/isthmus/internal/intent"
)

// sidecarGuards is the EnvoyFilter with what stands before the workloads of pods, nil when that is nothing. Istio's
// RequestAuthentication would also be one of the gateways of the namespace, and refuse tokens there that are for others.
func sidecarGuards(p *intent.SecuredPods, selector *istiotype.WorkloadSelector) *networking.EnvoyFilter {
	if len(p.Guards)+p.Without == 0 {
		return nil
	}
	out, scope := &networking.EnvoyFilter{}, "namespace"
	if selector != nil {
		out.WorkloadSelector, scope = &networking.WorkloadSelector{Labels: selector.GetMatchLabels()}, "service"
	}
	for i := range p.Guards {
		for _, f := range filtersOf(&p.Guards[i], sidecarSuffix(scope, i)) {
			for _, c := range f.clusters {
				patch := clusterPatch(c)
				patch.Match.Context = networking.EnvoyFilter_SIDECAR_OUTBOUND
				out.ConfigPatches = append(out.ConfigPatches, patch)
			}
			patch := filterPatch(&networking.EnvoyFilter_ListenerMatch{FilterChain: manager("")}, f)
			patch.Match.Context = networking.EnvoyFilter_SIDECAR_INBOUND
			patch.Patch.Value = object("name", text(f.name), "typed_config", structpb.NewStructValue(f.always))
			out.ConfigPatches = append(out.ConfigPatches, patch)
		}
	}
	if p.Without > 0 {
		out.ConfigPatches = append(out.ConfigPatches, withoutShared(p.Without))
	}
	return out
}

// sidecarPlugin puts an extension into what the sidecars of a namespace hear. Gateways do not hear in Istio's words, they call.
func sidecarPlugin(e *intent.Extension) *extensions.WasmPlugin {
	out := wasmPlugin(nil, e)
	if out.Match == nil {
		out.Match = []*extensions.WasmPlugin_TrafficSelector{{}}
	}
	for _, m := range out.Match {
		m.Mode = istiotype.WorkloadMode_SERVER
	}
	return out
}

func sidecarSuffix(scope string, i int) string { return "." + scope + "." + strconv.Itoa(i) }

// withoutShared switches off what stands before all pods of the namespace. Without it a request meets more than it should,
// and never less.
func withoutShared(n int) *networking.EnvoyFilter_EnvoyConfigObjectPatch {
	off := map[string]*structpb.Value{}
	for i := range n {
		for _, kind := range []string{"isthmus.jwt", "isthmus.external", "isthmus.rules"} {
			off[kind+sidecarSuffix("namespace", i)] = structpb.NewStructValue(typed("config.route.v3.FilterConfig", "disabled", yes()))
		}
	}
	return &networking.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: networking.EnvoyFilter_VIRTUAL_HOST,
		Match:   &networking.EnvoyFilter_EnvoyConfigObjectMatch{Context: networking.EnvoyFilter_SIDECAR_INBOUND},
		Patch: &networking.EnvoyFilter_Patch{
			Operation: networking.EnvoyFilter_Patch_MERGE,
			Value:     object("typed_per_filter_config", structpb.NewStructValue(&structpb.Struct{Fields: off})),
		},
	}
}
