package istio

import (
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/structpb"

	"isthmus.dev/isthmus/internal/intent"
)

// rulesFilter decides by the claims of tokens, methods and paths. A filter without rules lets everything pass, so the
// rules are what the virtual host says.
func rulesFilter(r *intent.AccessRules, suffix string) httpFilter {
	policies := make(map[string]*structpb.Value, len(r.Rules))
	for i := range r.Rules {
		rule := &r.Rules[i]
		var from, to []*structpb.Value
		for _, c := range rule.From {
			from = append(from, claimsPrincipal(c))
		}
		for i := range rule.To {
			to = append(to, operationPermission(&rule.To[i]))
		}
		policies[strconv.Itoa(i)+"-"+rule.Name] = nested("principals", anyOf(from), "permissions", anyOf(to))
	}
	const message = "extensions.filters.http.rbac.v3."
	rules := nested("action", text("ALLOW"), "policies", structpb.NewStructValue(&structpb.Struct{Fields: policies}))
	return httpFilter{
		name:   "isthmus.rules" + suffix,
		config: typed(message + "RBAC"),
		host:   typed(message+"RBACPerRoute", "rbac", nested("rules", rules)),
		always: typed(message+"RBAC", "rules", rules),
	}
}

// anyOf is a list of alternatives; an empty one matches all.
func anyOf(alternatives []*structpb.Value) *structpb.Value {
	if len(alternatives) == 0 {
		return list(nested("any", yes()))
	}
	return list(alternatives...)
}

// claimsPrincipal matches a caller whose token has all claims.
func claimsPrincipal(c intent.Claims) *structpb.Value {
	ids := []*structpb.Value{claimPresent()}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		value := nested("string_match", nested("exact", text(c[name])))
		ids = append(ids, nested("metadata", nested(
			"filter", text("envoy.filters.http.jwt_authn"),
			"path", list(nested("key", text(payload)), nested("key", text(name))),
			"value", nested("or_match", nested("value_matchers", list(value, nested("list_match", nested("one_of", value))))),
		)))
	}
	return nested("and_ids", nested("ids", list(ids...)))
}

// claimPresent matches a caller who has a token at all.
func claimPresent() *structpb.Value {
	return nested("metadata", nested(
		"filter", text("envoy.filters.http.jwt_authn"),
		"path", list(nested("key", text(payload)), nested("key", text("iss"))),
		"value", nested("present_match", yes()),
	))
}

// operationPermission matches requests with one of the methods and one of the paths.
func operationPermission(o *intent.Operation) *structpb.Value {
	var parts, methods, paths []*structpb.Value
	for _, m := range o.Methods {
		methods = append(methods, nested("header", nested("name", text(":method"), "string_match", nested("exact", text(m)))))
	}
	for _, p := range o.Paths {
		paths = append(paths, nested("url_path", nested("path", glob(p))))
	}
	for _, alternatives := range [][]*structpb.Value{methods, paths} {
		if len(alternatives) > 0 {
			parts = append(parts, nested("or_rules", nested("rules", list(alternatives...))))
		}
	}
	if len(parts) == 0 {
		return nested("any", yes())
	}
	return nested("and_rules", nested("rules", list(parts...)))
}
