package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/durationpb"

	ratelimitv3 "isthmus.dev/isthmus/api/envoy/service/ratelimit/v3"
)

// maxDescriptors is far more than a request has rules.
const maxDescriptors = 1000

// Service answers Envoy's rate limit filter out of a Table.
type Service struct {
	table   *Table
	metrics *metrics
	log     *slog.Logger
	warned  rate.Sometimes // one wrong rule is wrong in each of its requests
}

func newService(t *Table, log *slog.Logger) *Service {
	return &Service{table: t, metrics: newMetrics(t), log: log, warned: rate.Sometimes{Interval: time.Minute}}
}

// ShouldRateLimit implements Envoy's interface.
//
// A request that is not understood is an error, and Envoy then does what the rule says about a limiter that fails: lets it
// pass, or refuses it. Where only some descriptors are not understood, the others are counted, and refuse, as if they were alone.
// Headers for the client are made by Envoy, if it is told to, from the statuses.
func (s *Service) ShouldRateLimit(ctx context.Context, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	out, err := decide(s.table, time.Now(), r)
	switch {
	case err != nil:
		s.metrics.decisions.WithLabelValues("error").Inc()
		s.warned.Do(func() { s.log.WarnContext(ctx, "request not understood", "error", err) })
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	case out.GetOverallCode() == ratelimitv3.RateLimitResponse_OVER_LIMIT:
		s.metrics.decisions.WithLabelValues("over_limit").Inc()
	default:
		s.metrics.decisions.WithLabelValues("ok").Inc()
	}
	return out, nil
}

// decide about a request at a time.
func decide(t *Table, now time.Time, r *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	if n := len(r.GetDescriptors()); n > maxDescriptors {
		return nil, fmt.Errorf("%d descriptors: at most %d are taken", n, maxDescriptors)
	}
	out := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	var asks []ask
	var asking []*ratelimitv3.RateLimitResponse_DescriptorStatus // the status of each ask
	var unclear error
	for i, d := range r.GetDescriptors() {
		status := &ratelimitv3.RateLimitResponse_DescriptorStatus{Code: ratelimitv3.RateLimitResponse_OK}
		out.Statuses = append(out.Statuses, status)
		a, err := read(r.GetDomain(), d, r.GetHitsAddend())
		switch {
		case errors.Is(err, errElsewhere):
		case err != nil:
			unclear = errors.Join(unclear, fmt.Errorf("descriptor %d: %w", i, err))
		default:
			asks, asking = append(asks, a), append(asking, status)
			status.CurrentLimit = &ratelimitv3.RateLimitResponse_RateLimit{RequestsPerUnit: a.limit.Requests, Unit: a.limit.Unit}
		}
	}
	answers, over := t.take(now, asks)
	for i, a := range answers {
		asking[i].LimitRemaining, asking[i].DurationUntilReset = a.remaining, durationpb.New(a.reset)
		if a.over {
			asking[i].Code = ratelimitv3.RateLimitResponse_OVER_LIMIT
		}
	}
	if over {
		out.OverallCode = ratelimitv3.RateLimitResponse_OVER_LIMIT
		return out, nil
	}
	return out, unclear
}
