package istio

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	oauth "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	manager "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
)

// mountSecrets does what Kubernetes and the edge do: the files with the secrets of clients are there. Here they are in a
// directory of the test, with a word that everybody knows.
func mountSecrets(t *testing.T, c configuration) {
	t.Helper()
	dir := ""
	mount := func(s *auth.SdsSecretConfig) {
		source := s.GetSdsConfig().GetPathConfigSource()
		if source == nil {
			return
		}
		if dir == "" {
			var err error
			if dir, err = os.MkdirTemp(work(), "m"); err != nil {
				t.Fatal(err)
			}
		}
		source.Path, source.WatchedDirectory = filepath.Join(dir, filepath.Base(source.GetPath())), &core.WatchedDirectory{Path: dir}
		text := `{"resources": [{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "NAME", "generic_secret": {"secret": {"inline_string": "word"}}}]}`
		write(t, source.Path, []byte(strings.Replace(text, "NAME", s.GetName(), 1)))
	}
	for _, m := range c[v3.ListenerType] {
		l := m.(*listener.Listener)
		for _, chain := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
			for _, f := range chain.GetFilters() {
				change(t, f.GetTypedConfig(), func(hcm *manager.HttpConnectionManager) {
					for _, h := range hcm.GetHttpFilters() {
						change(t, h.GetTypedConfig(), func(o *oauth.OAuth2) {
							mount(o.GetConfig().GetCredentials().GetTokenSecret())
							mount(o.GetConfig().GetCredentials().GetHmacSecret())
						})
					}
				})
			}
		}
	}
}

// change changes what is in a if it is of the type.
func change[M any, P interface {
	*M
	proto.Message
}](t *testing.T, a *anypb.Any, f func(P)) {
	t.Helper()
	m := P(new(M))
	if !a.MessageIs(m) {
		return
	}
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	f(m)
	if err := a.MarshalFrom(m); err != nil {
		t.Fatal(err)
	}
}
