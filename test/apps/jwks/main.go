// Jwks serves keys that tokens are verified with: the text of $JWKS, at every path, on port 8080, and on 8443 if it has a
// certificate.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/isthmus/test/apps/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "jwks:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, env func(string) string) error {
	keys := env("JWKS")
	if keys == "" {
		return errors.New("the variable JWKS is empty")
	}
	return app.Serve(ctx, env, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, keys) // an error means that the caller is gone
	}))
}
