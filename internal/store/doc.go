// Package store keeps what users declare and what edges observe.
//
// It is written once, over a [Log]: a totally ordered list of commits in some database. A [DB] holds the whole
// state in memory as an immutable [Snapshot], and is the only writer of its process. Several DBs may share one
// database when its Log allows it; they then see the same commits in the same order.
//
// What is kept, and what others see of it:
//
//	resources      every change has a history: who, when, why, before, after
//	facts          what edges observe; the newest only
//	claims         who asked first for a hostname or a namespace
//	private values password hashes, signing keys: in no snapshot, no history, no list of changed keys
//	statuses       what became of a resource, and its last transitions; in no snapshot
package store
