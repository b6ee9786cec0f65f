package cluster

import (
	"context"
	"time"

	"quicproquo/cluster/clock"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/internal/planted"
)

// Now is the cluster's time: what this node's clock says while it agrees with those of a
// majority, and theirs if not (decision 0120).
func (n *Node) Now() time.Time {
	if planted.On(planted.StampUnbounded) {
		return n.cfg.Now()
	}
	return n.clock.Read().Time
}

// learnTime asks the others what time it is until a majority has told: without that a
// leader stamps nothing.
func (n *Node) learnTime() {
	for pause := clockPause; ; pause = min(2*pause, watchInterval) {
		n.judgeClocks()
		if n.clock.Read().Known {
			return
		}
		n.askEach(n.ctx)
		timer := time.NewTimer(pause)
		select {
		case <-n.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// judgeClocks has the clock know who votes now and what is far off.
func (n *Node) judgeClocks() {
	bound := defaultClockError
	if secs, err := n.readSetting(fsm.SettingClockError); err != nil {
		n.log.Warn("read how far a clock may be off", "error", err)
	} else {
		bound = time.Duration(secs) * time.Second
	}
	n.clock.Judge(n.voters(), bound)
	if r := n.clock.Read(); r.Wrong {
		n.log.Warn("this machine's clock is wrong: set it (is NTP running?)", "ahead", r.Off, "bound", bound)
	}
}

// hearClock notes what a member's status says of its clock.
func (n *Node) hearClock(from tlsid.NodeID, asked clock.Asked, status Status, err error) {
	switch {
	case err != nil:
	case status.Clock.IsZero():
		n.clock.Hear(from, asked, 0)
	default:
		n.clock.Hear(from, asked, uint64(status.Clock.UnixMilli()))
	}
}

// yieldWhenTimeIsWrong hands leadership to a voter whose clock agrees with the others'.
// Until one has it, batches are stamped with the majority's time.
func (n *Node) yieldWhenTimeIsWrong(ctx context.Context) {
	if n.clock.Read().Wrong && !planted.On(planted.StampUnbounded) {
		n.yield(ctx, "this machine's clock is wrong", n.clock.Agrees)
	}
}
