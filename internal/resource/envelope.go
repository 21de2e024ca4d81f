package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// metadataKeys are those that place an object, and those that Kubernetes and this API write there.
var metadataKeys = []string{
	"name", "organization", "tenant", "workspace", "group", "cluster", "application", "api", "fqn", "resourceVersion",
	"displayName", "description", "labels", "annotations", "namespace", "uid", "generation", "creationTimestamp",
	"deletionTimestamp", "finalizers", "ownerReferences", "managedFields", "selfLink", "generateName",
}

// annotationPrefix starts the annotations that place a GitOps object.
const annotationPrefix = "tsb.tetrate.io/"

// envelope is what all objects have around their specification.
type envelope struct {
	apiVersion, kind string
	// metadata and spec are nil when absent or null.
	metadata, spec *yaml.Node
	items          *yaml.Node
	root           *yaml.Node
	// meta are the texts of metadata by key, in the key's own spelling.
	meta map[string]text
	// annotations and labels are nil when metadata has none.
	labels, annotations map[string]text
	// strange are keys that do not belong beside metadata and spec.
	strange []pair
}

// text is a value and the line it is in.
type text struct {
	value string
	line  int
}

// object is what people call the object.
func (e *envelope) object() string {
	return strings.TrimSpace(cmp.Or(e.kind, "object") + " " + cmp.Or(e.meta["name"].value, FQN(e.meta["fqn"].value).Name()))
}

// envelopeKey is the usual spelling of a key that is matched in any case.
func envelopeKey(key string) string {
	for _, k := range []string{"apiVersion", "kind", "metadata", "spec", "status", "items"} {
		if strings.EqualFold(k, key) {
			return k
		}
	}
	return key
}

// envelope reads the outer keys, nil when it cannot be told what the object is.
func (d *document) envelope(w *walker, n *yaml.Node) *envelope {
	e := &envelope{root: n, meta: map[string]text{}}
	for _, p := range w.pairs(n, "", 0) {
		value := p.value
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch key := envelopeKey(p.name); key {
		case "apiVersion":
			e.apiVersion = d.word(w, value, key)
		case "kind":
			e.kind = d.word(w, value, key)
		case "metadata":
			if !isNull(value) {
				e.metadata = value
			}
		case "spec":
			if !isNull(value) {
				e.spec = value
			}
		case "items":
			if value.Kind == yaml.SequenceNode {
				e.items = value
			}
		case "status":
		default:
			e.strange = append(e.strange, p)
		}
	}
	if e.items != nil && (e.kind == "" || strings.HasSuffix(e.kind, "List")) {
		return e
	}
	e.items = nil
	d.metadata(w, e)
	return e
}

// word reads a text that must be there.
func (d *document) word(w *walker, n *yaml.Node, field string) string {
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str":
		w.at(n, field, "must be a text, not %s", describe(n))
	case placeholderProblem(field, n.Value) != "":
		w.at(n, field, "%s", placeholderProblem(field, n.Value))
	default:
		return n.Value
	}
	return ""
}

// metadata reads what places the object.
func (d *document) metadata(w *walker, e *envelope) {
	if e.metadata == nil {
		return
	}
	if e.metadata.Kind != yaml.MappingNode {
		w.at(e.metadata, "metadata", "must be an object, not %s", describe(e.metadata))
		return
	}
	for _, p := range w.pairs(e.metadata, "metadata", 0) {
		i := slices.IndexFunc(metadataKeys, func(k string) bool { return strings.EqualFold(k, p.name) })
		if i < 0 {
			e.strange = append(e.strange, pair{key: p.key, name: "metadata." + p.name, value: p.value})
			continue
		}
		key, value := metadataKeys[i], p.value
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch key {
		case "labels":
			e.labels = d.texts(w, value, "metadata.labels")
		case "annotations":
			e.annotations = d.texts(w, value, "metadata.annotations")
		case "uid", "generation", "creationTimestamp", "deletionTimestamp", "finalizers", "ownerReferences", "managedFields", "selfLink", "generateName":
		case "resourceVersion":
			e.meta[key] = text{value.Value, value.Line}
		default:
			if !isNull(value) {
				e.meta[key] = text{d.word(w, value, "metadata."+key), value.Line}
			}
		}
	}
}

