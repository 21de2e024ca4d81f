// Modules serves the Wasm module of test/wasm as /header.wasm, on port 8080, and on 8443 if it has a certificate. It is a
// registry, too, with the image "header", for who comes with the credentials of $PULL (user:password; anybody when empty).
// At / it says that it is there; nothing else is.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/isthmus/test/apps/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.Serve(ctx, os.Getenv, handler("/header.wasm", os.Getenv("PULL"))); err != nil {
		fmt.Fprintln(os.Stderr, "modules:", err)
		os.Exit(1)
	}
}

func handler(file, credentials string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/header.wasm", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/wasm")
		http.ServeFile(w, r, file)
	})
	mux.Handle("/v2/", registry(file, credentials))
	return mux
}
