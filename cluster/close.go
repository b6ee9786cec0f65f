package cluster

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// Close leaves in good order: leadership is handed over first, so that writes
// go on elsewhere at once; then everything is closed and joined. ctx bounds the
// polite part.
func (n *Node) Close(ctx context.Context) error {
	n.closeOnce.Do(func() {
		if n.Err() == nil {
			n.handOver(ctx)
		}
		n.closeErr = n.shutDown(ctx, true)
	})
	return n.closeErr
}

// Abort closes like a crash: nobody is told, nothing is handed over, and what
// the store had not flushed is lost to it (the log has it). For tests.
func (n *Node) Abort() error {
	n.closeOnce.Do(func() {
		_ = n.cfg.Conn.Close() // the network goes first: no farewell gets out
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		n.closeErr = n.shutDown(ctx, false)
	})
	return n.closeErr
}

// handOver gives leadership away and waits until somebody else has it.
func (n *Node) handOver(ctx context.Context) {
	if !n.isLeader() || len(n.voters()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		n.log.Warn("leadership not handed over", "error", err)
		return
	}
	for ctx.Err() == nil {
		changed := n.leaderChanged()
		if leader := n.Leader(); leader != "" && leader != n.cfg.ID {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	// What was forwarded to us while we led gets its refusal out.
	select {
	case <-time.After(handoverPause):
	case <-ctx.Done():
	}
}

// shutDown stops everything that Open may have started, in the reverse order.
func (n *Node) shutDown(ctx context.Context, orderly bool) error {
	n.proposals.close()
	n.forwards.close()
	n.cancel()
	var errs []error
	if n.transport != nil {
		// Unblocks what raft may be waiting for.
		errs = append(errs, n.transport.Close())
	}
	if n.raft != nil {
		err := n.raft.Shutdown().Error()
		close(n.raftGone)
		if err != nil && !errors.Is(err, raft.ErrRaftShutdown) {
			errs = append(errs, err)
		}
	}
	if n.gossip != nil {
		var farewell time.Duration
		if orderly {
			farewell = gossipFarewell
		}
		errs = append(errs, n.gossip.stop(farewell))
	}
	if n.peers != nil {
		n.peers.close()
	}
	if n.mesh != nil {
		errs = append(errs, n.mesh.Close(ctx))
	}
	if err := n.cfg.Conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	n.tasks.Wait()
	errs = append(errs, n.closeStorage(orderly))
	return errors.Join(errs...)
}

// gossipFarewell bounds telling the others that the node leaves.
const gossipFarewell = 100 * time.Millisecond

func (n *Node) closeStorage(orderly bool) error {
	var errs []error
	if n.store != nil {
		if orderly {
			errs = append(errs, n.store.Close())
		} else {
			errs = append(errs, n.store.Abandon())
		}
	}
	if n.logs != nil {
		errs = append(errs, n.logs.Close())
	}
	if n.guard != nil {
		errs = append(errs, n.guard.Close())
	}
	if n.dir != nil {
		errs = append(errs, n.dir.Close())
	}
	return errors.Join(errs...)
}

// abandon closes what a failed Open had started.
func (n *Node) abandon() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return n.shutDown(ctx, true)
}
