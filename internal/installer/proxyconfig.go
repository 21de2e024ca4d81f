package installer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// proxyConfigAnnotation on a pod changes the configuration of its proxy.
const proxyConfigAnnotation = "proxy.istio.io/config"

// form of a value in Istio's ProxyConfig.
type form string

const (
	isText     form = "a text"
	isNumber   form = "a whole number"
	isBool     form = "true or false"
	isDuration form = `a duration such as "22s"`
	isObject   form = "an object"
	isTexts    form = "a list of texts"
	isTextMap  form = "an object of texts; quote its values"
)

// proxyFields are those of Istio's ProxyConfig. Istio's webhook refuses pods with a value of another form, so that a
// mistake would show only as pods that do not come; and it ignores what it does not know.
var proxyFields = map[string]form{
	"configPath": isText, "binaryPath": isText, "serviceCluster": isText, "tracingServiceName": isText, "drainDuration": isDuration,
	"discoveryAddress": isText, "discoveryRefreshDelay": isDuration, "zipkinAddress": isText, "statsdUdpAddress": isText,
	"envoyMetricsServiceAddress": isText, "proxyAdminPort": isNumber, "availabilityZone": isText, "controlPlaneAuthPolicy": isText,
	"customConfigFile": isText, "statNameLength": isNumber, "concurrency": isNumber, "proxyBootstrapTemplatePath": isText,
	"interceptionMode": isText, "tracing": isObject, "sds": isObject, "envoyAccessLogService": isObject, "envoyMetricsService": isObject,
	"proxyMetadata": isTextMap, "runtimeValues": isTextMap, "statusPort": isNumber, "extraStatTags": isTexts, "gatewayTopology": isObject,
	"terminationDrainDuration": isDuration, "meshId": isText, "readinessProbe": isObject, "proxyStatsMatcher": isObject,
	"holdApplicationUntilProxyStarts": isBool, "caCertificatesPem": isTexts, "image": isObject, "privateKeyProvider": isObject,
	"proxyHeaders": isObject, "fileFlushInterval": isDuration, "fileFlushMinSizeKb": isNumber, "statsCompression": isBool,
	"connectionSettings": isObject,
}

// setProxyConfig gathers the configuration of the proxy: what other fields say, then the annotation that the user wrote,
// then the override. The last one wins.
func (p *plan) setProxyConfig() error {
	p.proxy = map[string]any{"terminationDrainDuration": seconds(p.drain)}
	switch n := p.gw.Spec.Concurrency; {
	case n < -1 || n > math.MaxInt32:
		return &problem{"InvalidSpec", fmt.Sprintf("spec.concurrency: %d is neither a number of threads, nor 0 for as many as the CPU limit allows, nor -1 for as many as the machine has.", n)}
	case n == -1:
		p.proxy["concurrency"] = int64(0) // Istio's word for all
	case n > 0:
		p.proxy["concurrency"] = n
	}
	for _, layer := range []struct{ field, text string }{
		{"spec.kubeSpec.deployment.podAnnotations[" + proxyConfigAnnotation + "]", p.dep.PodAnnotations[proxyConfigAnnotation]},
		{"spec.proxyConfigOverride", p.gw.Spec.ProxyConfigOverride},
	} {
		over, err := p.readProxyConfig(layer.field, layer.text)
		if err != nil {
			return err
		}
		p.proxy = overlaid(p.proxy, over)
	}
	if s, ok := p.proxy["terminationDrainDuration"].(string); ok {
		p.drain, _ = time.ParseDuration(s) // it was checked
	}
	return nil
}

// readProxyConfig reads a piece of ProxyConfig that a user wrote.
func (p *plan) readProxyConfig(field, text string) (map[string]any, error) {
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil, &problem{"InvalidSpec", field + ": is not YAML: " + strings.ReplaceAll(err.Error(), "\n", " ") + "."}
	}
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		return nil, &problem{"InvalidSpec", field + ": there is " + nameOf(v) + " here, not an object such as {concurrency: 2}."}
	}
	out := make(map[string]any, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		name := camel(key)
		want, known := proxyFields[name]
		if !known {
			p.note("%s: %s is no field of Istio's ProxyConfig that this version knows; Istio ignores what it does not know.", field, key)
		} else if !want.fits(m[key]) {
			return nil, &problem{"InvalidSpec", fmt.Sprintf("%s: %s: must be %s.", field, key, want)}
		}
		out[name] = m[key]
	}
	return out, nil
}

// fits says whether Istio could read a value. Null is the same as nothing.
func (f form) fits(v any) bool {
	if v == nil {
		return true
	}
	switch f {
	case isText:
		_, ok := v.(string)
		return ok
	case isBool:
		_, ok := v.(bool)
		return ok
	case isDuration:
		s, _ := v.(string)
		d, err := time.ParseDuration(s)
		return err == nil && d >= 0
	case isNumber:
		b, _ := json.Marshal(normal(v)) // a value from YAML
		n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 32)
		return err == nil && n >= 0
	case isTexts:
		l, ok := v.([]any)
		return ok && !slices.ContainsFunc(l, func(e any) bool { return !isText.fits(e) || e == nil })
	case isTextMap:
		m, ok := v.(map[string]any)
		for _, e := range m {
			ok = ok && isText.fits(e) && e != nil
		}
		return ok
	}
	_, ok := v.(map[string]any)
	return ok
}

// overlaid is base with what over says; null removes. Neither is changed.
func overlaid(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range over {
		below, isMap := v.(map[string]any)
		was, wasMap := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = overlaid(was, below)
		default:
			out[k] = v
		}
	}
	return out
}

// camel spells a field as JSON does: protos' own spelling is understood by Istio too.
func camel(name string) string {
	first, rest, _ := strings.Cut(name, "_")
	var b strings.Builder
	b.WriteString(first)
	for part := range strings.SplitSeq(rest, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return cmp.Or(b.String(), name)
}

// seconds writes a duration as protos do.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }
