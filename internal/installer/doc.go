// Package installer turns the resources of install.tetrate.io into running gateways.
//
// render decides, without any I/O, which objects a resource asks for. differs decides whether a live object is still
// as rendered. What remains is a loop that reads, writes the difference, and says on the resource what came of it. It
// writes only when something changed, never takes over what somebody else made, and needs no server.
package installer
