package istio

import (
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
)

const goodListener = `{"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 8080}}, "filter_chains": [{
	"filters": [{"name": "http", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "x",
		"rds": {"route_config_name": "r", "config_source": {"ads": {}, "resource_api_version": "V3"}},
		"http_filters": [{"name": "router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
	}}],
	"transport_socket": {"name": "tls", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
		"common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": "s", "sds_config": {"ads": {}, "resource_api_version": "V3"}}]}
	}}
}]}`

const goodRoutes = `{"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]}]}`

// TestRejections shows that a test that passes means something: what Envoy does not take is heard, whatever it is part of,
// and does not spoil what comes after it.
func TestRejections(t *testing.T) {
	e := startEnvoy(t)
	secret := string(mustJSON(t, agentSecret(t, "s", "tls_certificate_sds_secret_configs", "cluster.local/ns/a/sa/b")))
	cases := map[string]struct {
		listener, routes, cluster, secret string
		want                              string
	}{
		"Listener": {listener: strings.Replace(goodListener, "filters.http.router.v3.Router", "filters.http.jwt_authn.v3.JwtAuthentication", 1), want: "LDS: "},
		"Filter": {
			listener: strings.Replace(goodListener, `{"name": "router"`, `{"name": "odd", "typed_config": {"@type": "type.googleapis.com/envoy.config.core.v3.Node"}}, {"name": "router"`, 1),
			want:     "Didn't find a registered implementation for 'odd'",
		},
		"Regex":   {routes: strings.Replace(goodRoutes, `"prefix": "/"`, `"safe_regex": {"regex": "("}`, 1), want: "RDS: "},
		"Domains": {routes: strings.Replace(goodRoutes, `["*"]`, `["*", "*"]`, 1), want: "RDS: "},
		"PerRoute": {
			routes: strings.Replace(goodRoutes, `"prefix": "/"}`, `"prefix": "/"}, "typed_per_filter_config": {"x": {"@type": "type.googleapis.com/envoy.config.core.v3.Node"}}`, 1),
			want:   "RDS: ",
		},
		"Cluster": {cluster: `{"name": "c", "connect_timeout": "-1s"}`, want: "CDS: "},
		"Secret":  {secret: `{"name": "s", "tls_certificate": {"certificate_chain": {"inline_string": "no certificate"}, "private_key": {"inline_string": "x"}}}`, want: "SDS: "},
		"None":    {},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := configuration{}
			or := func(a, b string) string {
				if a != "" {
					return a
				}
				return b
			}
			c.add(v3.ListenerType, "l", parse(t, or(tc.listener, goodListener), &listener.Listener{}))
			c.add(v3.RouteType, "r", parse(t, or(tc.routes, goodRoutes), &route.RouteConfiguration{}))
			c.add(v3.ClusterType, "c", parse(t, or(tc.cluster, `{"name": "c"}`), &cluster.Cluster{}))
			c.add(v3.SecretType, "s", parse(t, or(tc.secret, secret), &tlsv3.Secret{}))
			got := e.try(t, unbound(c))
			if tc.want == "" && len(got) > 0 {
				t.Errorf("Envoy rejects %q", got)
			}
			if tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)) {
				t.Errorf("Envoy rejects %q, want one rejection with %q", got, tc.want)
			}
		})
	}
}

func parse(t *testing.T, text string, into proto.Message) proto.Message {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
	return into
}

func mustJSON(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
