package edge

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/internal/apply"
)

func wire(id, text string) *isthmusv1.Object {
	sum := sha256.Sum256([]byte(text))
	return &isthmusv1.Object{Id: id, Digest: hex.EncodeToString(sum[:]), Json: []byte(text)}
}

func held(at apply.Generation, objects ...*isthmusv1.Object) *apply.Bundle {
	b := &apply.Bundle{At: at, Objects: map[apply.ID]*apply.Object{}}
	for _, o := range objects {
		b.Objects[apply.ID(o.GetId())] = &apply.Object{ID: apply.ID(o.GetId()), Digest: o.GetDigest(), JSON: o.GetJson()}
	}
	return b
}

func gen(epoch string, revision int64) *isthmusv1.Generation {
	return &isthmusv1.Generation{Epoch: epoch, Revision: revision}
}

func TestDeltas(t *testing.T) {
	a, b := wire("a", "1"), wire("b", "2")
	lie := wire("a", "1")
	lie.Json = []byte("2")
	at := apply.Generation{Epoch: "e", Revision: 5}
	sum := func(objects ...*isthmusv1.Object) string { return sumOf(held(at, objects...)) }
	cases := map[string]struct {
		have  *apply.Bundle
		parts []*isthmusv1.Delta
		want  []string // IDs of the bundle; nil when the last part is refused
	}{
		"First": {
			parts: []*isthmusv1.Delta{{To: gen("e", 5), Last: true, Put: []*isthmusv1.Object{a}, Total: 1, Sum: sum(a)}},
			want:  []string{"a"},
		},
		"PutAndDrop": {
			have:  held(at, a),
			parts: []*isthmusv1.Delta{{From: gen("e", 5), To: gen("e", 6), Last: true, Put: []*isthmusv1.Object{b}, Drop: []string{"a"}, Total: 1, Sum: sum(b)}},
			want:  []string{"b"},
		},
		"Parts": {
			parts: []*isthmusv1.Delta{
				{To: gen("e", 5), Put: []*isthmusv1.Object{a}},
				{To: gen("e", 5), Part: 1, Last: true, Put: []*isthmusv1.Object{b}, Total: 2, Sum: sum(a, b)},
			},
			want: []string{"a", "b"},
		},
		"NothingButTheGeneration": {
			have:  held(at, a),
			parts: []*isthmusv1.Delta{{From: gen("e", 5), To: gen("e", 9), Last: true, Total: 1, Sum: sum(a)}},
			want:  []string{"a"},
		},
		"NewEpochMayGoBack": {
			have:  held(at, a),
			parts: []*isthmusv1.Delta{{From: gen("e", 5), To: gen("f", 1), Last: true, Drop: []string{"a"}, Sum: sum()}},
			want:  []string{},
		},
		"SameEpochMayNot": {
			have:  held(at, a),
			parts: []*isthmusv1.Delta{{From: gen("e", 5), To: gen("e", 4), Last: true, Total: 1, Sum: sum(a)}},
		},
		"NotFromHere": {
			have:  held(at, a),
			parts: []*isthmusv1.Delta{{From: gen("e", 4), To: gen("e", 6), Last: true, Total: 1, Sum: sum(a)}},
		},
		"WrongSum":    {parts: []*isthmusv1.Delta{{To: gen("e", 5), Last: true, Put: []*isthmusv1.Object{a}, Total: 1, Sum: sum(b)}}},
		"WrongTotal":  {parts: []*isthmusv1.Delta{{To: gen("e", 5), Last: true, Put: []*isthmusv1.Object{a}, Total: 2, Sum: sum(a)}}},
		"WrongDigest": {parts: []*isthmusv1.Delta{{To: gen("e", 5), Last: true, Put: []*isthmusv1.Object{lie}, Total: 1, Sum: sum(a)}}},
		"MissingPart": {parts: []*isthmusv1.Delta{{To: gen("e", 5), Put: []*isthmusv1.Object{a}}, {To: gen("e", 5), Part: 2, Last: true, Total: 1, Sum: sum(a)}}},
		"OtherDelta":  {parts: []*isthmusv1.Delta{{To: gen("e", 5), Put: []*isthmusv1.Object{a}}, {To: gen("e", 6), Part: 1, Last: true, Total: 1, Sum: sum(a)}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := deltas{have: tc.have}
			for _, p := range tc.parts[:len(tc.parts)-1] {
				if b, err := d.add(p); b != nil || err != nil {
					t.Fatalf("add(part) = %v, %v, want nothing yet", b, err)
				}
			}
			got, err := d.add(tc.parts[len(tc.parts)-1])
			if (err != nil) != (tc.want == nil) {
				t.Fatalf("add(last) error = %v", err)
			}
			if tc.want == nil {
				if diff := cmp.Diff(tc.have, d.have); diff != "" {
					t.Errorf("a refused delta changed what is there (-want +got):\n%s", diff)
				}
				return
			}
			ids := []string{}
			for _, h := range hello("", "", got).GetHave() {
				ids = append(ids, h.GetId())
			}
			if diff := cmp.Diff(tc.want, ids); diff != "" {
				t.Errorf("bundle (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReporterCutsAndTellsOnce(t *testing.T) {
	var r reporter
	facts := map[string]*isthmusv1.Fact{}
	for i := range 30 {
		id := fmt.Sprintf("namespace//%02d", i)
		ns := &isthmusv1.Namespace{Name: id, Labels: map[string]string{"x": strings.Repeat("y", 100<<10)}}
		facts[id] = &isthmusv1.Fact{Id: id, Fact: &isthmusv1.Fact_Namespace{Namespace: ns}}
	}
	parts := r.full(facts)
	total := 0
	for i, p := range parts {
		if n := proto.Size(p); n > partBytes+partBytes/8 {
			t.Errorf("part %d has %d bytes", i, n)
		}
		if p.GetPart() != uint32(i) || p.GetLast() != (i == len(parts)-1) || !p.GetFull() || p.GetSeq() != 1 {
			t.Errorf("part %d is %d of %d, last %v", i, p.GetPart(), p.GetSeq(), p.GetLast())
		}
		total += len(p.GetPut())
	}
	if total != 30 || len(parts) < 3 {
		t.Errorf("%d facts in %d parts, want 30 in at least 3", total, len(parts))
	}
	r.acknowledged(1)
	if got := r.changes(facts); got != nil || r.underWay {
		t.Errorf("what did not change is reported again: %d parts", len(got))
	}
	got := r.changes(map[string]*isthmusv1.Fact{"namespace//00": nil, "namespace//never": nil})
	if len(got) != 1 || !cmp.Equal([]string{"namespace//00"}, got[0].GetDrop()) || got[0].GetFull() || !r.underWay {
		t.Errorf("changes = %v, want one drop", got)
	}
}

func TestKeyOfEd25519(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: private, KeyID: "k", Algorithm: "EdDSA"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.token("organizations/o/clusters/c", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.Claims(public, &claims); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%v %+v %#v", *key, *key, *key); strings.Contains(got, "signer") || !strings.Contains(got, "redacted") {
		t.Errorf("a key prints as %s", got)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"NoJSON":     "secret",
		"PublicHalf": `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`,
		"OtherCurve": `{"kty":"EC","crv":"P-384","d":"AA"}`,
		"BadPoint":   `{"kty":"EC","crv":"P-256","d":"AA"}`,
		"ShortSeed":  `{"kty":"OKP","crv":"Ed25519","d":"AA"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKey([]byte(text))
			if err == nil {
				t.Fatal("ParseKey() = nil, want an error")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes the key: %v", err)
			}
		})
	}
}

func TestActiveIstiod(t *testing.T) {
	d := func(rev string, ready bool) *deployment {
		return &deployment{istiod: true, revision: rev, ready: ready}
	}
	for name, tc := range map[string]struct {
		in   []*deployment
		want string
	}{
		"One":                {[]*deployment{d("1-30", true)}, "1-30"},
		"TheDefault":         {[]*deployment{d("1-31", true), d("default", true)}, "default"},
		"TheReadyOne":        {[]*deployment{d("default", false), d("1-31", true)}, "1-31"},
		"TheNewestOtherwise": {[]*deployment{d("1-31", true), d("1-30", true)}, "1-31"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := active(tc.in).revision; got != tc.want {
				t.Errorf("active() = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestImageVersion(t *testing.T) {
	for image, want := range map[string]string{
		"docker.io/istio/pilot:1.31.0":            "1.31.0",
		"docker.io/istio/pilot:1.31.0-distroless": "1.31.0",
		"localhost:5000/pilot":                    "",
		"localhost:5000/pilot:1.31.0@sha256:abcd": "1.31.0",
	} {
		if got := imageVersion(image); got != want {
			t.Errorf("imageVersion(%q) = %q, want %q", image, got, want)
		}
	}
}
