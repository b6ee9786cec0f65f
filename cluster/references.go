package cluster

import (
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/reference"
	"quicproquo/crypto/tlsid"
)

// inFull is a request without references, for whoever has refused one with.
func inFull(args *raft.AppendEntriesRequest) *raft.AppendEntriesRequest {
	if len(args.Entries) == 0 {
		return args
	}
	full := *args
	full.Entries = reference.Whole(args.Entries)
	return &full
}

// AppendEntries sends a request in which the receiver's own forwards are references.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.transport.news.sent(p.to, p.at, args)
	if p.transport.wantsFull(p.to) {
		return p.AppendPipeline.AppendEntries(inFull(args), resp)
	}
	request := *args
	var short bool
	request.Entries, short = reference.ShortenAll(args.Entries, tlsid.NodeID(p.to))
	if short {
		p.short.Store(true)
	}
	return p.AppendPipeline.AppendEntries(&request, resp)
}

// refused notes that the pipeline ends because of the receiver. Whether references
// were the reason does not matter: full entries are never wrong.
func (p *pipeline) refused() {
	if p.short.Load() {
		p.transport.sendFull(p.to)
	}
}

func (t *transport) sendFull(to raft.ServerID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.full[to] = time.Now().Add(fullFor)
}

func (t *transport) wantsFull(to raft.ServerID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.full[to]
	if ok && time.Now().After(until) {
		delete(t.full, to)
		return false
	}
	return ok
}

// Consumer gives requests with log entries in full.
func (t *transport) Consumer() <-chan raft.RPC { return t.inbox }

// receive puts log entries together again on their way to raft. It refuses those
// whose references say nothing here; the leader sends them in full then.
func (t *transport) receive() {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			if err := t.restore(rpc); err != nil {
				rpc.Respond(nil, err)
				continue
			}
			select {
			case t.inbox <- rpc:
			case <-t.stop:
				return
			}
		case <-t.stop:
			return
		}
	}
}

func (t *transport) restore(rpc raft.RPC) error {
	request, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok {
		return nil
	}
	for _, log := range request.Entries {
		if err := t.kept.Restore(log); err != nil {
			return err
		}
	}
	return nil
}
