package compile

import (
	"pgregory.net/rapid"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	securityv2 "isthmus.dev/isthmus/api/tsb/security/v2"
	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const (
	securityKind        = "security.tsb.tetrate.io/v2/Group"
	securitySettingKind = "security.tsb.tetrate.io/v2/SecuritySetting"
	serviceSettingKind  = "security.tsb.tetrate.io/v2/ServiceSecuritySetting"

	testDomain = "organizations/o/securitydomains/d"
)

func securityFQN(t *rapid.T) resource.FQN {
	return workspaceFQN(t).Child("securitygroups", one(t, "security", "s1", "s1", "s2"))
}

func drawSecurity(t *rapid.T) edit {
	switch one(t, "part", "group", "setting", "setting", "service", "default") {
	case "service":
		ns := one(t, "in", "a", "b")
		return testResource(serviceSettingKind, securityFQN(t).Child("servicesettings", one(t, "setting", "s1", "s2")), &securityv2.ServiceSecuritySetting{
			Service: ns + "/" + one(t, "service", "svc", "svc", "gw") + "." + ns + ".svc.cluster.local", Settings: drawProtection(t),
		})
	case "group":
		return testResource(securityKind, securityFQN(t), &securityv2.Group{
			NamespaceSelector: drawPatterns(t), ConfigGenerationMetadata: drawMetadata(t), SecurityDomain: one(t, "domain", "", "", testDomain), Profiles: drawProfiles(t),
			ConfigMode: one(t, "mode", typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_BRIDGED, typesv2.ConfigMode_DIRECT),
		})
	case "setting":
		return testResource(securitySettingKind, securityFQN(t).Child("settings", one(t, "setting", "s1", "s2")), drawProtection(t))
	}
	tenant := testOrg.Child("tenants", "t")
	switch one(t, "level", "organization", "tenant", "workspace", "workspace") {
	case "organization":
		return testResource("api.tsb.tetrate.io/v2/OrganizationSetting", testOrg.Child("settings", one(t, "setting", "s1", "s2")), &tsbv2.OrganizationSetting{DefaultSecuritySetting: drawProtection(t)})
	case "tenant":
		return testResource("api.tsb.tetrate.io/v2/TenantSetting", tenant.Child("settings", one(t, "setting", "s1", "s2")), &tsbv2.TenantSetting{DefaultSecuritySetting: drawProtection(t)})
	}
	return testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", workspaceFQN(t).Child("settings", one(t, "setting", "s1", "s2")), &tsbv2.WorkspaceSetting{DefaultSecuritySetting: drawProtection(t)})
}

func drawProtection(t *rapid.T) *securityv2.SecuritySetting {
	s := &securityv2.SecuritySetting{ConfigGenerationMetadata: drawMetadata(t), Extension: drawAttachments(t)}
	if mode := one(t, "mtls", 0, 1, 2); mode > 0 {
		s.AuthenticationSettings = &securityv2.AuthenticationSettings{TrafficMode: securityv2.AuthenticationSettings_TrafficMode(mode)}
	}
	if one(t, "stricter", true, false) {
		s.PropagationStrategy = securityv2.SecuritySetting_STRICTER
	}
	if a := drawAuthentication(t); a != nil && one(t, "tokens", true, false) {
		s.AuthenticationSettings = &securityv2.AuthenticationSettings{Http: a}
	}
	if one(t, "firewall", true, false, false, false, false) {
		s.Waf = &typesv2.WAF{Rules: []string{"SecRuleEngine On"}}
	}
	mode := securityv2.AuthorizationSettings_Mode(one(t, "mode", 0, 1, 2, 3, 4, 5, 6, 7, 7))
	s.Authorization = &securityv2.AuthorizationSettings{Mode: mode}
	if one(t, "asked", true, false) {
		s.Authorization.Http = drawAuthorization(t)
	}
	switch mode {
	case securityv2.AuthorizationSettings_CUSTOM:
		s.Authorization.ServiceAccounts = []string{one(t, "account", "./*", "./x", "a/*"), "b/x"}
	case securityv2.AuthorizationSettings_RULES:
		name := func() *securityv2.AuthorizationSettings_Target {
			return &securityv2.AuthorizationSettings_Target{Fqn: one(t, "who", string(workspaceFQN(t)), string(securityFQN(t)), testDomain)}
		}
		rules := []*securityv2.AuthorizationSettings_Rule{{From: name(), To: name()}}
		s.Authorization.Rules = &securityv2.AuthorizationSettings_Rules{Allow: rules}
		if one(t, "deny", true, false) {
			s.Authorization.Rules = &securityv2.AuthorizationSettings_Rules{Deny: rules}
		}
	}
	return s
}

// goodSecurity protects the services of one namespace by a group, and those of another by the workspace, whose callers are all
// sorts of others.
func goodSecurity(workspace resource.FQN) []edit {
	group := workspace.Child("securitygroups", "s1")
	rule := func(from, to resource.FQN) *securityv2.AuthorizationSettings_Rule {
		return &securityv2.AuthorizationSettings_Rule{From: &securityv2.AuthorizationSettings_Target{Fqn: string(from)}, To: &securityv2.AuthorizationSettings_Target{Fqn: string(to)}}
	}
	rules := func(rules ...*securityv2.AuthorizationSettings_Rule) *securityv2.SecuritySetting {
		return &securityv2.SecuritySetting{Authorization: &securityv2.AuthorizationSettings{Mode: securityv2.AuthorizationSettings_RULES, Rules: &securityv2.AuthorizationSettings_Rules{Allow: rules}}}
	}
	asked := rules(rule(group, workspace), rule(testDomain, workspace))
	asked.AuthenticationSettings = &securityv2.AuthenticationSettings{Http: read[typesv2.Authentication](authentications[5])}
	asked.Extension = []*typesv2.WasmAttachment{{Fqn: string(testExtension)}}
	asked.Authorization.Http = read[typesv2.Authorization](authorizations[4])
	edits := []edit{
		testResource(securityKind, group, &securityv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: []string{"*/a"}}}),
		testResource(securitySettingKind, group.Child("settings", "s1"), rules(rule(workspace, group), rule(testDomain, group), rule(group, testDomain))),
		testResource("api.tsb.tetrate.io/v2/WorkspaceSetting", workspace.Child("settings", "s1"), &tsbv2.WorkspaceSetting{
			DefaultSecuritySetting: asked,
		}),
		testResource(serviceSettingKind, group.Child("servicesettings", "s1"), &securityv2.ServiceSecuritySetting{
			Service: "a/svc.a.svc.cluster.local", Settings: rules(rule(workspace, workspace)),
		}),
		{store.ResourceKey(group.Child("servicesettings", "s2")), nil},
		{store.ResourceKey(group.Child("settings", "s2")), nil},
		{store.ResourceKey(workspace.Child("settings", "s2")), nil},
		{store.ResourceKey(workspace.Child("securitygroups", "s2")), nil},
		{store.ResourceKey(workspace.Child("securitygroups", "s0")), nil},
	}
	for _, owner := range []resource.FQN{testOrg, workspace.Parent()} {
		edits = append(edits, edit{store.ResourceKey(owner.Child("settings", "s1")), nil}, edit{store.ResourceKey(owner.Child("settings", "s2")), nil})
	}
	return edits
}

