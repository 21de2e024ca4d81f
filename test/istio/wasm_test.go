package istio

import (
	"slices"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpwasm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	networkwasm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/wasm/v3"
	wasm "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
)

// fetchModules does what pilot-agent does to extensions on their way to Envoy: a module that is somewhere else becomes one
// that is here. Here it is always the same, which does nothing.
func fetchModules(t *testing.T, c configuration) {
	t.Helper()
	for _, m := range c[v3.ExtensionConfigurationType] {
		x := m.(*core.TypedExtensionConfig)
		filter, err := x.TypedConfig.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		var plugin *wasm.PluginConfig
		switch f := filter.(type) {
		case *httpwasm.Wasm:
			plugin = f.GetConfig()
		case *networkwasm.Wasm:
			plugin = f.GetConfig()
		}
		if plugin.GetVmConfig().GetCode().GetRemote() == nil {
			continue
		}
		plugin.GetVmConfig().Code = &core.AsyncDataSource{Specifier: &core.AsyncDataSource_Local{
			Local: &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: idleModule()}},
		}}
		if x.TypedConfig, err = anypb.New(proto.Message(filter)); err != nil {
			t.Fatal(err)
		}
	}
}

// idleModule is the smallest WebAssembly module that Envoy takes for a filter: it has a memory, says which interface it
// knows, and can be asked for memory.
func idleModule() []byte {
	section := func(id byte, content ...byte) []byte { return append([]byte{id, byte(len(content))}, content...) }
	export := func(name string, kind, index byte) []byte {
		return slices.Concat([]byte{byte(len(name))}, []byte(name), []byte{kind, index})
	}
	const i32, function, memory = 0x7f, 0, 2
	return slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 0, 0, 0x60, 1, i32, 1, i32), // two types: () and (i32) → i32
		section(3, 2, 0, 1),                             // two functions, one of each
		section(5, 1, 0, 1),                             // one memory, of one page at least
		section(7, slices.Concat([]byte{3},
			export("memory", memory, 0), export("proxy_abi_version_0_2_1", function, 0), export("malloc", function, 1))...),
		section(10, 2, 2, 0, 0x0b, 4, 0, 0x20, 0, 0x0b), // one returns, the other returns what it is given
	)
}
