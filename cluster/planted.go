//go:build planted

package cluster

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/internal/planted"
)

// heartbeats wakes those who wait for the next heartbeat on the fast path. mu guards
// next.
//
//nolint:gochecknoglobals // of a program that is wrong on purpose
var heartbeats struct {
	mu   sync.Mutex
	next chan struct{}
}

func nextHeartbeat() <-chan struct{} {
	heartbeats.mu.Lock()
	defer heartbeats.mu.Unlock()
	if heartbeats.next == nil {
		heartbeats.next = make(chan struct{})
	}
	return heartbeats.next
}

// plantedFastPath switches raft's fast path on, where that fault is switched on.
func (t *transport) plantedFastPath(fast func(raft.RPC)) {
	if !planted.On(planted.HeartbeatFastPath) {
		return
	}
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		fast(rpc)
		heartbeats.mu.Lock()
		defer heartbeats.mu.Unlock()
		if heartbeats.next != nil {
			close(heartbeats.next)
		}
		heartbeats.next = nil
	})
}

// plantedPause holds one write in three back, as the scheduler of a busy machine may,
// until a heartbeat has deposed this node or three seconds have passed: the schedule on
// which the fast path is wrong.
func (n *Node) plantedPause() {
	if !planted.On(planted.HeartbeatFastPath) || rand.IntN(3) > 0 {
		return
	}
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	for n.isLeader() {
		select {
		case <-nextHeartbeat():
		case <-timer.C:
			return
		}
	}
}
