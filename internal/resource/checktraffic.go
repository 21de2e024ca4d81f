package resource

import (
	"math"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
)

// retryWords are Envoy's words for what is tried again. It ignores others without a word.
var retryWords = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx", "refused-stream",
	"retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

// calls checks how hosts are called.
func (c *checker) calls(s *trafficv2.TrafficSetting, path string) {
	old, now := s.GetUpstreamTrafficSettings(), s.GetOutbound().GetUpstreamTrafficSettings()
	if len(old) > 0 && len(now) > 0 && !slices.EqualFunc(old, now, func(a, b *trafficv2.UpstreamTrafficSetting) bool { return proto.Equal(a, b) }) {
		c.at(path+".upstreamTrafficSettings", "differs from outbound.upstreamTrafficSettings: they mean the same")
	}
	c.upstreams(old, path+".upstreamTrafficSettings")
	c.upstreams(now, path+".outbound.upstreamTrafficSettings")
	c.resilience(s.GetResilience(), path+".resilience") //nolint:staticcheck // old input
	in, at := s.GetInbound().GetResilience(), path+".inbound.resilience"
	c.keepAlive(in.GetConnectionPool().GetTcp().GetKeepAlive(), at+".connectionPool.tcp.keepAlive")
	m := in.GetMeshTimeout()
	for name, d := range map[string]*durationpb.Duration{
		"maxConnectionDuration": m.GetMaxConnectionDuration(), "maxDownstreamConnectionDuration": m.GetMaxDownstreamConnectionDuration(), "maxStreamDuration": m.GetMaxStreamDuration(),
	} {
		c.some(d, at+".meshTimeout."+name)
	}
}

func (c *checker) upstreams(all []*trafficv2.UpstreamTrafficSetting, path string) {
	seen := map[string]string{}
	for i, u := range all {
		at := path + "[" + itoa(i) + "]"
		if len(u.GetHosts()) == 0 {
			c.at(at+".hosts", `is missing: name hosts, or all of them with "*"`)
		}
		for j, host := range u.GetHosts() {
			where := at + ".hosts[" + itoa(j) + "]"
			bare := strings.TrimPrefix(host, "*.")
			switch first, twice := seen[host]; {
			case host != "*" && (len(host) > 253 || !hostname.MatchString(bare) || !strings.Contains(bare, ".")):
				c.at(where, `%q is not the full name of a host, "*.<domain>" or "*"`, host)
			case twice:
				c.at(where, "%q has settings in %s already", host, first)
			default:
				seen[host] = strings.TrimPrefix(at, "spec.")
			}
		}
		if s := u.GetSettings(); s.GetAuthentication() == nil && s.GetLoadBalancer() == nil && s.GetResilience() == nil {
			c.at(at+".settings", "says nothing: set authentication, loadBalancer or resilience")
		}
		c.loadBalancer(u.GetSettings().GetLoadBalancer(), at+".settings.loadBalancer")
		c.upstreamResilience(u.GetSettings().GetResilience(), at+".settings.resilience")
	}
}

func (c *checker) loadBalancer(l *trafficv2.LoadBalancer, path string) {
	h := l.GetConsistentHash()
	if l == nil || h == nil {
		return
	}
	at := path + ".consistentHash"
	switch k := h.GetKey().(type) {
	case *trafficv2.LoadBalancer_ConsistentHash_HttpHeaderName:
		c.nonEmpty(k.HttpHeaderName, at+".httpHeaderName")
	case *trafficv2.LoadBalancer_ConsistentHash_HttpQueryParameterName:
		c.nonEmpty(k.HttpQueryParameterName, at+".httpQueryParameterName")
	case *trafficv2.LoadBalancer_ConsistentHash_UseSourceIp:
		if !k.UseSourceIp {
			c.at(at+".useSourceIp", "is false: what else do requests of one client have in common?")
		}
	case nil:
		c.at(at, "needs one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName")
	}
	const largestRing, largestTable = 8 << 20, 5000011 // Envoy's
	if n := h.GetRingHash().GetMinimumRingSize(); n > largestRing {
		c.at(at+".ringHash.minimumRingSize", "must be at most %d", largestRing)
	}
	if n := h.GetMaglev().GetTableSize(); n > largestTable || n != 0 && !new(big.Int).SetUint64(n).ProbablyPrime(0) {
		c.at(at+".maglev.tableSize", "must be a prime number, and at most %d", largestTable)
	}
}

func (c *checker) nonEmpty(s, path string) {
	if s == "" {
		c.at(path, "is empty")
	}
}

