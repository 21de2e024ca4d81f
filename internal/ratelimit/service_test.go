package ratelimit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/testing/protocmp"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
)

// What is answered after the same request was answered some times before.
func TestDecide(t *testing.T) {
	request := func(ds ...*ratelimitv3.RateLimitDescriptor) *ratelimitv3.RateLimitRequest {
		return &ratelimitv3.RateLimitRequest{Domain: []byte(Domain), Descriptors: ds}
	}
	once, twice := descriptor("rule", "once", "limit", "1/MINUTE"), descriptor("rule", "twice", "limit", "2/HOUR")
	elsewhere := descriptor("rule", "x", "limit", "1/DAY", "remote_address_in", "10.0.0.1", "remote_address", "10.0.0.2")
	unclear := descriptor("rule", "x", "limit", "few")

	cases := map[string]struct {
		before int
		r      *ratelimitv3.RateLimitRequest
		want   string
		err    string
	}{
		"LetThrough": {0, request(twice), `
			overall_code: OK
			statuses: {code: OK current_limit: {requests_per_unit: 2 unit: HOUR} limit_remaining: 1 duration_until_reset: {seconds: 3585}}`, ""},
		"TheLast": {1, request(twice), `
			overall_code: OK
			statuses: {code: OK current_limit: {requests_per_unit: 2 unit: HOUR} duration_until_reset: {seconds: 3585}}`, ""},
		"Refused": {2, request(twice), `
			overall_code: OVER_LIMIT
			statuses: {code: OVER_LIMIT current_limit: {requests_per_unit: 2 unit: HOUR} duration_until_reset: {seconds: 3585}}`, ""},
		"RefusedByOneOfTwo": {1, request(twice, once), `
			overall_code: OVER_LIMIT
			statuses: {code: OK current_limit: {requests_per_unit: 2 unit: HOUR} limit_remaining: 1 duration_until_reset: {seconds: 3585}}
			statuses: {code: OVER_LIMIT current_limit: {requests_per_unit: 1 unit: MINUTE} duration_until_reset: {seconds: 45}}`, ""},
		"Nothing":   {0, request(), `overall_code: OK`, ""},
		"Elsewhere": {5, request(elsewhere), `overall_code: OK statuses: {code: OK}`, ""},
		"ElsewhereAndHere": {1, request(elsewhere, once), `
			overall_code: OVER_LIMIT
			statuses: {code: OK}
			statuses: {code: OVER_LIMIT current_limit: {requests_per_unit: 1 unit: MINUTE} duration_until_reset: {seconds: 45}}`, ""},
		"Unclear": {0, request(unclear), "", `descriptor 0: "few" is no limit`},
		"UnclearAndOver": {1, request(unclear, once), `
			overall_code: OVER_LIMIT
			statuses: {code: OK}
			statuses: {code: OVER_LIMIT current_limit: {requests_per_unit: 1 unit: MINUTE} duration_until_reset: {seconds: 45}}`, ""},
		"UnclearAndNotOver": {1, request(twice, unclear), "", `descriptor 1: "few" is no limit`},
		"OtherDomain":       {0, &ratelimitv3.RateLimitRequest{Domain: []byte("x"), Descriptors: []*ratelimitv3.RateLimitDescriptor{once}}, "", `domain "isthmus"`},
		"TooMany":           {0, request(make([]*ratelimitv3.RateLimitDescriptor, 1001)...), "", "1001 descriptors"},
		"EmptyDescriptor":   {0, request(nil), "", "descriptor 0"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			table := NewTable(100)
			for range tc.before {
				_, _ = decide(table, at("10:00:15"), tc.r) // what is answered before is other cases
			}
			got, err := decide(table, at("10:00:15"), tc.r)
			if (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("decide() = %v, want an error with %q", err, tc.err)
			}
			if err != nil {
				return
			}
			want := &ratelimitv3.RateLimitResponse{}
			if err := prototext.Unmarshal([]byte(tc.want), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("decide() (-want +got):\n%s", diff)
			}
		})
	}
}
