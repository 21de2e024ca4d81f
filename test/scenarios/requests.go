package scenarios

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Call is one request of a step, or several that are alike, and what is wanted of it.
type Call struct {
	// Request is a method and a URL: "GET https://shop.test/cart". "SEND tcp://host:9000" and "SEND tls://…" send the
	// body on a connection and read what comes back.
	Request string
	// From is where the request is made: wan, outside of all clusters (when empty), or a cluster, where a pod with a
	// sidecar makes it, or CLUSTER/NAMESPACE/DEPLOYMENT.
	From string
	// To is the gateway whose load balancer is connected to, as a place; from wan the only gateway there is when empty.
	// "dns" resolves the name, as requests within clusters do, and HOST:PORT connects there.
	To      string
	Headers map[string]string
	Body    string
	// Session is a browser of that name, which keeps its cookies from one request to the next, as long as they come from
	// the same place.
	Session string
	// Follow goes on to where answers say.
	Follow bool
	// CookiesOf is the URL of another host of which the session's cookies are sent.
	CookiesOf string `yaml:"cookiesOf"`
	// CookiesAs is "old=new": the beginning of cookies' names is replaced.
	CookiesAs string `yaml:"cookiesAs"`
	// HTTP is "1.1" or "2".
	HTTP     string `yaml:"http"`
	TLS      TLS    `yaml:"tls"`
	Repeat   int
	Parallel int
	Every    time.Duration
	Timeout  time.Duration
	// Within bounds the time until the first answer that is as wanted: 20s for the first request of a section, which
	// waits for what was changed before, and 3s for the others. With 0s the first answer has to be right.
	Within *time.Duration
	// Outage bounds, for requests in the background, the time from the first answer that is not as wanted to the last one.
	// Without it there must be none.
	Outage time.Duration
	Want   Want
}

// TLS is the client's side.
type TLS struct {
	// Certificate of the setup to show.
	Certificate string
	// Authority to trust, "public" when empty.
	Authority string
	SNI       string `yaml:"sni"`
	Insecure  bool
	Min, Max  string
	Ciphers   []string
	ALPN      []string `yaml:"alpn"`
}

// Want is what an answer has to be. A number alone is a status.
//
// Headers, and those of Got, are exact; "~text" has to be contained, and null must not be there.
type Want struct {
	Status  int
	Headers map[string]*string
	// URL that answered in the end, without its query.
	URL string `yaml:"url"`
	// Body and Lacks are parts of the body.
	Body  string
	Lacks string
	// App is who answered, and Got what it was sent.
	App Who
	Got *Got
	// Certificate is a name in the server's.
	Certificate string
	HTTP        string `yaml:"http"`
	TLS         string `yaml:"tls"` // version: 1.2, 1.3
	Cipher      string
	// Fails is part of the error when there must be no answer at all. "~" is any error.
	Fails string
	// Faster and Slower bound the time that an answer takes.
	Faster, Slower time.Duration
	// Share are percentages of the answers by a property (app, cluster, version, pod, status), within four standard
	// deviations; Counts their numbers, as "10" or "9-11"; Distinct how many different ones there are.
	Share    map[string]map[string]float64
	Counts   map[string]map[string]string
	Distinct map[string]int
}

// Who answered.
type Who struct{ App, Cluster, Namespace, Pod, Version string }

// Got is what the application was sent.
type Got struct {
	Method, Path, Host, Proto, Body string
	Headers                         map[string]*string
}

// UnmarshalYAML takes a status alone, too.
func (w *Want) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&w.Status)
	}
	type plain Want // without this method
	return strictly(n, (*plain)(w))
}

// strictly decodes a node whose type has a method of its own: those forget that unknown keys are errors.
func strictly(n *yaml.Node, v any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	return decode(Text{s: string(text)}, v)
}

// properties of answers that are counted.
var properties = []string{"app", "cluster", "version", "pod", "status"}

func (c Call) check() error {
	method, target, ok := strings.Cut(c.Request, " ")
	u, err := url.Parse(strings.TrimSpace(target))
	switch {
	case !ok || method != strings.ToUpper(method):
		return fmt.Errorf("request: %q is not a method and a URL", c.Request)
	case err != nil:
		return fmt.Errorf("request: %w", err)
	case !slices.Contains([]string{"http", "https", "tcp", "tls"}, u.Scheme) || u.Host == "":
		return fmt.Errorf("request: %q has no scheme http, https, tcp or tls, or no host", target)
	case (method == "SEND") != (u.Scheme == "tcp" || u.Scheme == "tls"):
		return errors.New("request: SEND is for tcp and tls, and they for SEND")
	case c.CookiesOf != "" && c.Session == "":
		return errors.New("cookiesOf: say whose, with session")
	case c.HTTP != "" && c.HTTP != "1.1" && c.HTTP != "2":
		return fmt.Errorf("http: %q is neither 1.1 nor 2", c.HTTP)
	case strings.Contains(c.From, "/") && strings.Count(c.From, "/") != 2:
		return fmt.Errorf("from: %q is not wan, a cluster, or CLUSTER/NAMESPACE/DEPLOYMENT", c.From)
	}
	if cluster, _, _ := strings.Cut(c.From, "/"); c.From != "" && c.From != "wan" && !slices.Contains(Clusters, cluster) {
		return fmt.Errorf("from: there is no cluster %q", cluster)
	}
	return c.Want.check(c.Repeat)
}

func (w Want) check(repeat int) error {
	if w.Fails == "" && w.Status == 0 && w.Body == "" && w.Certificate == "" && len(w.Counts)+len(w.Share)+len(w.Distinct) == 0 && w.App == (Who{}) && w.Got == nil {
		return errors.New("want: nothing is wanted of the answer")
	}
	for what, by := range map[string][]string{"share": keysOf(w.Share), "counts": keysOf(w.Counts), "distinct": keysOf(w.Distinct)} {
		for _, p := range by {
			if !slices.Contains(properties, p) {
				return fmt.Errorf("want: %s: %q is none of %s", what, p, strings.Join(properties, ", "))
			}
		}
		if len(by) > 0 && repeat < 2 {
			return fmt.Errorf("want: %s: say how often to repeat", what)
		}
	}
	for _, by := range w.Counts {
		for _, bounds := range by {
			if _, _, err := parseBounds(bounds); err != nil {
				return fmt.Errorf("want: counts: %w", err)
			}
		}
	}
	return nil
}

func keysOf[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
