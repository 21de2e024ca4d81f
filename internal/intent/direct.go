package intent

import "google.golang.org/protobuf/proto"

// DirectObject is an object in one cluster that a user has written as it is.
type DirectObject struct {
	Key              GatewayKey
	Workspace, Group string
	APIVersion, Kind string
	Namespace, Name  string
	Metadata         Metadata
	// Spec belongs to the resource; nobody writes to it.
	Spec proto.Message
	// Called are the hosts of a Gateway, bound to namespaces as they are there, that callers within the mesh reach by a server that the
	// specification does not have.
	Called []string
}
