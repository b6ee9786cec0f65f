//go:build !planted

package cluster

import "github.com/hashicorp/raft"

// See planted.go and package planted: without the tag these are nothing.
func (*transport) plantedFastPath(func(raft.RPC)) {}

func (*Node) plantedPause() {}
