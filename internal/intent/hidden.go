package intent

import "isthmus.dev/isthmus/internal/resource"

// Hidden are the global hosts that services of a workspace do not call in a cluster: whoever tries gets no answer from them.
type Hidden struct {
	// Setting says so.
	Setting   resource.FQN
	Workspace string
	// Name is unique among workspaces.
	Name string
	// Namespaces of the workspace in the cluster, sorted.
	Namespaces []string
	Hosts      []HiddenHost
}

// HiddenHost is one of them, with the ports on which others call it.
type HiddenHost struct {
	Host  string
	Ports []HostPort
}
