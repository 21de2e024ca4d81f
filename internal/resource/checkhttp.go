package resource

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
)

// What istiod would refuse is refused here: it refuses the object with the routes of a host as a whole, and says so when the
// author has gone.

// corsMethods are those that istiod takes.
var corsMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace, "*",
}

const (
	// longestRegex and largestBody are the most that istiod takes.
	longestRegex = 1024
	largestBody  = 1 << 20
)

// stringMatch checks that a text is compared with something.
func (c *checker) stringMatch(m *typesv2.StringMatch, path string) {
	switch t := m.GetMatchType().(type) {
	case *typesv2.StringMatch_Prefix:
		if t.Prefix == "" {
			c.at(path+".prefix", "is empty")
		}
	case *typesv2.StringMatch_Regex:
		switch _, err := regexp.Compile(t.Regex); {
		case t.Regex == "":
			c.at(path+".regex", "is empty")
		case err != nil:
			c.at(path+".regex", "is not a regular expression in RE2 syntax: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		case len(t.Regex) > longestRegex:
			c.at(path+".regex", "is longer than %d characters", longestRegex)
		}
	}
}

// cors checks a policy for pages of other origins.
func (c *checker) cors(p *gatewayv2.CorsPolicy, path string) {
	for i, o := range p.GetAllowOrigin() {
		if o == "" {
			c.at(path+".allowOrigin["+itoa(i)+"]", "is empty")
		}
	}
	for i, m := range p.GetAllowMethods() {
		if !slices.Contains(corsMethods, m) {
			c.at(path+".allowMethods["+itoa(i)+"]", "%q must be one of %s", m, strings.Join(corsMethods, ", "))
		}
	}
	for field, names := range map[string][]string{"allowHeaders": p.GetAllowHeaders(), "exposeHeaders": p.GetExposeHeaders()} {
		for i, n := range names {
			if n != "*" && !token.MatchString(n) {
				c.at(path+"."+field+"["+itoa(i)+"]", "%q is not the name of a header", n)
			}
		}
	}
	if d := p.GetMaxAge(); d.IsValid() && (d.AsDuration() < time.Second || d.AsDuration()%time.Second != 0) {
		c.at(path+".maxAge", "must be whole seconds, and at least 1s")
	}
}

// modify checks what is changed about requests and responses. The host of a request is its authority.
func (c *checker) modify(m *gatewayv2.Modify, path string) {
	request, response := m.GetHeaders().GetRequest(), m.GetHeaders().GetResponse()
	c.operations(request, path+".headers.request", true)
	c.operations(response, path+".headers.response", false)
	by := ""
	if m.GetRewrite().GetAuthority() != "" {
		by = "rewrite.authority"
	}
	for _, o := range []struct {
		kind  string
		names map[string]string
	}{{"set", request.GetSet()}, {"add", request.GetAdd()}} {
		for _, name := range slices.Sorted(maps.Keys(o.names)) {
			if !isHost(name) {
				continue
			}
			if by != "" {
				c.at(mapPath(path+".headers.request."+o.kind, name), "sets the host, and %s does too", by)
			}
			by = "headers.request." + o.kind
		}
	}
}

// isHost says whether a header is the host of a request.
func isHost(header string) bool {
	return strings.EqualFold(header, "host") || strings.EqualFold(header, ":authority")
}

// operations checks changes of headers. Hosts may be set in requests, and nowhere else.
func (c *checker) operations(o *gatewayv2.Modify_Operations, path string, hosts bool) {
	for kind, names := range map[string]map[string]string{"set": o.GetSet(), "add": o.GetAdd()} {
		for name, value := range names {
			at := mapPath(path+"."+kind, name)
			if !(hosts && isHost(name)) {
				c.changed(name, at)
			}
			c.value(value, at)
		}
	}
	for i, name := range o.GetRemove() {
		c.changed(name, path+".remove["+itoa(i)+"]")
	}
}

// changed checks the name of a header that is changed.
func (c *checker) changed(name, path string) {
	switch {
	case strings.HasPrefix(name, ":") || strings.EqualFold(name, "host"):
		c.at(path, "%q cannot be changed here", name)
	case !token.MatchString(name):
		c.at(path, "%q is not the name of a header", name)
	}
}

var (
	// variable is what Envoy puts into the value of a header; of the names, those that it has in every version and that take
	// nothing but the name of a header. One that it does not know makes it refuse the routes of all hosts of the port.
	variable = regexp.MustCompile(`%(([A-Z_0-9]+)|(REQ|RESP)\(:?[-A-Za-z0-9_]+\))%`)

	variables = []string{
		"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
		"DOWNSTREAM_LOCAL_PORT", "DOWNSTREAM_PEER_CERT", "DOWNSTREAM_PEER_FINGERPRINT_256", "DOWNSTREAM_PEER_ISSUER", "DOWNSTREAM_PEER_SERIAL", "DOWNSTREAM_PEER_SUBJECT",
		"DOWNSTREAM_PEER_URI_SAN", "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_TLS_CIPHER",
		"DOWNSTREAM_TLS_SESSION_ID", "DOWNSTREAM_TLS_VERSION", "HOSTNAME", "PROTOCOL", "REQUESTED_SERVER_NAME", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_FLAGS",
		"ROUTE_NAME", "START_TIME", "UPSTREAM_CLUSTER", "UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS",
	}
)

// value checks the value of a header that is set.
func (c *checker) value(s, path string) {
	c.plain(strings.ReplaceAll(s, "\t", " "), path)
	rest := strings.ReplaceAll(s, "%%", "")
	for _, m := range variable.FindAllStringSubmatch(rest, -1) {
		if m[2] != "" && !slices.Contains(variables, m[2]) {
			c.at(path, "%q is no variable that Envoy is sure to know: there are %%REQ(<header>)%%, %%RESP(<header>)%%, %s", m[0], strings.Join(variables, ", "))
		}
	}
	if strings.Contains(variable.ReplaceAllString(rest, ""), "%") {
		c.at(path, "%q has a '%%' that starts no variable: write it twice", s)
	}
}

// wholly checks a duration that istiod takes in milliseconds.
func (c *checker) wholly(d interface {
	IsValid() bool
	AsDuration() time.Duration
}, path string,
) {
	if d.IsValid() && (d.AsDuration() < time.Millisecond || d.AsDuration()%time.Millisecond != 0) {
		c.at(path, "must be whole milliseconds, and at least 1ms")
	}
}

// body checks what a gateway answers with by itself.
func (c *checker) body(r *gatewayv2.DirectResponse, path string) {
	for field, n := range map[string]int{"string": len(r.GetBody().GetString_()), "bytes": len(r.GetBody().GetBytes())} {
		if n > largestBody {
			c.at(path+".body."+field, "is larger than %s", size(largestBody))
		}
	}
}
