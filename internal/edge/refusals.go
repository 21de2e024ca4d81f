package edge

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"isthmus.dev/isthmus/internal/apply"
)

const (
	// wordsAtMost bounds what Envoy says: a refusal can quote what it refuses.
	wordsAtMost = 1000
	// extensionType is how a gateway gets its Wasm extensions, each by itself.
	extensionType = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
)

// refusal is what a gateway does not take, in Envoy's words.
//
// Istiod knows those about extensions until it sends some again, changed or not: Envoy does not look twice at one that it
// refused, and acknowledges it. So they are kept here, for as long as the extensions of the namespace are the same.
type refusal struct {
	words, extensions string
	// of are the extensions of the namespace when Envoy first said so.
	of string
}

func (r refusal) String() string {
	all := r.words
	if all != "" && r.extensions != "" {
		all += "; "
	}
	all += r.extensions
	return all[:min(len(all), wordsAtMost)]
}

// refusals are those of the gateways that refuse something, by "<namespace>/<pod>".
type refusals map[string]refusal

// add takes what one proxy refuses, by the type of the configuration.
func (r refusals) add(pod string, words map[string]string) {
	var out refusal
	var others []string
	for _, kind := range slices.Sorted(maps.Keys(words)) {
		switch w := strings.ToValidUTF8(words[kind], "?"); {
		case w == "":
		case kind == extensionType:
			out.extensions = w
		default:
			others = append(others, w)
		}
	}
	out.words = strings.Join(others, "; ")
	if out != (refusal{}) {
		r[pod] = out
	}
}

// remember puts into r what was refused before and still is. of are the extensions of a namespace, and there says whether a
// pod exists.
func (r refusals) remember(was refusals, of func(namespace string) string, there func(pod string) bool) {
	for pod, now := range r {
		if now.extensions == "" {
			continue
		}
		now.of = of(namespaceOf(pod))
		if before := was[pod]; before.extensions == now.extensions {
			now.of = before.of // else it would hold after they changed and before Envoy heard of that
		}
		r[pod] = now
	}
	for pod, before := range was {
		now := r[pod]
		if before.extensions != "" && now.extensions == "" && before.of == of(namespaceOf(pod)) && there(pod) {
			now.extensions, now.of = before.extensions, before.of
			r[pod] = now
		}
	}
}

func namespaceOf(pod string) string {
	namespace, _, _ := strings.Cut(pod, "/")
	return namespace
}

// extensionsIn is a digest of the extensions that a bundle has in a namespace.
func extensionsIn(b *apply.Bundle, namespace string) string {
	if b == nil {
		return ""
	}
	var all []string
	for id, o := range b.Objects {
		if ref, err := id.Ref(); err == nil && ref.Kind == "WasmPlugin" && ref.Namespace == namespace {
			all = append(all, string(id)+" "+o.Digest)
		}
	}
	slices.Sort(all)
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(all, "\n"))))
}
