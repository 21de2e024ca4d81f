package compile

import (
	"regexp"
	"strings"

	typesv2 "isthmus.dev/isthmus/api/tsb/types/v2"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/intent"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

const intentHidden = "u/intent/hidden/"

// hiddenLayer finds the global hosts that the services of a workspace are not to call.
func hiddenLayer() *layer {
	return &layer{
		name: "hidden",
		unitOf: func(key string) string {
			if fqn := store.Key(key).FQN(); fqn.Plural() == "settings" && fqn.Parent().Plural() == "workspaces" {
				return string(fqn.Parent())
			}
			return ""
		},
		root:   func(unit string) string { return string(store.ChildPrefix(resource.FQN(unit), "settings")) },
		derive: deriveHidden,
	}
}

func deriveHidden(r *Reads, unit string, out *output) {
	workspace := resource.FQN(unit)
	setting, hostnames := reachableHosts(r, workspace, out)
	owned := scopeOf(r, workspace)
	if setting == "" || owned == nil {
		return
	}
	hosts, used := hiddenFrom(r, hostnames)
	for i, there := range used {
		if !there {
			out.say(setting, no(reasonNoEffect, "hostsReachability.hostnames["+itoa(i)+"]", "No gateway exposes a host that matches."))
		}
	}
	if len(hosts) == 0 {
		return
	}
	for cluster := range clustersOf(r, workspace) {
		if namespaces := owned.namespaces(r, cluster); len(namespaces) > 0 {
			out.put(intentHidden+cluster+"/"+unit, &intent.Hidden{
				Setting: setting, Workspace: workspace.Name(), Name: workspace.Name() + "-" + shortHash(unit),
				Namespaces: namespaces, Hosts: hosts,
			})
		}
	}
}

// reachableHosts are what the settings of a workspace let it call, of the first in name order that says so; setting is empty when none does.
func reachableHosts(r *Reads, workspace resource.FQN, out *output) (setting resource.FQN, hostnames []*typesv2.StringMatch) {
	for _, v := range r.prefix(string(store.ChildPrefix(workspace, "settings"))) {
		res, _ := v.(*resource.Resource)
		if res == nil {
			continue
		}
		spec, _ := res.Spec.(*tsbv2.WorkspaceSetting)
		switch reach := spec.GetHostsReachability(); {
		case reach == nil:
		case setting != "":
			out.say(res.FQN, no(reasonNoEffect, "hostsReachability", "A workspace has one hostsReachability, and that of %q comes first.", setting))
		default:
			setting, hostnames = res.FQN, reach.GetHostnames()
		}
	}
	return setting, hostnames
}

// hiddenFrom are the global hosts that none of the names match, in order, and which of the names match any.
func hiddenFrom(r *Reads, names []*typesv2.StringMatch) (hosts []intent.HiddenHost, used []bool) {
	tests := make([]func(string) bool, len(names))
	for i, n := range names {
		tests[i] = hostTest(n)
	}
	used = make([]bool, len(names))
	byHost := map[string][]exposure{}
	var all []string
	for _, v := range r.prefix("u/expose/") {
		e := v.(exposure)
		if byHost[e.Host] == nil {
			all = append(all, e.Host)
		}
		byHost[e.Host] = append(byHost[e.Host], e)
	}
	for _, host := range all {
		reachable := false
		for i, matches := range tests {
			if matches(host) {
				reachable, used[i] = true, true
			}
		}
		if reachable {
			continue
		}
		h := intent.HiddenHost{Host: host}
		kind := kindOf(byHost[host])
		for _, e := range byHost[host] {
			if e.Kind == kind {
				h.Ports = mergePorts(h.Ports, hostPorts(e))
			}
		}
		hosts = append(hosts, h)
	}
	return hosts, used
}

// hostTest says whether a host matches.
func hostTest(m *typesv2.StringMatch) func(string) bool {
	switch {
	case m.GetPrefix() != "":
		return func(host string) bool { return strings.HasPrefix(host, strings.ToLower(m.GetPrefix())) }
	case m.GetRegex() != "":
		re, err := regexp.Compile("^(?:" + m.GetRegex() + ")$")
		if err != nil {
			return func(string) bool { return false } // which is refused at the door
		}
		return re.MatchString
	}
	return func(host string) bool { return host == strings.ToLower(m.GetExact()) }
}
