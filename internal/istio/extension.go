package istio

import (
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	extensions "istio.io/api/extensions/v1alpha1"
	istiotype "istio.io/api/type/v1beta1"

	"isthmus.dev/isthmus/internal/intent"
)

// wasmPlugins put the extensions of a gateway into its proxies. Istio gives their modules to Envoy apart from the
// listener, which is not opened before they are there.
func wasmPlugins(g *intent.Gateway, dress *dress) []config {
	configs := make([]config, 0, len(g.Extensions))
	for i := range g.Extensions {
		e := &g.Extensions[i]
		configs = append(configs, config{
			apiVersion: "extensions.istio.io/v1alpha1", kind: "WasmPlugin", namespace: g.Namespace,
			name: g.Name + "." + e.Name, // neither name has a dot
			spec: wasmPlugin(&istiotype.WorkloadSelector{MatchLabels: g.Selector}, e), wave: waveWasmPlugin, dress: dress,
		})
	}
	return configs
}

func wasmPlugin(selector *istiotype.WorkloadSelector, e *intent.Extension) *extensions.WasmPlugin {
	out := &extensions.WasmPlugin{
		Selector:        selector,
		Url:             e.URL,
		ImagePullPolicy: extensions.PullPolicy(extensions.PullPolicy_value[e.PullPolicy]),
		ImagePullSecret: e.PullSecret,
		Phase:           extensions.PluginPhase(extensions.PluginPhase_value[e.Phase]),
		// A module that panics is started again for the next request; FAIL_CLOSE would refuse all requests from then on, so
		// that one bad request took down every host. What cannot be fetched or started is closed with both.
		FailStrategy: extensions.FailStrategy_FAIL_RELOAD,
	}
	if e.Optional {
		out.FailStrategy = extensions.FailStrategy_FAIL_OPEN
	}
	if e.Priority != 0 {
		out.Priority = wrapperspb.Int32(e.Priority)
	}
	if len(e.Config) > 0 {
		out.PluginConfig = freeForm(e.Config)
	}
	for _, v := range e.Env {
		if out.VmConfig == nil {
			out.VmConfig = &extensions.VmConfig{}
		}
		env := &extensions.EnvVar{Name: v.Name, Value: v.Value}
		if v.FromHost {
			env.ValueFrom = extensions.EnvValueSource_HOST
		}
		out.VmConfig.Env = append(out.VmConfig.Env, env)
	}
	if len(e.Ports) > 0 {
		ports := make([]*istiotype.PortSelector, len(e.Ports))
		for i, n := range e.Ports {
			ports[i] = &istiotype.PortSelector{Number: n}
		}
		out.Match = []*extensions.WasmPlugin_TrafficSelector{{Ports: ports}}
	}
	return out
}

// freeForm makes a structure of what JSON can say.
func freeForm(m map[string]any) *structpb.Struct {
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(m))}
	for k, v := range m {
		out.Fields[k] = freeValue(v)
	}
	return out
}

func freeValue(v any) *structpb.Value {
	switch v := v.(type) {
	case string:
		return structpb.NewStringValue(v)
	case bool:
		return structpb.NewBoolValue(v)
	case float64:
		return structpb.NewNumberValue(v)
	case map[string]any:
		return structpb.NewStructValue(freeForm(v))
	case []any:
		values := make([]*structpb.Value, len(v))
		for i, x := range v {
			values[i] = freeValue(x)
		}
		return list(values...)
	}
	return structpb.NewNullValue()
}
