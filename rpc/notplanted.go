//go:build !planted

package rpc

import "quicproquo/fsm"

// See planted.go and package planted: without the tag these are nothing.
func (c *call) plantedAck([]byte) (fsm.Result, bool) { return fsm.Result{}, false }

func (c *call) plantedStale() bool { return false }

func (c *call) plantedSession(_ tokenHash, s fsm.Session, ok bool) (fsm.Session, bool) { return s, ok }

func (c *call) plantedForget() bool { return false }

func (p *pool) plantedShares() bool { return false }
