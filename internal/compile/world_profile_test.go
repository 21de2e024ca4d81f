package compile

import (
	"pgregory.net/rapid"

	profilev2 "isthmus.dev/isthmus/api/tsb/profile/v2"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	trafficv2 "isthmus.dev/isthmus/api/tsb/traffic/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// profileSections are what profiles say; "" is nothing.
var profileSections = []string{
	``, ``,
	`{"authenticationSettings": {"trafficMode": "REQUIRED"}}`,
	`{"authenticationSettings": {"trafficMode": "OPTIONAL", "http": {}}}`,
	`{"authenticationSettings": {"http": {"requireJwt": true, "rules": {"jwt": [{"issuer": "i", "jwksUri": "http://keys.b.svc.cluster.local:81/k"}]}}}, "unsetFields": ["traffic.outbound"]}`,
	`{"wasmExtensions": [{"fqn": "organizations/o/extensions/e"}], "unsetFields": ["authenticationSettings.http"]}`,
	`{"wafSettings": {"rules": ["SecRuleEngine On"]}}`,
	`{"traffic": {"outbound": {"reachability": {"mode": "NAMESPACE"}, "egress": {"host": "a/gw.a.svc.cluster.local"}}}}`,
	`{"traffic": {"inbound": {"resilience": {"meshTimeout": {"maxConnectionDuration": "1s", "proxyType": "SIDECAR"}}}}, "unsetFields": ["traffic.outbound.reachability"]}`,
	`{"trafficSettings": {"reachability": {"mode": "GROUP"}, "upstreamTrafficSettings": [{"hosts": ["*"], "settings": {"resilience": {"circuitBreakerSensitivity": "LOW"}}}, {"hosts": ["h.test"], "settings": {"loadBalancer": {"simple": "RANDOM"}}}]}}`,
}

func drawSection(t *rapid.T) *profilev2.ProfileConfig {
	return read[profilev2.ProfileConfig](one(t, "section", profileSections...))
}

func profileResource(fqn resource.FQN, p *profilev2.Profile) edit {
	return testResource(fqn.Parent().Plural()+"/profile.tsb.tetrate.io/v2/Profile", fqn, p)
}

func drawProfile(t *rapid.T) edit {
	return profileResource(drawProfiled(t), &profilev2.Profile{Defaults: drawSection(t), Mandates: drawSection(t)})
}

// drawProfiled is the name of a profile.
func drawProfiled(t *rapid.T) resource.FQN {
	owner := one(t, "below", testOrg, testOrg.Child("tenants", "t"), testOrg.Child("tenants", "t").Child("workspaces", "w1"))
	return owner.Child("profiles", one(t, "profile", "p", "q"))
}

// drawProfiles are those that somebody attaches: perhaps one that stands elsewhere.
func drawProfiles(t *rapid.T) []string {
	var names []string
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "profiles") {
		names = append(names, string(drawProfiled(t)))
	}
	return names
}

// goodProfiles are there, say nothing, and are attached by nobody.
func goodProfiles(workspace resource.FQN) []edit {
	var edits []edit
	for _, owner := range []resource.FQN{testOrg, workspace.Parent(), workspace} {
		edits = append(edits, profileResource(owner.Child("profiles", "p"), &profilev2.Profile{}), edit{store.ResourceKey(owner.Child("profiles", "q")), nil})
	}
	return edits
}

// profileProbes are steps that matter to profiles.
func profileProbes() [][][]edit {
	tenant := testOrg.Child("tenants", "t")
	workspace := tenant.Child("workspaces", "w1")
	says := func(owner resource.FQN, section string) []edit {
		return []edit{profileResource(owner.Child("profiles", "p"), &profilev2.Profile{Mandates: read[profilev2.ProfileConfig](section)})}
	}
	attached := testResource("api.tsb.tetrate.io/v2/Organization", testOrg, &tsbv2.Organization{Profiles: []string{string(testOrg) + "/profiles/p"}})
	names := func(patterns ...string) *typesv2.NamespaceSelector {
		return &typesv2.NamespaceSelector{Names: patterns}
	}
	own := []string{string(workspace) + "/profiles/p"}
	security, traffic := workspace.Child("securitygroups", "s1"), workspace.Child("trafficgroups", "t1")
	return [][][]edit{
		{{attached}, says(testOrg, profileSections[2]), says(testOrg, profileSections[7]), says(testOrg, profileSections[6]), {{store.ResourceKey(testOrg.Child("profiles", "p")), nil}}},
		{
			{testResource("api.tsb.tetrate.io/v2/Tenant", tenant, &tsbv2.Tenant{Profiles: []string{string(testOrg) + "/profiles/p", string(tenant) + "/profiles/p"}})},
			says(tenant, profileSections[9]), says(testOrg, profileSections[8]),
		},
		{
			{testResource(securityKind, security, &securityv2.Group{NamespaceSelector: names("*/a"), Profiles: own})}, says(workspace, profileSections[4]), says(workspace, profileSections[5]),
			{testResource(trafficKind, traffic, &trafficv2.Group{NamespaceSelector: names("*/a"), Profiles: own})}, says(workspace, profileSections[9]),
			{testResource(securityKind, security, &securityv2.Group{NamespaceSelector: names("*/a"), Profiles: own, ConfigMode: typesv2.ConfigMode_DIRECT}), attached}, says(testOrg, profileSections[2]),
		},
	}
}
