package scenarios

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"isthmus.dev/isthmus/test/scenarios/call"
)

// echoed is what the application echo says in its body.
type echoed struct {
	App, Cluster, Namespace, Pod, Version string

	Method, Path, Host, Proto, Body string
	Headers                         map[string]string
}

// judge says what is wrong with the answers to one call: each of them has to be as wanted, unless they are counted.
func (w Want) judge(answers []call.Answer) error {
	seen := tally{}
	for i, a := range answers {
		if err := w.judgeOne(a, seen); err != nil {
			if len(answers) > 1 {
				return fmt.Errorf("answer %d of %d: %w", i+1, len(answers), err)
			}
			return err
		}
	}
	return w.judgeAll(len(answers), seen)
}

func (w Want) judgeOne(a call.Answer, seen tally) error {
	if w.Fails != "" {
		switch {
		case a.Error == "":
			return fmt.Errorf("there is an answer with status %d, and none is wanted: %s", a.Status, short(a.Body))
		case w.Fails != "~" && !strings.Contains(a.Error, w.Fails):
			return fmt.Errorf("the error is %q, and does not contain %q", a.Error, w.Fails)
		}
		return nil
	}
	if a.Error != "" {
		return fmt.Errorf("no answer: %s", a.Error)
	}
	var e echoed
	parseErr := json.Unmarshal([]byte(strings.SplitN(a.Body, "\n", 2)[0]), &e)
	who := Who{e.App, e.Cluster, e.Namespace, e.Pod, e.Version}
	seen.add(who, a.Status)
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if w.Status != 0 && a.Status != w.Status {
		wrong("status %d, want %d", a.Status, w.Status)
	}
	for _, name := range keysOf(w.Headers) {
		if err := compare(w.Headers[name], a.Headers.Values(name)); err != nil {
			wrong("header %s %w", name, err)
		}
	}
	if !strings.Contains(a.Body, w.Body) {
		wrong("the body does not contain %q", w.Body)
	}
	if w.Lacks != "" && strings.Contains(a.Body, w.Lacks) {
		wrong("the body contains %q", w.Lacks)
	}
	if w.Certificate != "" && !slices.Contains(a.Names, w.Certificate) {
		wrong("the certificate is for %q, want %q", a.Names, w.Certificate)
	}
	for _, same := range []struct{ what, want, got string }{
		{"protocol", protocolName(w.HTTP), a.Protocol}, {"TLS version", w.TLS, a.TLSVersion}, {"cipher", w.Cipher, a.Cipher},
		{"answered by app", w.App.App, who.App}, {"answered in cluster", w.App.Cluster, who.Cluster}, {"answered in namespace", w.App.Namespace, who.Namespace},
		{"answered by pod", w.App.Pod, who.Pod}, {"answered by version", w.App.Version, who.Version},
	} {
		if same.want != "" && same.want != same.got {
			wrong("%s %q, want %q", same.what, same.got, same.want)
		}
	}
	if at, _, _ := strings.Cut(a.URL, "?"); w.URL != "" && at != w.URL {
		wrong("it ended at %s, want %s", a.URL, w.URL)
	}
	if w.Faster != 0 && a.Took > w.Faster {
		wrong("it took %v, want at most %v", a.Took, w.Faster)
	}
	if a.Took < w.Slower {
		wrong("it took %v, want at least %v", a.Took, w.Slower)
	}
	if w.Got != nil {
		if parseErr != nil {
			wrong("the answer does not say what was received")
		} else if err := w.Got.judge(e); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		errs = append(errs, fmt.Errorf("the answer: status %d, headers %v, body %s", a.Status, a.Headers, short(a.Body)))
	}
	return errors.Join(errs...)
}

func protocolName(version string) string {
	switch version {
	case "2":
		return "HTTP/2.0"
	case "":
		return ""
	}
	return "HTTP/" + version
}

func (g *Got) judge(e echoed) error {
	var errs []error
	for _, same := range []struct{ what, want, got string }{
		{"method", g.Method, e.Method}, {"path", g.Path, e.Path}, {"host", g.Host, e.Host}, {"protocol", g.Proto, e.Proto}, {"body", g.Body, e.Body},
	} {
		if same.want != "" && same.want != same.got {
			errs = append(errs, fmt.Errorf("the application got %s %q, want %q", same.what, same.got, same.want))
		}
	}
	for _, name := range keysOf(g.Headers) {
		var values []string
		if v, ok := e.Headers[strings.ToLower(name)]; ok {
			values = []string{v}
		}
		if err := compare(g.Headers[name], values); err != nil {
			errs = append(errs, fmt.Errorf("the application got header %s %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// compare a header's values with what is wanted: nil is none.
func compare(want *string, values []string) error {
	got := strings.Join(values, ",")
	switch {
	case want == nil && values == nil:
	case want == nil:
		return fmt.Errorf("%q, and it must not be there", got)
	case values == nil:
		return fmt.Errorf("is missing, want %q", *want)
	case strings.HasPrefix(*want, "~") && strings.Contains(got, (*want)[1:]), got == *want:
	default:
		return fmt.Errorf("%q, want %q", got, *want)
	}
	return nil
}

// tally counts answers by property and value.
type tally map[string]map[string]int

func (t tally) add(w Who, status int) {
	for p, v := range map[string]string{"app": w.App, "cluster": w.Cluster, "version": w.Version, "pod": w.Pod, "status": strconv.Itoa(status)} {
		if v == "" {
			continue
		}
		if t[p] == nil {
			t[p] = map[string]int{}
		}
		t[p][v]++
	}
}

func (w Want) judgeAll(n int, seen tally) error {
	var errs []error
	for _, p := range keysOf(w.Share) {
		rest := n
		for _, v := range keysOf(w.Share[p]) {
			share := w.Share[p][v] / 100
			rest -= seen[p][v]
			want := share * float64(n)
			// A right split fails one of 15,000 times.
			bound := 4 * math.Sqrt(float64(n)*share*(1-share))
			if math.Abs(float64(seen[p][v])-want) > bound {
				errs = append(errs, fmt.Errorf("%d of %d answers have %s %q, want %.0f, give or take %.0f", seen[p][v], n, p, v, want, bound))
			}
		}
		if rest > 0 {
			errs = append(errs, fmt.Errorf("%d of %d answers have no %s of those wanted: %v", rest, n, p, seen[p]))
		}
	}
	for _, p := range keysOf(w.Counts) {
		for _, v := range keysOf(w.Counts[p]) {
			low, high, err := parseBounds(w.Counts[p][v])
			if got := seen[p][v]; err != nil || got < low || got > high {
				errs = append(errs, fmt.Errorf("%d of %d answers have %s %q, want %s", got, n, p, v, w.Counts[p][v]))
			}
		}
	}
	for _, p := range keysOf(w.Distinct) {
		if got, want := len(seen[p]), w.Distinct[p]; got != want {
			errs = append(errs, fmt.Errorf("the answers have %d different values of %s, want %d: %v", got, p, want, seen[p]))
		}
	}
	return errors.Join(errs...)
}

// parseBounds reads "10" and "9-11".
func parseBounds(s string) (low, high int, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	low, err = strconv.Atoi(from)
	if err == nil {
		high, err = strconv.Atoi(to)
	}
	if err != nil || low > high {
		return 0, 0, fmt.Errorf("%q is neither a number nor a range such as 9-11", s)
	}
	return low, high, nil
}

// short is text for a message.
func short(s string) string {
	if len(s) > 600 {
		return s[:600] + "…"
	}
	return s
}
