package edge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/apply/applytest"
	"isthmus.dev/isthmus/internal/installer"
	"isthmus.dev/isthmus/internal/wellknown"
)

func TestClientSecret(t *testing.T) {
	for name, tc := range map[string]struct {
		data            map[string]string
		secret, problem string
	}{
		"ClientSecret":      {map[string]string{"client-secret": "s3cret", "client-id": "shop"}, "s3cret", ""},
		"Token":             {map[string]string{"token": "s3cret", "other": "x"}, "s3cret", ""},
		"OrderOfNames":      {map[string]string{"token": "later", "clientSecret": "first"}, "first", ""},
		"OnlyKey":           {map[string]string{"anything": "s3cret"}, "s3cret", ""},
		"FromAFile":         {map[string]string{"client-secret": "s3cret\r\n"}, "s3cret", ""},
		"Nothing":           {nil, "", "it is empty"},
		"EmptyText":         {map[string]string{"client-secret": "\n", "token": "x"}, "", "client-secret is empty"},
		"SeveralKeys":       {map[string]string{"a": "x", "b": "y"}, "", "it has 2 keys and none of them is client-secret"},
		"ControlCharacters": {map[string]string{"token": "a\x00b"}, "", "token has characters that the secret of a client cannot have"},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range tc.data {
				data[k] = []byte(v)
			}
			if secret, problem := clientSecret(data); secret != tc.secret || problem != tc.problem {
				t.Errorf("clientSecret() = %q, %q, want %q, %q", secret, problem, tc.secret, tc.problem)
			}
		})
	}
}

func TestCookieKey(t *testing.T) {
	key := string(cookieKey("a", "x.test"))
	if key == string(cookieKey("b", "x.test")) || key == string(cookieKey("a", "y.test")) || key != string(cookieKey("a", "x.test")) || len(key) != 32 {
		t.Error("a key of cookies is not of its client and host alone")
	}
}

// keeping is a keeper that runs in a cluster.
type keeping struct {
	*testing.T
	k       *keeper
	cluster *applytest.Cluster

	mu        sync.Mutex
	installed map[string]bool
	told      []string
}

func keep(t *testing.T) *keeping {
	x := &keeping{T: t, cluster: applytest.NewFake(t, "istio-system"), installed: map[string]bool{"front": true}}
	x.k = newKeeper(x.cluster.Dynamic, slog.New(slog.DiscardHandler), func() map[string]bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		out := map[string]bool{}
		for ns := range x.installed {
			out[ns] = true
		}
		return out
	}, func(s string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.told = append(x.told, s)
	})
	go x.k.made.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), x.k.made.HasSynced) {
		t.Fatal("not synced")
	}
	return x
}

func (x *keeping) secrets() dynamic.ResourceInterface {
	return x.cluster.Dynamic.Resource(secretsResource).Namespace("front")
}

// pass goes on until nothing more is written.
func (x *keeping) pass() {
	x.Helper()
	for range 3 {
		if err := x.k.pass(x.Context()); err != nil {
			x.Fatal(err)
		}
		x.settle()
	}
}

// settle waits until the informer has what is in the cluster.
func (x *keeping) settle() {
	x.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		u, err := x.secrets().Get(x.Context(), installer.SignInSecret, metav1.GetOptions{})
		obj, there, _ := x.k.made.GetStore().GetByKey("front/" + installer.SignInSecret)
		if err != nil && !there {
			return
		}
		if m, ok := obj.(*mounted); err == nil && ok && fmt.Sprint(m.clients, m.files) == fmt.Sprint(signInItem(u).clients, signInItem(u).files) {
			return
		}
		if time.Now().After(end) {
			x.Fatal("the informer did not catch up within 10s")
		}
	}
}

// put makes a Secret of a user, or changes it; without a value it goes.
func (x *keeping) put(name, value string) {
	x.Helper()
	_ = x.secrets().Delete(x.Context(), name, metav1.DeleteOptions{})
	if value == "" {
		return
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": map[string]any{"name": name, "namespace": "front"},
		"data": map[string]any{"client-secret": base64.StdEncoding.EncodeToString([]byte(value))},
	}}
	if _, err := x.secrets().Create(x.Context(), u, metav1.CreateOptions{}); err != nil {
		x.Fatal(err)
	}
}

