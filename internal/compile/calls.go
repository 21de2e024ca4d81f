package compile

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// callsWanted are calls that settings want, one for each host.
type callsWanted struct {
	Calls []wanted
}

// wanted is a call, and which field of which setting wants it so.
type wanted struct {
	intent.Call
	By    resource.FQN
	Field string
}

// everyHost is how settings write all hosts.
const everyHost = "*"

// upstreamSettings are the settings for hosts, and the field in which they stand: there are two that mean the same.
func upstreamSettings(s *trafficv2.TrafficSetting) (all []*trafficv2.UpstreamTrafficSetting, field string) {
	if all = s.GetOutbound().GetUpstreamTrafficSettings(); len(all) > 0 {
		return all, "outbound.upstreamTrafficSettings"
	}
	return s.GetUpstreamTrafficSettings(), "upstreamTrafficSettings"
}

// calls are how a setting wants hosts to be called: first what it says of all of them, if anything.
func (l *trafficLevel) calls() *callsWanted {
	old := l.Setting.GetResilience() //nolint:staticcheck // deprecated for users, still obeyed
	all, field := upstreamSettings(l.Setting)
	if old == nil && len(all) == 0 {
		return nil
	}
	out := &callsWanted{}
	every := oldCall(old)
	everyField := "resilience"
	for i, u := range all {
		for _, host := range u.GetHosts() {
			switch {
			case host == everyHost:
				addTo(&every, u.GetSettings())
				everyField = field + "[" + itoa(i) + "].settings"
			case !strings.HasPrefix(host, everyHost):
				c := intent.Call{Host: host, Name: dashed(host)[:min(len(host), 150)] + "-" + shortHash(host)}
				addTo(&c, u.GetSettings())
				out.Calls = append(out.Calls, wanted{c, l.FQN, l.Field + field + "[" + itoa(i) + "].settings"})
			}
		}
	}
	// Which endpoint, and which TLS, cannot be said of all hosts in one place.
	every.Balance, every.MutualTLS, every.Pool.PerConnection = nil, false, 0
	if every != (intent.Call{}) {
		out.Calls = append([]wanted{{every, l.FQN, l.Field + everyField}}, out.Calls...)
	}
	return out
}

// beside are the calls of one service, where its group has others. A rule is not added to that of the group, and so says what
// that says too.
func (c *callsWanted) beside(group *callsWanted) *callsWanted {
	if c == nil {
		return nil
	}
	out := &callsWanted{}
	for _, w := range c.Calls {
		w.Alone = true
		if group != nil {
			for _, g := range group.Calls {
				if g.Host == w.Host && g.NeedsRule() {
					w.Alone = false
					w.Balance = cmp.Or(w.Balance, g.Balance)
					w.MutualTLS = w.MutualTLS || g.MutualTLS
					w.Pool.PerConnection = cmp.Or(w.Pool.PerConnection, g.Pool.PerConnection)
				}
			}
		}
		out.Calls = append(out.Calls, w)
	}
	return out
}

// oldCall is what the older form says of all hosts.
func oldCall(r *trafficv2.Resilience) intent.Call {
	c := intent.Call{
		Retries:  retries(r.GetHttpRetries()),
		Ejection: ejection(r.GetCircuitBreakerSensitivity(), nil),
	}
	if r.GetHttpRequestTimeout() != nil {
		c.Timeout = new(r.GetHttpRequestTimeout().AsDuration())
	}
	c.KeepAlive = keepAlive(r.GetKeepAlive().GetTcp().GetUpstream())
	if c.KeepAlive == nil {
		c.KeepAlive = keepAlive(r.GetTcpKeepalive()) //nolint:staticcheck // deprecated for users, still obeyed
	}
	return c
}

