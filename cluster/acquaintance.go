package cluster

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
)

// acquaintance keeps raft's streams to and from each other node closed until that node
// has said what it remembers of this one (remembered): only then may the two vote and
// acknowledge. A node whose log is empty and that was never a member waits for all of
// the first configuration: with a part of them it could form a cluster beside one that
// has data. Decision 0148.
type acquaintance struct {
	raft.StreamLayer

	node *Node
	// last is where this node's log ended when it was opened.
	last uint64

	wanted chan struct{}

	mu    sync.Mutex // guards the rest
	met   map[tlsid.NodeID]bool
	await map[tlsid.NodeID]bool // nobody is met until all of these are
}

// Times of meeting the others.
const (
	meetPause    = 25 * time.Millisecond
	maxMeetPause = time.Second
	meetPatience = 10 * time.Second // then a person is told who is waited for
)

// newAcquaintance begins with nobody. all are those whom a node without anything in its
// log waits for.
func (n *Node) newAcquaintance(layer raft.StreamLayer, last uint64, all []tlsid.NodeID) *acquaintance {
	a := &acquaintance{StreamLayer: layer, node: n, last: last, wanted: make(chan struct{}, 1), met: map[tlsid.NodeID]bool{}, await: map[tlsid.NodeID]bool{}}
	for _, id := range all {
		a.await[id] = true
	}
	return a
}

// Accept waits for a stream of a node that was met.
func (a *acquaintance) Accept() (net.Conn, error) {
	for {
		conn, err := a.StreamLayer.Accept()
		if err != nil || a.knows(tlsid.NodeID(conn.RemoteAddr().String())) {
			return conn, err
		}
		_ = conn.Close() // the caller tries again
	}
}

// Dial opens a stream to a node that was met.
func (a *acquaintance) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	if !a.knows(tlsid.NodeID(address)) {
		return nil, fmt.Errorf("%s has not said yet what it remembers of this node", address)
	}
	return a.StreamLayer.Dial(address, timeout)
}

func (a *acquaintance) knows(id tlsid.NodeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.met[id] && len(a.await) == 0
	if !known {
		select {
		case a.wanted <- struct{}{}:
		default:
		}
	}
	return known
}

// meetAll asks everybody who is a member, or becomes one, until the node closes. Once all
// are met it rests until raft wants somebody else.
func (a *acquaintance) meetAll() {
	began, told, all := time.Now(), false, false
	for pause := meetPause; a.rest(pause, all); pause = min(2*pause, maxMeetPause) {
		var asks sync.WaitGroup
		all = true
		for _, id := range a.node.others() {
			if !a.has(id) {
				all = false
				asks.Go(func() { a.meet(id) })
			}
		}
		asks.Wait()
		if waiting := a.waiting(); len(waiting) > 0 && !told && time.Since(began) > meetPatience {
			told = true
			a.node.log.Warn("this node has an empty log: it takes part once all nodes of the cluster have answered; "+
				"where one of them is lost for good, begin anew without it, or start this one with --join beside those that have data",
				"waits for", waiting)
		}
	}
}

// rest waits for a while, at least meetPause, or until somebody is wanted who was not
// met; for that alone when all are. It is false when the node closes.
func (a *acquaintance) rest(pause time.Duration, all bool) bool {
	if !a.node.pause(a.node.ctx, meetPause) {
		return false
	}
	var later <-chan time.Time
	if !all {
		timer := time.NewTimer(pause - meetPause)
		defer timer.Stop()
		later = timer.C
	}
	select {
	case <-a.node.ctx.Done():
		return false
	case <-a.wanted:
	case <-later:
	}
	return true
}

func (a *acquaintance) has(id tlsid.NodeID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.met[id]
}

func (a *acquaintance) waiting() (list []tlsid.NodeID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.await {
		list = append(list, id)
	}
	return list
}

// meet asks a node what it remembers of this one, and stops this one if that is more
// than its log holds.
func (a *acquaintance) meet(id tlsid.NodeID) {
	ctx, cancel := context.WithTimeout(a.node.ctx, statusTimeout)
	defer cancel()
	status, err := a.node.askStatus(ctx, id)
	if err != nil {
		a.node.log.Debug("not met yet", "node", id, "error", err)
		return
	}
	last := a.last
	if r := a.node.configuration.Load(); r != nil {
		last = max(last, r.LastIndex()) // it has grown meanwhile
	}
	if status.Remembered > last {
		a.node.fail(fmt.Errorf("%w: %s remembers that it had applied index %d, and its log ends at %d: "+
			"its disk was lost, or put back from an older copy; %s", ErrForgotten, id, status.Remembered, last, wipeAdvice))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.met[id] = true
	delete(a.await, id)
}
