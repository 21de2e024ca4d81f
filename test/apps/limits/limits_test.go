package main

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
	"isthmus.dev/isthmus/api/envoy/service/ratelimit/v3/ratelimitv3connect"
)

func TestLimits(t *testing.T) {
	s := httptest.NewUnstartedServer(handler())
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	client := ratelimitv3connect.NewRateLimitServiceClient(s.Client(), s.URL, connect.WithGRPC())
	descriptor := func(entries ...string) *ratelimitv3.RateLimitDescriptor {
		d := &ratelimitv3.RateLimitDescriptor{}
		for i := 0; i < len(entries); i += 2 {
			d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: []byte(entries[i]), Value: []byte(entries[i+1])})
		}
		return d
	}
	for value, want := range map[string]ratelimitv3.RateLimitResponse_Code{"alice": ratelimitv3.RateLimitResponse_OK, "over": ratelimitv3.RateLimitResponse_OVER_LIMIT} {
		res, err := client.ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{
			Domain: []byte("shop"), Descriptors: []*ratelimitv3.RateLimitDescriptor{descriptor("plan", "free"), descriptor("a", "b", "user", value)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if res.GetOverallCode() != want || len(res.GetStatuses()) != 2 || res.GetStatuses()[1].GetCode() != want {
			t.Errorf("%s: %v, want %v for all and the second", value, res, want)
		}
		if got := "shop: plan=free | a=b,user=" + value; bytes.Count(res.ProtoReflect().GetUnknown(), []byte(got)) != 2 {
			t.Errorf("%s: headers %q, want %q in two", value, res.ProtoReflect().GetUnknown(), got)
		}
	}
	_, err := client.ShouldRateLimit(t.Context(), &ratelimitv3.RateLimitRequest{Descriptors: []*ratelimitv3.RateLimitDescriptor{descriptor("user", "break")}})
	if connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("break: %v, want an internal error", err)
	}
}
