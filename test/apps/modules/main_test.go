package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"isthmus.dev/isthmus/test/scenarios/call"
)

func TestModules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(file, []byte("\x00asm"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler(file, ""))
	defer s.Close()
	for path, want := range map[string]int{"/": http.StatusOK, "/header.wasm": http.StatusOK, "/absent.wasm": http.StatusNotFound} {
		a := call.Do(t.Context(), call.Request{Method: "GET", URL: s.URL + path}).Answers[0]
		if a.Status != want {
			t.Errorf("%s: %+v, want status %d", path, a, want)
		}
		if path == "/header.wasm" && a.Body != "\x00asm" {
			t.Errorf("%s: %q", path, a.Body)
		}
	}
}

func TestRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(file, []byte("\x00asm"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler(file, "user:pass"))
	defer s.Close()
	get := func(path, credentials string) call.Answer {
		return call.Do(t.Context(), call.Request{Method: "GET", URL: s.URL + path, Headers: map[string]string{
			"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials)),
		}}).Answers[0]
	}
	for _, path := range []string{"/v2/", "/v2/header/manifests/1"} {
		if a := get(path, "user:other"); a.Status != http.StatusUnauthorized || a.Headers.Get("WWW-Authenticate") == "" {
			t.Errorf("%s, with a wrong password: %+v", path, a)
		}
	}
	if a := get("/v2/", "user:pass"); a.Status != http.StatusOK {
		t.Errorf("the registry: %+v", a)
	}
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.Unmarshal([]byte(get("/v2/header/manifests/1", "user:pass").Body), &manifest); err != nil || len(manifest.Layers) != 1 {
		t.Fatalf("the manifest has layers %v: %v", manifest.Layers, err)
	}
	layer := get("/v2/header/blobs/"+manifest.Layers[0].Digest, "user:pass")
	z, err := gzip.NewReader(strings.NewReader(layer.Body))
	if err != nil {
		t.Fatalf("the layer: %+v: %v", layer, err)
	}
	r := tar.NewReader(z)
	if h, err := r.Next(); err != nil || h.Name != "plugin.wasm" {
		t.Fatalf("the layer has %v: %v", h, err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "\x00asm" {
		t.Errorf("the module is %q: %v", b, err)
	}
	for _, path := range []string{"/v2/absent/manifests/1", "/v2/header/blobs/sha256:0"} {
		if a := get(path, "user:pass"); a.Status != http.StatusNotFound {
			t.Errorf("%s: %+v", path, a)
		}
	}
}
