// Package server is the door of the management plane: gRPC, gRPC-Web, JSON and REST on one TLS port, the credentials
// of people and edges, and the one place where errors become codes.
//
// Every request goes the same way: credentials → a caller, the caller → authz.Allow, the text → resource.Check, and only
// then the store. REST is a thin coat over the same handlers.
package server