// addTo makes a call what settings say; what they do not say stays.
func addTo(c *intent.Call, s *trafficv2.UpstreamTrafficSetting_Settings) {
	r := s.GetResilience()
	if e := ejection(r.GetCircuitBreakerSensitivity(), r.GetOutlierDetection()); e != nil {
		c.Ejection = e
	}
	tcp, http := r.GetConnectionPool().GetTcp(), r.GetConnectionPool().GetHttp()
	if http.GetRequestTimeout() != nil {
		c.Timeout = new(http.GetRequestTimeout().AsDuration())
	}
	if t := retries(http.GetRetries()); t != nil {
		c.Retries = t
	}
	if k := keepAlive(tcp.GetKeepAlive()); k != nil {
		c.KeepAlive = k
	}
	c.Pool = intent.Pool{
		MaxConnections: tcp.GetMaxConnections(), MaxRequests: http.GetMaxRequests(), PerConnection: http.GetMaxRequestsPerConnection(),
		Connect: tcp.GetConnectTimeout().AsDuration(),
	}
	c.Balance = balance(s.GetLoadBalancer())
	c.MutualTLS = s.GetAuthentication().GetTrafficMode() == trafficv2.ClientAuthentication_REQUIRED
}

func retries(r *trafficv2.HttpRetries) *intent.Retries {
	if r == nil {
		return nil
	}
	out := &intent.Retries{Attempts: uint32(r.GetAttempts()), PerTry: r.GetPerTryTimeout().AsDuration()}
	for word := range strings.SplitSeq(r.GetRetryOn(), ",") {
		word = strings.TrimSpace(word)
		if code, err := strconv.ParseUint(word, 10, 16); err == nil {
			out.Codes = append(out.Codes, uint32(code))
		} else if word != "" {
			out.On = append(out.On, word)
		}
	}
	if b := r.GetRetryBackOff(); b != nil {
		out.Base, out.Max = 25*time.Millisecond, b.GetMaxInterval().AsDuration()
		if b.GetBaseInterval() != nil {
			out.Base = b.GetBaseInterval().AsDuration()
		}
	}
	return out
}

// consecutive errors of each sensitivity.
var consecutive = map[trafficv2.Sensitivity]uint32{trafficv2.Sensitivity_LOW: 20, trafficv2.Sensitivity_MEDIUM: 10, trafficv2.Sensitivity_HIGH: 5}

// ejection of a sensitivity counts what gateways answer with. The count of all errors is off: five of one path, such as those of a
// request that nobody can serve, would take an endpoint from all others.
func ejection(s trafficv2.Sensitivity, o *trafficv2.OutlierDetection) *intent.Ejection {
	if n := consecutive[s]; n != 0 {
		return &intent.Ejection{Any: intent.Errors{Percent: new(uint32(0))}, Gateway: intent.Errors{Count: n, Percent: new(uint32(100))}, MaxPercent: 100}
	}
	if s != trafficv2.Sensitivity_CUSTOM || o == nil { // the older form has no outlierDetection
		return nil
	}
	const envoys = 5 // Envoy's own count
	errors := func(count, percent *uint32, otherwise uint32) intent.Errors {
		out := intent.Errors{Count: envoys, Percent: new(otherwise)}
		if count != nil {
			out.Count = *count
		}
		if percent != nil {
			out.Percent = percent
		}
		if out.Count == 0 { // an endpoint would be ejected for nothing
			out = intent.Errors{Percent: new(uint32(0))}
		}
		return out
	}
	out := &intent.Ejection{
		Any:      errors(o.Consecutive5Xx, o.EnforcingConsecutive5Xx, 0),
		Gateway:  errors(o.ConsecutiveGatewayFailure, o.EnforcingConsecutiveGatewayFailure, 100),
		Interval: durationOr(o.GetInterval(), 10*time.Second), Base: durationOr(o.GetBaseEjectionTime(), 30*time.Second), Max: durationOr(o.GetMaxEjectionTime(), 300*time.Second),
		MaxPercent: 100, Split: o.GetSplitExternalLocalOriginErrors(),
	}
	if out.Split {
		out.Local = errors(o.ConsecutiveLocalOriginFailure, o.EnforcingConsecutiveLocalOriginFailure, 100)
	}
	if o.MaxEjectionPercent != nil {
		out.MaxPercent = o.GetMaxEjectionPercent()
	}
	return out
}

