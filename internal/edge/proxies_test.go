package edge

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

func TestReadProxies(t *testing.T) {
	long := strings.Repeat("x", 3*wordsAtMost)
	for name, tc := range map[string]struct {
		in   string
		want map[string]string
		err  string
	}{
		"None":     {in: "[]", want: map[string]string{}},
		"Content":  {in: `[{"proxy":"gw-1.shop","cluster_id":"x","resources":{"a":{"sent":"1","acked":"1"}}}]`, want: map[string]string{}},
		"Refused":  {in: `[{"proxy":"gw-1.shop","resources":{"b":{"lastError":"two"},"a":{"lastError":"one"}}},{"proxy":"gw-2.shop"}]`, want: map[string]string{"shop/gw-1": "one; two"}},
		"TooLong":  {in: `[{"proxy":"gw.shop","resources":{"a":{"lastError":"` + long + `"}}}]`, want: map[string]string{"shop/gw": long[:wordsAtMost]}},
		"NoList":   {in: `{"error":"no"}`, want: map[string]string{}, err: "no list"},
		"Cut":      {in: `[{"proxy":"gw`, want: map[string]string{}, err: "state of a proxy"},
		"Nothing":  {in: "", want: map[string]string{}, err: "no list"},
		"NotAnAPI": {in: "<html>", want: map[string]string{}, err: "no list"},
	} {
		t.Run(name, func(t *testing.T) {
			read, got := refusals{}, map[string]string{}
			err := readProxies(strings.NewReader(tc.in), read)
			for pod, r := range read {
				got[pod] = r.String()
			}
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Errorf("readProxies() error %v, want one with %q", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("readProxies() (-want +got):\n%s", diff)
			}
		})
	}
}

// The question goes over TLS with the token of the edge, to an istiod that the mesh's root vouches for.
func TestAskIstiod(t *testing.T) {
	const path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
	asked := make(chan string, 1)
	handler := connect.NewBidiStreamHandler(path, func(_ context.Context, s *connect.BidiStream[isthmusv1.DiscoveryRequest, isthmusv1.DiscoveryResponse]) error {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		// Istio takes the namespace out of the fourth part, and refuses who is of another one.
		if parts := strings.Split(m.GetNode().GetId(), "~"); len(parts) != 4 || !strings.HasPrefix(parts[3], "istio-system.") {
			return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("no identities matched %q", parts))
		}
		if m.GetNode().GetMetadata().GetFields()["ISTIO_VERSION"].GetStringValue() == "" {
			return connect.NewError(connect.CodeInvalidArgument, errors.New("istiod would complain of the missing version"))
		}
		asked <- s.RequestHeader().Get("Authorization") + " " + m.GetTypeUrl() + " " + strings.Join(m.GetResourceNames(), ",")
		return s.Send(&isthmusv1.DiscoveryResponse{Resources: []*anypb.Any{{TypeUrl: "istio.io/debug", Value: []byte("[]")}}})
	})
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	// The test server's certificate is for example.com.
	var signed string
	a := &istiods{tokenFile: token, namespace: "istio-system", server: "example.com", roots: func() []byte { return root }, signed: func(root string) { signed = root }}
	address := server.Listener.Addr().(*net.TCPAddr)
	a.port = address.AddrPort().Port()

	got, err := a.ask(t.Context(), address.IP.String())
	if err != nil || string(got) != "[]" {
		t.Errorf("ask() = %q, %v; want []", got, err)
	}
	if want := fingerprint(server.Certificate().Raw); signed != want {
		t.Errorf("the certificate of istiod is said to be of root %q, want %q", signed, want)
	}
	if got, want := <-asked, "Bearer secret istio.io/debug syncz"; got != want {
		t.Errorf("istiod was asked %q, want %q", got, want)
	}
	for name, a := range map[string]*istiods{
		"NoRoot":       {tokenFile: token, port: a.port, server: "example.com", roots: func() []byte { return nil }},
		"AnotherName":  {tokenFile: token, port: a.port, server: "istiod.istio-system.svc", roots: a.roots},
		"NoToken":      {tokenFile: token + "x", port: a.port, server: "example.com", roots: a.roots},
		"NobodyThere":  {tokenFile: token, port: 1, server: "example.com", roots: a.roots},
		"NotTrustable": {tokenFile: token, port: a.port, server: "example.com", roots: func() []byte { return []byte("-----BEGIN") }},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := a.ask(t.Context(), address.IP.String()); err == nil {
				t.Errorf("ask() = %q, want an error", got)
			}
			if len(asked) > 0 {
				t.Error("the token was sent all the same")
			}
		})
	}
}