// host for which browsers sign in with a Secret.
const host = "h.test"

// file of a Secret, for the host.
func (x *keeping) file(name string) string { return x.k.files("front/" + name)[host] }

// want is a bundle whose guards need Secrets, for the host.
func (x *keeping) want(names ...string) {
	b := &apply.Bundle{Objects: map[apply.ID]*apply.Object{}}
	for i, n := range names {
		id := apply.Ref{Namespace: "front", Name: fmt.Sprintf("guard-%d", i)}
		id.Group, id.Version, id.Kind = "networking.istio.io", "v1alpha3", "EnvoyFilter"
		text := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, wellknown.SignInAnnotation, strings.ReplaceAll(n, ",", "/"+host+",")+"/"+host)
		b.Objects[id.ID()] = &apply.Object{ID: id.ID(), JSON: []byte(text)}
	}
	x.k.want(b)
}

// words are the secret and the key of cookies in the files of a Secret of the user's.
func (x *keeping) words(name string) (secret, key string) {
	x.Helper()
	return x.wordsOf(x.file(name))
}

func (x *keeping) wordsOf(file string) (secret, key string) {
	x.Helper()
	u, err := x.secrets().Get(x.Context(), installer.SignInSecret, metav1.GetOptions{})
	if err != nil {
		x.Fatal(err)
	}
	data, _, _ := unstructured.NestedStringMap(u.Object, "data")
	if len(data) != 2*installer.SignInClients {
		x.Errorf("%d files, want %d", len(data), 2*installer.SignInClients)
	}
	read := func(name string) (string, string) {
		text, err := base64.StdEncoding.DecodeString(data[name+".json"])
		if err != nil {
			x.Fatal(err)
		}
		var d struct {
			Resources []struct {
				Name    string
				Generic struct {
					Secret struct {
						Text  string `json:"inline_string"`
						Bytes []byte `json:"inline_bytes"`
					} `json:"secret"`
				} `json:"generic_secret"`
			}
		}
		if err := json.Unmarshal(text, &d); err != nil || len(d.Resources) != 1 || d.Resources[0].Name != name {
			x.Fatalf("%s: %v %s", name, err, text)
		}
		return d.Resources[0].Generic.Secret.Text, string(d.Resources[0].Generic.Secret.Bytes)
	}
	secret, _ = read(file + "-secret")
	_, key = read(file + "-cookies")
	return secret, key
}

