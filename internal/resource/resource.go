// Package resource knows the kinds of the API, their names and their text forms.
//
// It knows nothing of where resources are stored, of what they mean together, or of any cluster.
package resource

import (
	"strings"

	"google.golang.org/protobuf/proto"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// Kind is one row of Kinds: everything the product needs to know about a kind besides its meaning.
type Kind struct {
	// APIVersion as written in YAML for tctl, for example "gateway.tsb.tetrate.io/v2".
	APIVersion string
	// Name of the kind, for example "IngressGateway".
	Name string
	// Parent is the ID of the kind that owns it; empty for Organization.
	Parent string
	// Plural and Singular are the REST names, for example "ingressgateways" and "ingressgateway". A plural
	// resolves together with its parent: "settings" stands below organizations, tenants and workspaces.
	Plural, Singular string
	// Key is the metadata key with which descendants name it, for example "workspace"; empty for kinds without
	// descendants. Annotation is the GitOps spelling where that is another one.
	Key, Annotation string
	// Short names that tctl accepts, for example "ig".
	Short []string
	// Instead says what has taken the place of a kind that is still taken.
	Instead string
	// Within is the plural of the parent, of a kind that may stand below parents of several kinds: there is a row for each, and it is
	// part of the ID. It is empty for all others.
	Within string
	// Versions are further API versions that mean the same.
	Versions []string
	// Spec makes an empty message of the kind's specification.
	Spec func() proto.Message
}

// ID is "<apiVersion>/<Kind>", with Within "<plural of the parent>/<apiVersion>/<Kind>": unique, and what the wire calls a kind.
func (k *Kind) ID() string {
	if k.Within != "" {
		return k.Within + "/" + k.APIVersion + "/" + k.Name
	}
	return k.APIVersion + "/" + k.Name
}

// Istio says that the kind is Istio's own: its objects are passed on as they are.
func (k *Kind) Istio() bool { return strings.Contains(k.APIVersion, ".istio.io/") }

// Noun is the kind with its article: "an IngressGateway", "a User".
func (k *Kind) Noun() string { return withArticle(k.Name) }

// withArticle puts a or an before a word; none of ours begins with a u that is not spoken like that of user.
func withArticle(word string) string {
	if strings.ContainsRune("AEIOaeio", rune(word[0])) {
		return "an " + word
	}
	return "a " + word
}

// FQN is the full name of a resource: alternating plurals and names, for example
// "organizations/tetrate/tenants/test/workspaces/bookinfo".
type FQN string

// Name is the last segment.
func (f FQN) Name() string { return string(f[strings.LastIndexByte(string(f), '/')+1:]) }

// Plural is the last but one segment.
func (f FQN) Plural() string {
	rest, _, ok := cutLast(string(f))
	if !ok {
		return ""
	}
	return rest[strings.LastIndexByte(rest, '/')+1:]
}

// Parent is the FQN of the owner; empty for an organization.
func (f FQN) Parent() FQN {
	rest, _, ok := cutLast(string(f))
	if !ok {
		return ""
	}
	rest, _, _ = cutLast(rest)
	return FQN(rest)
}

// Ancestor is the part of f that ends with the name below plural, for example Ancestor("workspaces"); empty
// when f has no such part.
func (f FQN) Ancestor(plural string) FQN {
	for g := f; g != ""; g = g.Parent() {
		if g.Plural() == plural {
			return g
		}
	}
	return ""
}

// Contains says whether g is f or lies below it.
func (f FQN) Contains(g FQN) bool {
	return f == g || strings.HasPrefix(string(g), string(f)+"/")
}

// Child is the FQN of a child of f.
func (f FQN) Child(plural, name string) FQN {
	if f == "" {
		return FQN(plural + "/" + name)
	}
	return f + FQN("/"+plural+"/"+name)
}

// cutLast splits s at its last slash. Without one, rest is empty.
func cutLast(s string) (rest, last string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// Resource is one object of the API. It is shared and never changes: to change is to make another one.
type Resource struct {
	Kind *Kind
	FQN  FQN
	// Spec is never nil. Its output-only fields fqn and etag are empty; they are filled in on the way out.
	Spec proto.Message
	// Object is what else there is to say of an object of Istio's kinds; nil for all other resources. It never changes either.
	Object *isthmusv1.ObjectMeta
	// Etag is the hash of the content, see Etag.
	Etag string
	// Created and Revision are the commits that made it and last changed it; 0 before it is stored.
	Created, Revision int64
}

// Problem is one mistake in the text of a resource, found without looking at any other one.
type Problem struct {
	// File, Line and Document (from 1) say where; Line and Document are 0 when there is no text.
	File           string
	Line, Document int
	// Resource is the FQN, or what is known of it.
	Resource FQN
	// Object is what people call it: "IngressGateway bookinfo-gw", or what is known of it.
	Object string
	// Field is a JSON path, for example "spec.http[0].port".
	Field   string
	Message string
}

// Condition is a statement about a resource that only the whole configuration can make. The same situation
// always gives the same words: no time, no counter.
type Condition struct {
	// Type is from a short list: Accepted, Resolved, Supported, Effective.
	Type string
	// OK is false for a problem.
	OK bool
	// Reason is one CamelCase word of the documented list.
	Reason string
	// Message is one sentence that names the field or the other resource.
	Message string
	// Field is the JSON path below spec that it is about, if any.
	Field string
	// Cluster it is limited to, if any.
	Cluster string
}
