package cluster

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// pipeline is raft's append pipeline, closed as soon as a follower refuses.
//
// hashicorp/raft 1.7.3 stops reading a pipeline's answers at the first refusal,
// while its sender may be waiting for one of the two places in flight. Nobody
// frees a place then: the sender waits for ever, the follower gets heartbeats
// but no more entries from this leader, and the leader can't shut down. A
// follower refuses when its disk is full, for one. Closing the pipeline wakes
// the sender, and raft falls back to single requests as it means to. Decision
// 0006.
type pipeline struct {
	raft.AppendPipeline
	transport *transport
	to        raft.ServerID
	at        raft.ServerAddress
	short     atomic.Bool // it has sent references
	out       chan raft.AppendFuture
	stop      chan struct{}
	once      sync.Once
	done      sync.WaitGroup
}

// AppendEntriesPipeline opens a pipeline that a refusal closes.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: inner, transport: t, to: id, at: target, out: make(chan raft.AppendFuture), stop: make(chan struct{})}
	p.done.Go(p.relay)
	return p, nil
}

// Consumer gives the answers in order; the first refusal is the last one.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.out }

func (p *pipeline) relay() {
	for {
		var answer raft.AppendFuture
		select {
		case answer = <-p.AppendPipeline.Consumer():
		case <-p.stop:
			return
		}
		// Before whoever takes the answer asks the same: raft's futures are for one.
		refused := answer.Error() != nil || !answer.Response().Success
		if refused {
			p.refused()
		} else {
			p.transport.news.acknowledged(p.to, p.at, answer.Request())
		}
		select {
		case p.out <- answer:
		case <-p.stop:
			return
		}
		if refused {
			_ = p.AppendPipeline.Close() // wakes the sender; it never fails
			return
		}
	}
}

// Close ends the pipeline and joins its goroutine.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.stop) })
	p.done.Wait()
	return p.AppendPipeline.Close()
}
