package resource

import gatewayv2 "isthmus.dev/isthmus/api/tsb/gateway/v2"

// tier1 checks what the annotations cannot say about a gateway in front of clusters.
func (c *checker) tier1(g *gatewayv2.Tier1Gateway) {
	// One name may stand in a list of external servers and in one of internal ones: both are often the same host.
	internal := func(l listener) listener {
		l.scope = "internal"
		return l.within()
	}
	var all []listener
	for i, s := range g.GetExternalServers() {
		path := "spec.externalServers[" + itoa(i) + "]"
		all = append(all, listen(path, s, s.GetTls(), plainHTTP, https))
		c.clusters(s.GetClusters(), path+".clusters")
		c.redirect(s.GetRedirect(), path+".redirect")
		if s.GetRedirect() != nil && len(s.GetClusters()) > 0 {
			c.at(path+".redirect", "excludes clusters: requests are either redirected or sent to clusters")
		}
		c.authentication(s.GetAuthentication(), path+".authentication")
	}
	for i, s := range g.GetInternalServers() {
		path := "spec.internalServers[" + itoa(i) + "]"
		all = append(all, internal(listen(path, s, nil, plainHTTP, https)))
		c.clusters(s.GetClusters(), path+".clusters")
		c.authentication(s.GetAuthentication(), path+".authentication")
	}
	for i, s := range g.GetPassthroughServers() {
		path := "spec.passthroughServers[" + itoa(i) + "]"
		all = append(all, listen(path, s, nil, passthrough, passthrough))
		c.clusters(s.GetClusters(), path+".clusters")
	}
	for i, s := range g.GetTcpExternalServers() {
		path := "spec.tcpExternalServers[" + itoa(i) + "]"
		all = append(all, listen(path, s, s.GetTls(), plainTCP, tcpWithTLS))
		c.clusters(s.GetClusters(), path+".clusters")
	}
	for i, s := range g.GetTcpInternalServers() {
		path := "spec.tcpInternalServers[" + itoa(i) + "]"
		all = append(all, internal(listen(path, s, nil, plainTCP, tcpWithTLS)))
		c.clusters(s.GetClusters(), path+".clusters")
	}
	c.listeners(all)
	c.terminatedOnce(all)
}

// clusters checks to which clusters requests go, and in which shares.
func (c *checker) clusters(list []*gatewayv2.ClusterDestination, path string) {
	seen := map[string]string{}
	for i, d := range list {
		at := path + "[" + itoa(i) + "]"
		switch name := d.GetName(); {
		case name == "" && len(d.GetLabels()) == 0 && d.GetNetwork() == "":
			c.at(at, "says nothing: set name, labels or network")
		case name != "" && len(d.GetLabels()) > 0:
			c.at(at+".labels", "excludes name: a destination is one cluster, or all that have the labels")
		case name != "" && !dnsLabel.MatchString(name):
			c.at(at+".name", "%q is not the name of a cluster", name)
		case name != "" && seen[name] != "":
			c.at(at+".name", "%q is also in %s", name, seen[name])
		default:
			seen[name] = at
		}
		c.labels(d.GetLabels(), at+".labels")
		if !labelValue.MatchString(d.GetNetwork()) {
			c.at(at+".network", "%q is not a label value of Kubernetes", d.GetNetwork())
		}
	}
	c.weights(list, path)
}

// weights are given for all destinations or for none; all of them 0 means none.
func (c *checker) weights(list []*gatewayv2.ClusterDestination, path string) {
	sum, given := uint32(0), 0
	for _, d := range list {
		sum += d.GetWeight()
		if d.Weight != nil {
			given++
		}
	}
	if sum == 0 {
		return
	}
	for i, d := range list {
		if d.Weight == nil {
			c.at(path+"["+itoa(i)+"].weight", "is missing: weights are given for all clusters or for none")
		}
	}
	if given == len(list) && sum != 100 {
		c.at(path, "the weights add up to %d, not to 100", sum)
	}
}