func TestKeeper(t *testing.T) {
	x := keep(t)
	x.pass()
	if secret, key := x.wordsOf("client-0"); len(secret) < 20 || len(key) != 32 {
		t.Errorf("without a client the words are %q, %q", secret, key)
	}
	x.put("b", "two")
	x.want("b,gone", "a", "a")
	x.pass()
	if a := x.file("a"); a != "" {
		t.Errorf("a Secret that is not there has the files %q", a)
	}
	if secret, key := x.words("b"); secret != "two" || key != string(cookieKey("two", host)) {
		t.Errorf("words of b: %q, %q", secret, key)
	}
	x.put("a", "one")
	x.pass()
	b := x.file("b")
	if secret, _ := x.words("a"); secret != "one" || x.file("a") == b {
		t.Errorf("words of a: %q in %q", secret, x.file("a"))
	}
	if !slices.Contains(x.told, "front/a") || !slices.Contains(x.told, "front/b") {
		t.Errorf("told of %q", x.told)
	}

	t.Run("Rotation", func(t *testing.T) {
		x.put("b", "two again")
		x.pass()
		if secret, key := x.words("b"); secret != "two again" || key != string(cookieKey("two again", host)) || x.file("b") != b {
			t.Errorf("words of b: %q, %q", secret, key)
		}
	})
	t.Run("GoneIsKept", func(t *testing.T) {
		x.put("b", "")
		x.pass()
		if secret, _ := x.words("b"); secret != "two again" {
			t.Errorf("words of b: %q", secret)
		}
	})
	t.Run("NotWantedIsForgotten", func(t *testing.T) {
		x.want("a", "c")
		x.put("c", "three")
		x.pass()
		if x.file("b") != "" || x.file("c") == b {
			t.Errorf("b has %q, c has %q", x.file("b"), x.file("c"))
		}
		if secret, _ := x.wordsOf(b); strings.Contains(secret, "two") {
			t.Errorf("words of nobody: %q", secret)
		}
		x.put("b", "two")
		x.want("a", "b", "c")
		x.pass()
		if got := x.file("b"); got != b {
			t.Errorf("b has %q, and had %q", got, b)
		}
	})
	t.Run("DeletedComesBack", func(t *testing.T) {
		a := x.file("a") // not the one that the first of several would get
		if err := x.secrets().Delete(t.Context(), installer.SignInSecret, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		x.settle()
		x.pass()
		if secret, _ := x.words("a"); secret != "one" {
			t.Errorf("words of a: %q", secret)
		}
		if got := x.file("a"); got != a || x.file("b") != b {
			t.Errorf("a has %q and had %q, b has %q and had %q", got, a, x.file("b"), b)
		}
	})
	t.Run("NothingToWrite", func(t *testing.T) {
		u, err := x.secrets().Get(t.Context(), installer.SignInSecret, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		x.pass()
		again, err := x.secrets().Get(t.Context(), installer.SignInSecret, metav1.GetOptions{})
		if err != nil || fmt.Sprint(u.Object) != fmt.Sprint(again.Object) {
			t.Errorf("it was written: %v", err)
		}
	})
	t.Run("TooMany", func(t *testing.T) {
		var names []string
		for i := range installer.SignInClients + 1 {
			names = append(names, fmt.Sprintf("many-%02d", i))
			x.put(names[i], "word")
		}
		x.want(names...)
		x.pass()
		if x.file("many-31") == "" || x.file("many-32") != "" {
			t.Errorf("the last two have %q and %q", x.file("many-31"), x.file("many-32"))
		}
		if _, told := x.k.files("front/many-32")[host]; !told {
			t.Error("nobody says that there was no room for the last one")
		}
		if len(x.k.files("front/gone")) > 0 {
			t.Error("one that is not there is said to have no room")
		}
	})
	t.Run("LastGatewayGone", func(t *testing.T) {
		x.mu.Lock()
		x.installed = nil
		x.mu.Unlock()
		x.want()
		x.pass()
		if _, err := x.secrets().Get(t.Context(), installer.SignInSecret, metav1.GetOptions{}); err == nil {
			t.Error("the Secret is still there")
		}
	})
}

// Without a bundle nobody knows what is wanted, and nothing is taken away.
func TestKeeperKnowsNothing(t *testing.T) {
	x := keep(t)
	x.put("a", "one")
	x.want("a")
	x.pass()
	fresh := newKeeper(x.cluster.Dynamic, slog.New(slog.DiscardHandler), x.k.installed, func(string) {})
	go fresh.made.RunWithContext(t.Context())
	if !cache.WaitForCacheSync(t.Context().Done(), fresh.made.HasSynced) {
		t.Fatal("not synced")
	}
	fresh.want(nil)
	if err := fresh.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fresh.files("front/a")[host] != x.file("a") {
		t.Errorf("a has %q, and had %q", fresh.files("front/a")[host], x.file("a"))
	}
	if secret, _ := x.words("a"); secret != "one" {
		t.Errorf("words of a: %q", secret)
	}
}

// A Secret of that name that somebody else made is left alone.
func TestKeeperForeign(t *testing.T) {
	x := keep(t)
	x.put(installer.SignInSecret, "mine")
	x.settle()
	x.want("a")
	if err := x.k.pass(t.Context()); err == nil || !strings.Contains(err.Error(), "somebody else's") {
		t.Errorf("pass() = %v", err)
	}
}