// texts reads an object of texts.
func (d *document) texts(w *walker, n *yaml.Node, field string) map[string]text {
	if isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		w.at(n, field, "must be an object with keys of your choice, not %s", describe(n))
		return nil
	}
	all := map[string]text{}
	for _, p := range w.pairs(n, field, 0) {
		value := p.value
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" {
			w.at(value, mapPath(field, p.name), "must be a text, not %s; quote it", describe(value))
			continue
		}
		all[p.name] = text{value.Value, value.Line}
	}
	return all
}

// kind finds the kind of an object, or the command that applies it; neither when that is a problem.
func (d *document) kind(w *walker, e *envelope) (kind *Kind, foreign string) {
	kinds := byEnvelope(e.apiVersion, e.kind)
	if len(kinds) > 0 && !kinds[0].Istio() {
		return d.owned(e, kinds), ""
	}
	line := e.root.Line
	if e.apiVersion == "" || e.kind == "" {
		if !d.reported("apiVersion", "kind") {
			d.missingKind(line, e)
		}
		return nil, ""
	}
	group, _, _ := strings.Cut(e.apiVersion, "/")
	if strings.HasSuffix(group, ".istio.io") && d.direct(e) {
		return d.directKind(line, e, kinds), ""
	}
	if group != "tsb.tetrate.io" && !strings.HasSuffix(group, ".tsb.tetrate.io") {
		if near := didYouMean(e.apiVersion, apiVersions()); near != "" {
			d.problem(line, "apiVersion", "there is no API version %q; did you mean %q?", e.apiVersion, near)
			return nil, ""
		}
		return nil, "kubectl apply"
	}
	d.unknownKind(line, e)
	return nil, ""
}

// owned is the kind of a name below the owner that the object names.
func (d *document) owned(e *envelope, kinds []*Kind) *Kind {
	if given, _ := d.givenFQN(e); given.value != "" {
		if _, of, err := ParseFQN(given.value); err == nil && slices.Contains(kinds, of) {
			return of
		}
	}
	return Nearest(kinds, func(owner *Kind) bool {
		value, _, _ := e.name(owner, false)
		return value != ""
	})
}

// reported says whether there is a problem with one of the fields already.
func (d *document) reported(fields ...string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return slices.Contains(fields, p.Field) })
}

// missingKind says what is missing and, where it can be told, what to write.
func (d *document) missingKind(line int, e *envelope) {
	if e.kind == "" && e.apiVersion == "" {
		d.problem(line, "", "has no apiVersion and no kind")
		return
	}
	if e.kind == "" {
		d.problem(line, "kind", "is missing")
		return
	}
	var names []string
	for _, k := range Kinds {
		if k.Name == e.kind && !slices.Contains(names, k.APIVersion) {
			names = append(names, k.APIVersion)
		}
	}
	if len(names) > 0 {
		d.problem(line, "apiVersion", "is missing: for kind %s it is %s", e.kind, strings.Join(names, " or "))
		return
	}
	d.problem(line, "apiVersion", "is missing")
}

// direct says whether annotations, labels or keys of metadata place an object of Istio's in a group.
func (d *document) direct(e *envelope) bool {
	for _, texts := range []map[string]text{e.annotations, e.labels} {
		for k := range texts {
			if strings.HasPrefix(k, annotationPrefix) && k != annotationPrefix+"etag" {
				return true
			}
		}
	}
	return e.meta["organization"].value != "" || e.meta["fqn"].value != ""
}

