// Package compile derives from a snapshot what it means, cluster by cluster, and what has to be said about each resource.
//
// It is a fixed list of layers. A layer is a set of units - a resource, a gateway in a cluster, a host - each derived by one function
// that reads the snapshot and the layers below through Reads, and nothing else: no clock, no randomness, no map order.
// What a unit read decides when it is derived again, so that the work of a change is what the change touches; what it
// publishes is compared with what it published before, so that a change which makes no difference stops there. A full
// run is the same code with every unit born.
package compile
