// Package ratelimit is the service that counts requests for all gateways of a cluster, so that a limit is one limit however
// many pods a gateway has, and survives the restart of any of them. It answers Envoy's own question, ShouldRateLimit.
//
// It is configured by nobody: each rule travels with the request, in the entries of a descriptor (see read). What counts is pure
// (Table, which is told the time); Service is the rim that speaks gRPC, and Run the program.
//
// The promise: of the requests that a descriptor describes, at most n are let through in each window of its unit. Windows
// are aligned to the unit: a minute begins at second 0, a day at midnight UTC. A request that is refused by one descriptor
// counts in none, so that what one caller sends too much takes nothing from the others. Counters live in memory, and
// there is a number of them that is never exceeded; Table says what happens then.
package ratelimit
