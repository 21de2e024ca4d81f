// Authz is an external authorizer that Envoy asks over gRPC (envoy.service.auth.v3) or over HTTP, on port 8080, and with
// TLS on 8443 if it has a certificate.
//
// The header x-authz of the request in question says what happens: "allow"; "deny", which is also what happens without
// it; "slow" allows after three seconds; "break" ends without an answer. An allowed request goes on with x-authz-by (who
// allowed it), x-authz-saw (the names of all headers that were shown) and x-authz-context (what came beside them); a
// refused one is answered with status 403 and the same headers.
package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"isthmus.dev/isthmus/test/apps/app"
)

const procedure = "/envoy.service.auth.v3.Authorization/Check"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.Serve(ctx, os.Getenv, handler(app.IdentityFrom(os.Getenv))); err != nil {
		fmt.Fprintln(os.Stderr, "authz:", err)
		os.Exit(1)
	}
}

// slowness is how long "slow" takes.
const slowness = 3 * time.Second

func handler(id app.Identity) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(procedure, connect.NewUnaryHandler(procedure, func(ctx context.Context, req *connect.Request[checkRequest]) (*connect.Response[checkResponse], error) {
		res, err := judge(ctx, id, *req.Msg)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, err)
		}
		return connect.NewResponse(&res), nil
	}, connect.WithCodec(codec{})))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		q := checkRequest{Method: r.Method, Path: r.URL.RequestURI(), Host: r.Host, Headers: map[string]string{}, Body: string(body)}
		for name, v := range r.Header {
			q.Headers[strings.ToLower(name)] = strings.Join(v, ",")
		}
		res, err := judge(r.Context(), id, q)
		if err != nil {
			panic(http.ErrAbortHandler) // ends the connection
		}
		for name, v := range res.Headers {
			w.Header().Set(name, v)
		}
		if !res.Allowed {
			w.WriteHeader(res.Status)
			_, _ = io.WriteString(w, res.Body) // an error means that the caller is gone
		}
	})
	return mux
}

// judge decides.
func judge(ctx context.Context, id app.Identity, q checkRequest) (checkResponse, error) {
	saw := strings.Join(slices.Sorted(maps.Keys(q.Headers)), ",")
	var extensions []string
	for _, k := range slices.Sorted(maps.Keys(q.Extensions)) {
		extensions = append(extensions, k+"="+q.Extensions[k])
	}
	res := checkResponse{Headers: map[string]string{
		"x-authz-by": id.App, "x-authz-saw": saw, "x-authz-context": strings.Join(extensions, ","), "x-authz-path": q.Path, "x-authz-body": q.Body,
	}}
	maps.DeleteFunc(res.Headers, func(_, v string) bool { return v == "" })
	switch q.Headers["x-authz"] {
	case "break":
		return res, fmt.Errorf("%s was told to break", id.App)
	case "slow":
		select {
		case <-ctx.Done():
		case <-time.After(slowness):
		}
		res.Allowed = true
	case "allow":
		res.Allowed = true
	default:
		res.Status, res.Body = http.StatusForbidden, "refused by "+id.App
	}
	return res, nil
}
