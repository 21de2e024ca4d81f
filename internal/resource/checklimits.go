package resource

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

const (
	// shortestFill and shortestQuestion are the least that Envoy takes; it would read less of a question as "for ever".
	shortestFill     = 50 * time.Millisecond
	shortestQuestion = time.Millisecond
	// maxLimitRules is what a question may ask about at once.
	maxLimitRules = 1000
)

// rateLimiting checks what Envoy would refuse, and with it every other host of the port.
func (c *checker) rateLimiting(l *typesv2.RateLimiting, path string) {
	if s := l.GetSettings(); s != nil {
		at := path + ".settings"
		c.question(s.GetTimeout(), at)
		c.limitRules(len(s.GetRules()), at)
		for i, r := range s.GetRules() {
			c.limitDimensions(r.GetDimensions(), at+".rules["+itoa(i)+"]")
		}
	}
	if e := l.GetExternalService(); e != nil {
		at := path + ".externalService"
		c.question(e.GetTimeout(), at)
		c.limitServer(e.GetRateLimitServerUri(), at+".rateLimitServerUri")
		c.limitRules(len(e.GetRules()), at)
		for i, r := range e.GetRules() {
			for j, d := range r.GetDimensions() {
				c.externalDimension(d, at+".rules["+itoa(i)+"].dimensions["+itoa(j)+"]")
			}
		}
	}
	if l.GetLocal() != nil {
		c.localLimits(l.GetLocal(), path+".local")
	}
}

func (c *checker) question(timeout *durationpb.Duration, path string) {
	if timeout.IsValid() && timeout.AsDuration() < shortestQuestion {
		c.at(path+".timeout", "must be at least %v", shortestQuestion)
	}
}

func (c *checker) limitRules(n int, path string) {
	if n > maxLimitRules {
		c.at(path+".rules", "has %d rules: at most %d hold at once", n, maxLimitRules)
	}
}

// limitServer checks the address of a rate limit service. Without a scheme it is one that speaks plain gRPC.
func (c *checker) limitServer(uri, path string) {
	if uri == "" {
		return // an annotation says so
	}
	text := uri
	if !strings.Contains(text, "://") {
		text = "grpc://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "grpc" && u.Scheme != "grpcs" || u.Port() == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		c.at(path, "%q must be grpc://<host>:<port> or grpcs://<host>:<port>", uri)
		return
	}
	_, notIP := netip.ParseAddr(u.Hostname())
	if h := strings.ToLower(u.Hostname()); notIP != nil && (len(h) > 253 || !hostname.MatchString(h)) {
		c.at(path, "%q is neither a DNS name nor an address", u.Hostname())
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		c.at(path, "%q is no port: it must be from 1 to 65535", u.Port())
	}
}

func (c *checker) limitDimensions(all []*typesv2.RateLimiting_Dimension, path string) {
	for i, d := range all {
		at := path + ".dimensions[" + itoa(i) + "]"
		if a := d.GetRemoteAddress(); a != nil {
			c.limitAddress(a.GetValue(), at+".remoteAddress.value")
		}
		if h := d.GetHeader(); h != nil {
			c.requestHeader(h.GetName(), at+".header.name")
		}
	}
}

func (c *checker) limitAddress(value, path string) {
	if value == "*" || value == "" { // an annotation says that it is required
		return
	}
	a, err := netip.ParseAddr(value)
	if p, isRange := netip.ParsePrefix(value); isRange == nil {
		a, err = p.Addr(), nil
	}
	switch {
	case err != nil || a.Zone() != "":
		c.at(path, "%q must be an address such as 192.0.2.1, a CIDR such as 192.0.2.0/24, or \"*\"", value)
	case a.Is4In6():
		c.at(path, "%q is an IPv4 address: write %s", value, a.Unmap())
	}
}

func (c *checker) externalDimension(d *typesv2.RateLimiting_ExternalDimension, path string) {
	if h := d.GetRequestHeaders(); h != nil {
		c.requestHeader(h.GetHeaderName(), path+".requestHeaders.headerName")
	}
	for name := range d.GetHeaderValueMatch().GetHeaders() {
		c.requestHeader(name, mapPath(path+".headerValueMatch.headers", name))
	}
}

// requestHeader checks the name of a header that requests can have.
func (c *checker) requestHeader(name, path string) {
	switch n := strings.ToLower(name); {
	case name == "": // an annotation says so
	case !headerName.MatchString(name):
		c.at(path, "%q is not the name of a header", name)
	case n[0] == ':' && n != ":path" && n != ":method" && n != ":authority" && n != ":scheme":
		c.at(path, "%q is no pseudo header: there are :path, :method, :authority and :scheme", name)
	}
}

func (c *checker) localLimits(l *typesv2.RateLimiting_Local, path string) {
	if l.MaxWildcardDimensions != nil && l.GetMaxWildcardDimensions() == 0 {
		c.at(path+".maxWildcardDimensions", "must be at least 1")
	}
	c.limitRules(len(l.GetRules()), path)
	for i, r := range l.GetRules() {
		at := path + ".rules[" + itoa(i) + "]"
		c.limitDimensions(r.GetDimensions(), at)
		b := r.GetTokenBucket()
		if b == nil {
			continue // an annotation says so
		}
		if b.GetMaxTokens() == 0 {
			c.at(at+".tokenBucket.maxTokens", "must be at least 1: with none, every request would be refused")
		}
		if b.TokensPerFill != nil && b.GetTokensPerFill() == 0 {
			c.at(at+".tokenBucket.tokensPerFill", "must be at least 1")
		}
		switch fill := b.GetFillInterval(); {
		case fill == nil:
			c.at(at+".tokenBucket.fillInterval", "is required")
		case fill.IsValid() && fill.AsDuration() < shortestFill:
			c.at(at+".tokenBucket.fillInterval", "must be at least %v", shortestFill)
		}
	}
}