// securityProbes are steps that the random walk rarely takes.
func securityProbes() [][][]edit {
	tenant := testOrg.Child("tenants", "t")
	workspace := tenant.Child("workspaces", "w1")
	before, group, second := workspace.Child("securitygroups", "s0"), workspace.Child("securitygroups", "s1"), workspace.Child("securitygroups", "s2")
	owned := &typesv2.NamespaceSelector{Names: []string{"*/a", "*/b"}}
	domain := func(d string) []edit {
		return []edit{testResource("api.tsb.tetrate.io/v2/Tenant", tenant, &tsbv2.Tenant{SecurityDomain: d})}
	}
	grouped := func(fqn resource.FQN, d string, names ...string) []edit {
		return []edit{testResource(securityKind, fqn, &securityv2.Group{NamespaceSelector: &typesv2.NamespaceSelector{Names: names}, SecurityDomain: d})}
	}
	setting := func(owner resource.FQN, kind string) []edit {
		s := &securityv2.SecuritySetting{Authentication: securityv2.SecuritySetting_REQUIRED}
		switch kind {
		case "OrganizationSetting":
			return []edit{testResource("api.tsb.tetrate.io/v2/"+kind, owner.Child("settings", "s0"), &tsbv2.OrganizationSetting{DefaultSecuritySetting: s})}
		case "TenantSetting":
			return []edit{testResource("api.tsb.tetrate.io/v2/"+kind, owner.Child("settings", "s0"), &tsbv2.TenantSetting{DefaultSecuritySetting: s})}
		}
		return []edit{testResource(securitySettingKind, owner.Child("settings", "s0"), s)}
	}
	third := testResource("api.tsb.tetrate.io/v2/Cluster", testOrg.Child("clusters", "c3"), &tsbv2.Cluster{})
	service := func(selector map[string]string) []edit {
		return []edit{{store.FactKey("c1", "service/a/svc"), &isthmusv1.Fact{Id: "service/a/svc", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{Namespace: "a", Name: "svc", Selector: selector}}}}}
	}
	serviceSetting := func(name string) []edit {
		return []edit{testResource(serviceSettingKind, group.Child("servicesettings", name), &securityv2.ServiceSecuritySetting{
			Service: "a/svc.a.svc.cluster.local", Settings: &securityv2.SecuritySetting{Authentication: securityv2.SecuritySetting_REQUIRED},
		})}
	}
	gone := func(key store.Key) []edit { return []edit{{key, nil}} }
	return [][][]edit{
		{domain(testDomain), grouped(second, "", "*/b"), grouped(second, "organizations/o/securitydomains/e", "*/b"), grouped(second, testDomain, "*/b"), domain("")},
		{{testResource("api.tsb.tetrate.io/v2/Workspace", workspace, &tsbv2.Workspace{NamespaceSelector: owned, SecurityDomain: testDomain})}},
		{grouped(group, testDomain, "*/a"), grouped(group, "", "*/a", "*/b")},
		{grouped(before, "", "*/a*"), grouped(before, "", "*/a"), gone(store.ResourceKey(before))},
		{setting(testOrg, "OrganizationSetting"), setting(tenant, "TenantSetting"), setting(group, ""), gone(store.ResourceKey(group.Child("settings", "s0"))), gone(store.ResourceKey(testOrg.Child("settings", "s0"))), gone(store.ResourceKey(tenant.Child("settings", "s0")))},
		{gone(store.FactKey("c1", "workload/a/gw"))},
		{
			append(goodFacts("c3"), testResource(securitySettingKind, group.Child("settings", "s1"), &securityv2.SecuritySetting{
				Authorization: &securityv2.AuthorizationSettings{Mode: securityv2.AuthorizationSettings_NAMESPACE},
			})),
			{third}, {{store.FactKey("c3", "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{TrustDomain: "other"}}}}},
			{{third.key, nil}},
		},
		{
			append(setting(group, ""), edit{store.ResourceKey(workspace.Child("settings", "s1")), nil}, edit{store.FactKey("c3", "mesh//"), nil}),
			{third}, goodFacts("c3"), {{third.key, nil}}, gone(store.ResourceKey(group.Child("settings", "s0"))),
		},
		{service(map[string]string{"app": "x"}), gone(store.FactKey("c1", "workload/a/gw")), service(nil), gone(store.FactKey("c1", "service/a/svc")), gone(store.FactKey("c2", "service/a/svc"))},
		{
			{{store.FactKey("c1", "service/a/gw"), &isthmusv1.Fact{Id: "service/a/gw", Fact: &isthmusv1.Fact_Service{Service: &isthmusv1.Service{Namespace: "a", Name: "gw", Selector: map[string]string{"app": "svc", "x": "y"}}}}}},
			{testResource(serviceSettingKind, group.Child("servicesettings", "s2"), &securityv2.ServiceSecuritySetting{Service: "a/gw.a.svc.cluster.local", Settings: &securityv2.SecuritySetting{}})},
			service(map[string]string{"g": "1", "x": "y"}), gone(store.FactKey("c1", "service/a/gw")), gone(store.ResourceKey(group.Child("servicesettings", "s2"))),
		},
		{serviceSetting("s0"), gone(store.ResourceKey(group.Child("servicesettings", "s0"))), grouped(before, "", "*/a")},
		{gone(store.FactKey("c1", "namespace//b")), gone(store.FactKey("c2", "mesh//"))},
		{gone(store.ResourceKey(group)), gone(store.ResourceKey(workspace.Child("settings", "s1")))},
		{{{store.FactKey("c2", "mesh//"), &isthmusv1.Fact{Id: "mesh//", Fact: &isthmusv1.Fact_Mesh{Mesh: &isthmusv1.Mesh{TrustDomain: "other"}}}}}},
	}
}