func durationOr(d *durationpb.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return d.AsDuration()
}

func keepAlive(k *trafficv2.TcpKeepAlive) *intent.KeepAlive {
	if k == nil {
		return nil
	}
	return &intent.KeepAlive{Probes: k.GetProbes(), Idle: k.GetIdleTime().AsDuration(), Interval: k.GetInterval().AsDuration()}
}

func balance(l *trafficv2.LoadBalancer) *intent.Balance {
	h := l.GetConsistentHash()
	if h == nil {
		if l.GetSimple() == trafficv2.LoadBalancer_UNSPECIFIED {
			return nil
		}
		return &intent.Balance{Simple: l.GetSimple().String()}
	}
	out := &intent.Hash{
		Header: h.GetHttpHeaderName(), Query: h.GetHttpQueryParameterName(), SourceIP: h.GetUseSourceIp(),
		Ring: h.GetRingHash().GetMinimumRingSize(), Table: h.GetMaglev().GetTableSize(),
	}
	if c := h.GetHttpCookie(); c != nil {
		out.Cookie = &intent.Cookie{Name: c.GetName(), Path: c.GetPath(), Lifetime: c.GetTtl().AsDuration()}
	}
	return &intent.Balance{Hash: out}
}

// sayCalls names what a setting says of hosts that has no effect.
func sayCalls(r *Reads, l *trafficLevel, patterns []pattern, out *output) {
	all, field := upstreamSettings(l.Setting)
	for i, u := range all {
		at := l.Field + field + "[" + itoa(i) + "]"
		for j, host := range u.GetHosts() {
			where := at + ".hosts[" + itoa(j) + "]"
			switch {
			case host == everyHost:
				sayEvery(l.FQN, u.GetSettings(), at+".settings", out)
			case strings.HasPrefix(host, everyHost):
				out.say(l.FQN, no(reasonNotTranslated, where, "Settings of the hosts of a domain are not translated: name the hosts, or all of them with %q.", everyHost))
			default:
				sayUnknownHost(r, l.FQN, where, host, patterns, out)
			}
		}
		sayUncounted(l.FQN, u.GetSettings().GetResilience(), at+".settings.resilience.outlierDetection", out)
	}
}

// sayEvery names what cannot be said of all hosts.
func sayEvery(fqn resource.FQN, s *trafficv2.UpstreamTrafficSetting_Settings, at string, out *output) {
	say := func(field string) {
		out.say(fqn, no(reasonNotTranslated, at+field, "The field %s%s is not translated for the host %q: name the hosts.", at, field, everyHost))
	}
	if balance(s.GetLoadBalancer()) != nil {
		say(".loadBalancer")
	}
	if s.GetAuthentication().GetTrafficMode() == trafficv2.ClientAuthentication_REQUIRED {
		say(".authentication.trafficMode")
	}
	if s.GetResilience().GetConnectionPool().GetHttp().GetMaxRequestsPerConnection() > 0 {
		say(".resilience.connectionPool.http.maxRequestsPerConnection")
	}
}

// sayUncounted names counts of errors for which nobody is ejected.
func sayUncounted(fqn resource.FQN, r *trafficv2.UpstreamResilience, at string, out *output) {
	d := r.GetOutlierDetection()
	if d != nil && r.GetCircuitBreakerSensitivity() == trafficv2.Sensitivity_UNSET {
		out.say(fqn, no(reasonNoEffect, at, "It is for circuitBreakerSensitivity CUSTOM, and none is set."))
		return
	}
	if d.GetConsecutive5Xx() > 0 && d.GetEnforcingConsecutive5Xx() == 0 {
		out.say(fqn, no(reasonNoEffect, at+".consecutive5Xx", "Nobody is ejected for it: enforcingConsecutive5Xx is 0."))
	}
	if d.GetConsecutiveLocalOriginFailure() > 0 && !d.GetSplitExternalLocalOriginErrors() {
		out.say(fqn, no(reasonNoEffect, at+".consecutiveLocalOriginFailure", "It is counted when splitExternalLocalOriginErrors is true; else failures of connections count as gateway failures."))
	}
}

