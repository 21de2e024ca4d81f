// Limits is a rate limit service that Envoy asks over gRPC (envoy.service.ratelimit.v3), on port 8080, and with TLS on 8443 if
// it has a certificate.
//
// It does not count: a value in what it is asked about says what happens. "over" is over the limit; "slow" is answered after
// three seconds; "break" is not answered. Everything else may pass, and goes on with x-limits-got, which is also in
// the answer, of a refused request too: the domain, and the descriptors, as "shop: user=alice,remote_address=192.0.2.1 | plan=free".
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
	"isthmus.dev/isthmus/api/envoy/service/ratelimit/v3/ratelimitv3connect"
	"isthmus.dev/isthmus/test/apps/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := app.Serve(ctx, os.Getenv, handler()); err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1)
	}
}

// slowness is how long "slow" takes.
const slowness = 3 * time.Second

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(ratelimitv3connect.NewRateLimitServiceHandler(service{}))
	mux.HandleFunc("/", func(http.ResponseWriter, *http.Request) {}) // it is ready
	return mux
}

type service struct{}

// ShouldRateLimit implements Envoy's interface.
func (service) ShouldRateLimit(ctx context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	out := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	var all []string
	for _, d := range r.GetDescriptors() {
		status := &ratelimitv3.RateLimitResponse_DescriptorStatus{Code: ratelimitv3.RateLimitResponse_OK}
		var entries []string
		for _, e := range d.GetEntries() {
			entries = append(entries, string(e.GetKey())+"="+string(e.GetValue()))
			switch string(e.GetValue()) {
			case "over":
				status.Code, out.OverallCode = ratelimitv3.RateLimitResponse_OVER_LIMIT, ratelimitv3.RateLimitResponse_OVER_LIMIT
			case "slow":
				select {
				case <-ctx.Done():
				case <-time.After(slowness):
				}
			case "break":
				return nil, connect.NewError(connect.CodeInternal, errors.New("told to break"))
			}
		}
		out.Statuses = append(out.Statuses, status)
		all = append(all, strings.Join(entries, ","))
	}
	got := string(r.GetDomain()) + ": " + strings.Join(all, " | ")
	// Fields that the product does not know, as it does not use them.
	const responseHeadersToAdd, requestHeadersToAdd = 3, 4
	var raw []byte
	for _, field := range []protowire.Number{responseHeadersToAdd, requestHeadersToAdd} {
		raw = protowire.AppendBytes(protowire.AppendTag(raw, field, protowire.BytesType), header("x-limits-got", got))
	}
	out.ProtoReflect().SetUnknown(raw)
	return out, nil
}

// header is Envoy's HeaderValue.
func header(name, value string) []byte {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), value)
}