func (c *checker) upstreamResilience(r *trafficv2.UpstreamResilience, path string) {
	custom := r.GetCircuitBreakerSensitivity() == trafficv2.Sensitivity_CUSTOM
	switch {
	case custom && r.GetOutlierDetection() == nil:
		c.at(path+".outlierDetection", "is missing: circuitBreakerSensitivity CUSTOM is about it")
	case !custom && r.GetOutlierDetection() != nil && r.GetCircuitBreakerSensitivity() != trafficv2.Sensitivity_UNSET:
		c.at(path+".outlierDetection", "is for circuitBreakerSensitivity CUSTOM, not %s", r.GetCircuitBreakerSensitivity())
	}
	o := r.GetOutlierDetection()
	for name, d := range map[string]*durationpb.Duration{"interval": o.GetInterval(), "baseEjectionTime": o.GetBaseEjectionTime(), "maxEjectionTime": o.GetMaxEjectionTime()} {
		c.some(d, path+".outlierDetection."+name)
	}
	tcp, at := r.GetConnectionPool().GetTcp(), path+".connectionPool.tcp"
	c.some(tcp.GetConnectTimeout(), at+".connectTimeout")
	c.keepAlive(tcp.GetKeepAlive(), at+".keepAlive")
	pool, at := r.GetConnectionPool().GetHttp(), path+".connectionPool.http"
	if pool.GetMaxRequestsPerConnection() > math.MaxInt32 {
		c.at(at+".maxRequestsPerConnection", "must be at most %d", math.MaxInt32)
	}
	c.requestTimeout(pool.GetRequestTimeout(), at+".requestTimeout")
	c.retries(pool.GetRetries(), at+".retries")
}

func (c *checker) resilience(r *trafficv2.Resilience, path string) {
	c.requestTimeout(r.GetHttpRequestTimeout(), path+".httpRequestTimeout")
	c.retries(r.GetHttpRetries(), path+".httpRetries")
	old, now := r.GetTcpKeepalive(), r.GetKeepAlive().GetTcp().GetUpstream() //nolint:staticcheck // old input
	if old != nil && now != nil && !proto.Equal(old, now) {
		c.at(path+".tcpKeepalive", "differs from keepAlive.tcp.upstream: they mean the same")
	}
	c.keepAlive(old, path+".tcpKeepalive")
	c.keepAlive(now, path+".keepAlive.tcp.upstream")
	c.keepAlive(r.GetKeepAlive().GetTcp().GetDownstream(), path+".keepAlive.tcp.downstream")
}

// some checks a duration that has to be one.
func (c *checker) some(d *durationpb.Duration, path string) {
	if d != nil {
		c.wholly(d, path)
	}
}

// requestTimeout may be 0, which is none.
func (c *checker) requestTimeout(d *durationpb.Duration, path string) {
	if d.AsDuration() != 0 {
		c.some(d, path)
	}
}

// keepAlive checks what the operating system counts in seconds.
func (c *checker) keepAlive(k *trafficv2.TcpKeepAlive, path string) {
	for name, d := range map[string]*durationpb.Duration{"idleTime": k.GetIdleTime(), "interval": k.GetInterval()} {
		const most = 32767 * time.Second // Linux's
		if d.IsValid() && (d.AsDuration() < time.Second || d.AsDuration() > most || d.AsDuration()%time.Second != 0) {
			c.at(path+"."+name, "must be whole seconds, from 1s to 32767s")
		}
	}
	if k.GetProbes() > 127 {
		c.at(path+".probes", "must be at most 127")
	}
}

func (c *checker) retries(r *trafficv2.HttpRetries, path string) {
	if r != nil && r.GetAttempts() == 0 && (r.GetPerTryTimeout() != nil || r.GetRetryOn() != "" || r.GetRetryBackOff() != nil) {
		c.at(path+".attempts", "is 0, which is no retries, and the rest is about them")
	}
	c.some(r.GetPerTryTimeout(), path+".perTryTimeout")
	base := 25 * time.Millisecond
	if d := r.GetRetryBackOff().GetBaseInterval(); d != nil {
		c.some(d, path+".retryBackOff.baseInterval")
		base = d.AsDuration()
	}
	if d := r.GetRetryBackOff().GetMaxInterval(); d != nil && d.AsDuration() < base {
		c.at(path+".retryBackOff.maxInterval", "is shorter than baseInterval, %s", base)
	}
	if r.GetRetryOn() == "" {
		return
	}
	for word := range strings.SplitSeq(r.GetRetryOn(), ",") {
		word = strings.TrimSpace(word)
		code, err := strconv.Atoi(word)
		if err == nil && http.StatusText(code) == "" || err != nil && !slices.Contains(retryWords, word) {
			c.at(path+".retryOn", "%q is neither a status nor one of %s", word, strings.Join(retryWords, ", "))
		}
	}
}