// sayUnknownHost says of a Service that no cluster of the setting has it, once all of those have reported.
func sayUnknownHost(r *Reads, fqn resource.FQN, field, host string, patterns []pattern, out *output) {
	labels := strings.Split(host, ".")
	if len(labels) < 3 || labels[2] != "svc" {
		return
	}
	any := false
	for _, name := range clustersIn(r, fqn, patterns) {
		c, _ := r.get(clustersPrefix + name).(cluster)
		f, _ := r.get(string(store.FactKey(name, "service/"+labels[1]+"/"+labels[0]))).(*isthmusv1.Fact)
		if !c.Known || f.GetService() != nil {
			return
		}
		any = true
	}
	if any {
		out.say(fqn, no(reasonUnknownService, field, "Service %q does not exist in namespace %q.", labels[0], labels[1]))
	}
}

// asGlobal is the call of a host in a cluster, which may be a global one, or a service with versions.
func (o *outgoing) asGlobal(r *Reads, c cluster, w wanted, out *output) intent.Call {
	call := w.Call
	if !call.NeedsRule() {
		return call
	}
	if ref, ok := resource.ParseService(call.Host, ""); ok {
		if v, there := r.get(subsetsKey(c.Name, ref.Namespace, ref.Name)).(intent.Versions); there {
			call.Versions = &v
		}
	}
	h, _ := r.get(intentHosts + call.Host).(*intent.Host)
	if h == nil || len(h.Ports) == 0 {
		return call
	}
	seen, _ := r.get(intentClusters + c.Name).(*intent.Cluster)
	if seen == nil {
		return call
	}
	_, form := h.FormFor(seen)
	call.Global = &intent.GlobalCall{Ports: h.Ports, Failover: h.Failover, Spread: intent.SpreadOf(form.Endpoints)}
	if call.Balance != nil && call.Balance.Simple == trafficv2.LoadBalancer_PASSTHROUGH.String() {
		out.say(w.By, in(c.Name, no(reasonNoEffect, w.Field+".loadBalancer.simple", "Host %q is exposed by gateways: with PASSTHROUGH its calls would not find them.", call.Host)))
		call.Balance = nil
	}
	return call
}

// received is what a setting says of the connections that proxies get, nil when that is nothing.
func received(s *trafficv2.TrafficSetting) *intent.Received {
	r := s.GetInbound().GetResilience()
	out := intent.Received{KeepAlive: keepAlive(r.GetConnectionPool().GetTcp().GetKeepAlive())}
	if out.KeepAlive == nil {
		out.KeepAlive = keepAlive(s.GetResilience().GetKeepAlive().GetTcp().GetDownstream()) //nolint:staticcheck // deprecated for users, still obeyed
	}
	m := r.GetMeshTimeout()
	for to, from := range map[**time.Duration]*durationpb.Duration{
		&out.Connection: m.GetMaxConnectionDuration(), &out.Stream: m.GetMaxStreamDuration(), &out.TCP: m.GetMaxDownstreamConnectionDuration(),
	} {
		if from != nil {
			*to = new(from.AsDuration())
		}
	}
	if out == (intent.Received{}) {
		return nil
	}
	out.Sidecars, out.Gateways = m.GetProxyType() != trafficv2.MeshTimeout_GATEWAY, m.GetProxyType() != trafficv2.MeshTimeout_SIDECAR
	return &out
}
