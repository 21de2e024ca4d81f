package support

import (
	"strings"
	"testing"
)

// proof is a test of what is not translation: that the server acts on a field, keeps it for people, or fills it in.
type proof struct {
	// Kind of the field, or the object of several kinds that it is in; empty for every kind that has it. Path may stand for what is below it, with "…" at its end.
	Kind, Path string
	// Test is a file, and Says a text in it that would be another one if the field did nothing.
	Test, Says string
	// Note says what the field does, for those that are not translated.
	Note    string
	Refused bool
}

const (
	scripts = "test/scripts/testdata/"
	habits  = "internal/resource/testdata/habits/"
)

// proofs are read from above: the first one that fits holds.
var proofs = []proof{
	{Path: "fqn", Test: scripts + "guide.txtar", Says: "fqn: organizations/tetrate/tenants/test/workspaces/bookinfo", Note: "filled in"},
	{Path: "etag", Test: scripts + "etag.txtar", Says: "the stored etag is", Note: "filled in; a stale one is refused"},
	{Path: "displayName", Test: scripts + "rest.txtar", Says: `"displayName":"T"`, Note: "kept for people"},
	{Path: "description", Test: scripts + "etag.txtar", Says: "description: two", Note: "kept for people"},
	{Path: "deletionProtectionEnabled", Test: scripts + "delete.txtar", Says: "is protected against deletion", Note: "holds for all kinds that have it"},

	{Kind: "User", Path: "…", Test: "internal/resource/roundtrip_test.go", Says: "TestRoundTrip", Note: "kept for people"},
	{Kind: "WasmExtension", Path: "source", Test: habits + "AcceptWasm.txtar", Says: `"source":`, Note: "kept for people"},

	{Kind: "ServiceRoute", Path: "tcpRoutes[].name", Test: habits + "RefuseServiceRoute.txtar", Says: `"one" is also in tcpRoutes[0]`, Note: "kept for people"},
	{Kind: "ServiceRoute", Path: "tcpRoutes[].match[].name", Test: habits + "RefuseServiceRoute.txtar", Says: "spec.tcpRoutes[0].match[0].name: is required", Note: "kept for people"},

	{Kind: "Authentication", Path: "oidc.grantType…", Test: "internal/istio/testdata/golden/oidc.txtar", Says: "grantType: AUTHORIZATION_CODE", Note: "the only one there is"},

	{Kind: "Egress", Path: "port", Test: habits + "RefuseEgress.txtar", Says: "must be 15443, on which gateways are called within the mesh", Note: "the only one there is"},

	{Kind: "Cluster", Path: "tier1Cluster", Test: habits + "AcceptDeprecated.txtar", Says: "spec.tier1Cluster: is deprecated: use nothing", Note: "nothing is left to do"},
	{Kind: "Cluster", Path: "serviceAccount.keys[].privateKey", Test: scripts + "cluster.txtar", Says: `! stdout '"d":'`, Note: "never filled in: it is shown once, to who makes the key", Refused: true},
	{Kind: "Cluster", Path: "serviceAccount.keys[].defaultToken", Test: scripts + "cluster.txtar", Says: `! stdout 'defaultToken'`, Note: "never filled in", Refused: true},
	{Kind: "Cluster", Path: "serviceAccount…", Test: scripts + "cluster.txtar", Says: `keys:\n +- encoding: JWK`, Note: "filled in; keys of a file are ignored with a warning"},
}

// filled is the golden of what the server fills in in a Cluster.
const filled = "internal/server/testdata/golden/cluster-observed.txtar"

// proofOf finds the proof of a row of a kind or an object; nil when there is none.
func proofOf(name string, isKind bool, r row) *proof {
	for i := range proofs {
		p := &proofs[i]
		if p.Kind != "" && p.Kind != name {
			continue
		}
		start, open := strings.CutSuffix(p.Path, "…")
		last := r.Path[strings.LastIndexByte(r.Path, '.')+1:]
		switch {
		case open && (start == "" || under(r.Path, start)), p.Kind != "" && r.Path == p.Path, p.Kind == "" && isKind && last == p.Path:
			return p
		}
	}
	return nil
}

// check says whether the test is still there, and says it.
func (p *proof) check(t *testing.T) {
	t.Helper()
	if !strings.Contains(read(t, p.Test), p.Says) {
		t.Errorf("%s no longer says %q, which was to show %s %s: name another test in internal/support/served_test.go", p.Test, p.Says, p.Kind, p.Path)
	}
}

// readFilled are the rows that the server fills in.
func readFilled(t *testing.T, s *schema) map[row]bool {
	t.Helper()
	seen := map[row]bool{}
	_, text, _ := strings.Cut(read(t, filled), "-- want/cluster.yaml --\n")
	for _, doc := range documents(text) {
		s.readText(doc, seen)
	}
	if len(seen) == 0 {
		t.Errorf("%s fills nothing in", filled)
	}
	return seen
}
