package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"isthmus.dev/isthmus/test/scenarios/call"
)

func TestModules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(file, []byte("\x00asm"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler(file))
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
