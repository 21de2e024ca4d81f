package resource

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// UniqueInGroup says what to do about two objects of Istio's of one name in several namespaces.
const UniqueInGroup = "names of a kind are unique in a group, so give one of them another name or another group"

// directKind finds out below which type of group an object of Istio's stands: the key that names the group says it. Nil after a
// problem.
func (d *document) directKind(line int, e *envelope, kinds []*Kind) *Kind {
	if len(kinds) == 0 {
		d.problem(line, "kind", "there is no kind %s in %s among those of DIRECT mode, which annotations %s… mean; there are %s",
			e.kind, e.apiVersion, annotationPrefix, strings.Join(istioKinds(), ", "))
		return nil
	}
	if given, _ := d.givenFQN(e); given.value != "" {
		if _, of, err := ParseFQN(given.value); err == nil && slices.Contains(kinds, of) {
			return of
		}
	}
	var named []*Kind
	var groups, keys []string
	for _, k := range kinds {
		group := ByID(k.Parent)
		groups = append(groups, groupNoun(group))
		keys = append(keys, annotationPrefix+group.Annotation)
		if _, _, ok := e.placing(group.Annotation); ok {
			named = append(named, k)
		}
	}
	belongs := "it belongs to " + strings.Join(groups, " or ")
	switch {
	case len(named) == 1:
		return named[0]
	case len(named) > 1:
		d.problem(line, "metadata", "%s, and to one of them only", belongs)
		return nil
	}
	for _, k := range Kinds {
		if k.Annotation == "" {
			continue
		}
		if t, field, ok := e.placing(k.Annotation); ok {
			d.problem(t.line, field, "%s, not to %s", belongs, groupNoun(k))
			return nil
		}
	}
	if len(kinds) > 1 {
		d.problem(e.metaLine(), "metadata", "%s: name it in the annotation %s", belongs, strings.Join(keys, " or "))
		return nil
	}
	return kinds[0]
}

// groupNoun is what people call a type of groups, with its article.
func groupNoun(group *Kind) string {
	name := strings.TrimSuffix(group.Annotation, "Group")
	return withArticle(strings.ToLower(name) + " group")
}

// istioKinds names the kinds of Istio that resources can be.
func istioKinds() []string {
	var all []string
	for _, k := range Kinds {
		if name := k.APIVersion + " " + k.Name; k.Istio() && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// objectMeta is what metadata says of an object of Istio's kinds beside its name and its place.
func (e *envelope) objectMeta() *isthmusv1.ObjectMeta {
	return &isthmusv1.ObjectMeta{Namespace: e.meta["namespace"].value, Labels: ownTexts(e.labels), Annotations: ownTexts(e.annotations)}
}

// ownTexts leaves out what places the object, and what tools keep about the text.
func ownTexts(texts map[string]text) map[string]string {
	var out map[string]string
	for k, t := range texts {
		if strings.HasPrefix(k, annotationPrefix) || strings.HasPrefix(k, "kubectl.kubernetes.io/") || strings.HasPrefix(k, "argocd.argoproj.io/") {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = t.value
	}
	return out
}

// restObject reads what REST has beside the specification of an object of Istio's kinds, and returns the rest.
func (d *document) restObject(w *walker, r *Resource, n *yaml.Node) *yaml.Node {
	rest, e := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line}, &envelope{root: n, meta: map[string]text{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key := n.Content[i].Value; key {
		case "metadata":
			e.metadata = n.Content[i+1]
		case "fqn", "etag":
		default:
			rest.Content = append(rest.Content, n.Content[i], n.Content[i+1])
		}
	}
	d.metadata(w, e)
	for _, p := range e.strange {
		w.at(p.key, p.name, "there is no field %q in metadata", p.key.Value)
	}
	r.Object = e.objectMeta()
	return rest
}
