package scripts

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/rogpeppe/go-internal/testscript"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
	"isthmus.dev/isthmus/internal/compile/offline"
	"isthmus.dev/isthmus/internal/fleet/fleettest"
)

// edges are the connected edges of a script, by cluster.
type edges map[string]*fleettest.Stream

// edgeCommand plays the edges of clusters, which need no cluster for it:
//
//	edge connect CLUSTER KEY OBSERVED [FOREIGN-OBJECT]   report the facts of a file, and take what is sent
//	edge close CLUSTER
//	edge ended CLUSTER                                   wait until the server ends the stream
//
// "! edge connect" is one that the server refuses.
func edgeCommand(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if len(args) < 2 {
			ts.Fatalf("usage: edge connect|close|ended CLUSTER …")
		}
		all := ts.Value("edges").(edges)
		switch args[0] {
		case "close":
			all[args[1]].Close()
		case "ended":
			ts.Logf("the stream ended: %v", all[args[1]].Wait(t))
		case "connect":
			e := newEdge(ts, args[1:])
			if neg {
				refused(t, ts, e)
				return
			}
			all[args[1]] = connectEdge(t, ts, e, args[1:])
		default:
			ts.Fatalf("edge %s?", args[0])
		}
	}
}

// refused expects that the server does not let an edge in.
func refused(t *testing.T, ts *testscript.TestScript, e *fleettest.Edge) {
	ctx, call := connect.NewClientContext(t.Context())
	call.RequestHeader().Set("Authorization", "Bearer "+e.Name)
	stream, err := isthmusv1connect.NewFleetClient(e.Client, e.URL, connect.WithGRPC()).Connect(ctx)
	ts.Check(err)
	_ = stream.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Hello{Hello: &isthmusv1.Hello{Protocol: 1}}})
	if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeUnauthenticated {
		ts.Fatalf("the server answered %v, want unauthenticated", err)
	}
}

// newEdge is an edge with a token of its own.
func newEdge(ts *testscript.TestScript, args []string) *fleettest.Edge {
	h := hostOf(ts)
	ca, err := os.ReadFile(filepath.Join(h.dir, "ca.crt"))
	ts.Check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	e := &fleettest.Edge{
		Name:    edgeToken(ts, args[0], ts.ReadFile(args[1])), // what it sends as its token
		Client:  &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool}}},
		URL:     "https://" + h.listen,
		Session: time.Now().Format(time.RFC3339Nano),
	}
	if len(args) > 3 {
		e.NotOK = []*isthmusv1.ObjectOutcome{{Id: args[3], Outcome: isthmusv1.ObjectOutcome_OUTCOME_FOREIGN}}
	}
	return e
}

// connectEdge opens a stream and reports what a file says.
func connectEdge(t *testing.T, ts *testscript.TestScript, e *fleettest.Edge, args []string) *fleettest.Stream {
	s := e.Connect(t)
	observed, err := offline.ParseObserved(args[2], []byte(ts.ReadFile(args[2])))
	ts.Check(err)
	for _, o := range observed {
		if o.Cluster == args[0] {
			report := &isthmusv1.Observed{Seq: 1, Full: true, Last: true, Put: o.Facts}
			if err := s.Send(&isthmusv1.EdgeMessage{Message: &isthmusv1.EdgeMessage_Observed{Observed: report}}); err != nil {
				ts.Logf("report: %v", err)
			}
		}
	}
	return s
}

// edgeToken is what an edge proves with who it is.
func edgeToken(ts *testscript.TestScript, cluster, key string) string {
	var jwk jose.JSONWebKey
	ts.Check(json.Unmarshal([]byte(key), &jwk))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil)
	ts.Check(err)
	fqn := "organizations/tetrate/clusters/" + cluster
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: fqn, Subject: fqn, Audience: jwt.Audience{"isthmus"},
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(5 * time.Minute)),
	}).Serialize()
	ts.Check(err)
	return token
}