func (d *document) unknownKind(line int, e *envelope) {
	var elsewhere, names []string
	for _, k := range Kinds {
		if k.Name == e.kind && !slices.Contains(elsewhere, k.APIVersion) {
			elsewhere = append(elsewhere, k.APIVersion)
		}
		if k.APIVersion == e.apiVersion || k.APIVersion == coreV2 && e.apiVersion == coreGitOpsV2 {
			names = append(names, k.Name)
		}
	}
	near, version := didYouMean(e.kind, names), didYouMean(e.apiVersion, apiVersions())
	switch {
	case len(names) == 0 && version != "" && laterKinds[e.apiVersion] == "":
		d.problem(line, "apiVersion", "there is no API version %q; did you mean %q?", e.apiVersion, version)
	case laterKind(e.apiVersion, e.kind):
		d.problem(line, "kind", "%s is not supported by this version", e.kind)
	case near != "":
		d.problem(line, "kind", "there is no kind %q in %s; did you mean %q?", e.kind, e.apiVersion, near)
	case len(elsewhere) > 0:
		d.problem(line, "apiVersion", "there is no kind %s in %s; it is in %s", e.kind, e.apiVersion, strings.Join(elsewhere, " and "))
	case len(names) == 0:
		d.problem(line, "apiVersion", "there is no API version %q; there are %s", e.apiVersion, strings.Join(apiVersions(), ", "))
	default:
		d.problem(line, "kind", "there is no kind %q in %s; there are %s", e.kind, e.apiVersion, strings.Join(names, ", "))
	}
}

func apiVersions() []string {
	var all []string
	for _, k := range Kinds {
		if !k.Istio() {
			all = append(all, k.APIVersion)
		}
	}
	all = append(all, coreGitOpsV2)
	slices.Sort(all)
	return slices.Compact(all)
}

// laterKind says whether the API has a kind that is not in Kinds yet.
func laterKind(apiVersion, kind string) bool {
	if apiVersion == coreGitOpsV2 {
		apiVersion = coreV2
	}
	return slices.Contains(strings.Fields(laterKinds[apiVersion]), kind)
}

// laterKinds are the kinds of the API that are not in Kinds yet.
var laterKinds = map[string]string{
	coreV2:                          "OrganizationSetting TenantSetting ClusterOnboardingConfig Team ServiceAccount ResourceStatus",
	gatewayV2:                       "Tier1Gateway EgressGateway Gateway SharedGatewayReferenceGrant InstallGateway",
	"traffic.tsb.tetrate.io/v2":     "Group TrafficSetting ServiceRoute",
	"application.tsb.tetrate.io/v2": "Application API",
	"rbac.tsb.tetrate.io/v2": "Role AccessBindings OrganizationAccessBindings TenantAccessBindings WorkspaceAccessBindings " +
		"GatewayAccessBindings TrafficAccessBindings SecurityAccessBindings IstioInternalAccessBindings ApplicationAccessBindings APIAccessBindings",
	"extension.tsb.tetrate.io/v2": "WasmExtension",
}

// strangeKeys reports keys that stand beside metadata and spec, or in metadata, and do not belong there. It says
// whether they look like a document whose indentation is lost.
func (d *document) strangeKeys(w *walker, e *envelope, kind *Kind) (allLost bool) {
	desc := kind.Spec().ProtoReflect().Descriptor()
	for _, p := range e.strange {
		key, inMetadata := strings.CutPrefix(p.name, "metadata.")
		near := didYouMean(key, []string{"apiVersion", "kind", "metadata", "spec"})
		if inMetadata {
			near = didYouMean(key, metadataKeys)
		}
		hint, below := "", find(desc, "spec", key, p.value, 6)
		lost := (e.metadata == nil || e.spec == nil) && !inMetadata
		switch {
		case !inMetadata && (key == "name" || slices.Contains(metadataKeys, key) && !hasField(desc, key, nil)):
			hint = "; it belongs to metadata, more indented"
			d.meant = append(d.meant, "metadata."+key)
		case hasField(desc, key, nil):
			hint = "; it belongs to spec"
			d.meant = append(d.meant, "spec."+key)
		case near != "":
			hint, lost = fmt.Sprintf("; did you mean %q?", near), false
			if inMetadata {
				d.meant = append(d.meant, "metadata."+near)
			}
		case below != "":
			hint = "; it belongs to " + below
			d.meant = append(d.meant, below+"."+key)
		default:
			lost = false
		}
		if lost {
			hint += " (is the indentation lost?)"
			allLost = true
		}
		where := "beside metadata and spec"
		if inMetadata {
			where = "in metadata"
		}
		w.at(p.key, p.name, "there is no field %q %s%s", key, where, hint)
	}
	return allLost
}
