// Package netns gives each node of a cluster of processes a host of its own: a network
// namespace with one address, on a bridge that they share with a host for the clients.
// What faults do to whole packets is done by the receiver's kernel (nftables: cut, loss,
// length); delays, copies and bits that change, by the sender's socket, in its process.
//
// The namespaces have no names. They last as long as this process and the nodes'.
package netns

import "errors"

// ErrNotHere means that this machine can't have such hosts.
var ErrNotHere = errors.New("hosts in network namespaces need Linux, root, bridges and nftables")
