package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
)

// Media types of https://github.com/opencontainers/image-spec.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

var config = []byte("{}")

// layer is a module as it travels in images: the file plugin.wasm of a compressed archive.
func layer(file string) ([]byte, error) {
	module, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	t := tar.NewWriter(z)
	err = t.WriteHeader(&tar.Header{Name: "plugin.wasm", Mode: 0o644, Size: int64(len(module))})
	if err == nil {
		_, err = t.Write(module)
	}
	err = errors.Join(err, t.Close(), z.Close())
	return b.Bytes(), err
}

// registry answers as one for images of OCI does: header with any tag is an image with the module in it. Only who
// comes with the credentials is answered, which are user:password, and anybody where they are empty.
func registry(file, credentials string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "{}") })
	mux.HandleFunc("GET /v2/header/manifests/{tag}", func(w http.ResponseWriter, _ *http.Request) {
		module, err := layer(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		describe := func(kind string, b []byte) map[string]any {
			return map[string]any{"mediaType": kind, "size": len(b), "digest": digest(b)}
		}
		manifest, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": manifestType,
			"config": describe(configType, config), "layers": []any{describe(layerType, module)},
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, manifestType, manifest)
	})
	mux.HandleFunc("GET /v2/header/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		module, err := layer(file)
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case r.PathValue("digest") == digest(config):
			send(w, configType, config)
		case r.PathValue("digest") == digest(module):
			send(w, layerType, module)
		default:
			http.NotFound(w, r)
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if credentials != "" && user+":"+password != credentials {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", "http://"+r.Host+"/")) // clients want a URL
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func send(w http.ResponseWriter, kind string, b []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", digest(b))
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b)
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
