//go:build !planted

package rpc

import "quicproquo/fsm"

// See planted.go and package planted: without the tag these are nothing.
func (c *call) plantedAck([]byte) (fsm.Result, bool) { return fsm.Result{}, false }

func (c *call) plantedStale() bool { return false }
