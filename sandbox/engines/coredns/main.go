// Command coredns is CoreDNS with the few plugins that a cluster's name
// server needs.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// The plugins register themselves.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// directives orders the plugins; a query passes them from top to bottom.
func directives() []string {
	return []string{"reload", "errors", "health", "ready", "cache", "hosts", "kubernetes", "forward"}
}

func main() {
	dnsserver.Directives = directives()
	coremain.Run()
}
