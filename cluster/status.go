package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/keyring"
	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Status is what a node says of itself.
type Status struct {
	ID           tlsid.NodeID
	Address      string
	State        string // leader, follower, candidate or shutdown
	Term         uint64
	Leader       tlsid.NodeID
	AppliedIndex uint64 // raft index applied, commands or not
	CommandIndex uint64 // raft index of the last command in the store
	LastLogIndex uint64
	CommitIndex  uint64
	FeatureLevel uint32
	Version      string
	Members      []Member
	Marks        []fsm.Mark
	ReadOnly     bool   // the disk guard refuses writes
	Fault        string // why the node stopped serving; empty while all is well
	StartedAt    time.Time
	Clock        time.Time     // what the node's own clock says; zero from a build of before
	ClockOff     time.Duration // how far that is ahead of a majority's, to the millisecond
	ClockWrong   bool          // that is more than the setting clock_error_secs allows
	// Remembered is what the answering node has heard of the asking one, if that votes:
	// the highest index that it had applied.
	Remembered uint64
	// NodeKeys are what its store knows of nodes' keys; those of Expected are not told apart
	// by others.
	NodeKeys fsm.NodeKeys
	// ClusterKeys are the names of those that it has, KeyRecord what its store says of
	// them; KeyVersion 0: nothing.
	ClusterKeys []keyring.ID
	KeyRecord   keyring.Record
	KeyVersion  uint64
}

// Status describes this node.
func (n *Node) Status() Status {
	now := n.clock.Read()
	s := Status{
		ID:           n.cfg.ID,
		Address:      n.cfg.Address,
		State:        stateName(n.raft.State()),
		Term:         n.raft.CurrentTerm(),
		Leader:       n.Leader(),
		AppliedIndex: n.raft.AppliedIndex(),
		CommandIndex: n.store.Index(),
		LastLogIndex: n.raft.LastIndex(),
		CommitIndex:  n.raft.CommitIndex(),
		FeatureLevel: n.cfg.FeatureLevel,
		Version:      n.cfg.Version,
		Members:      n.Members(),
		Marks:        n.store.Marks(),
		ReadOnly:     n.guard.ReadOnly(),
		StartedAt:    n.started,
		Clock:        n.cfg.Now(),
		ClockOff:     now.Off,
		ClockWrong:   now.Wrong,
	}
	if keys, err := n.nodeKeys(); err == nil {
		s.NodeKeys = keys
	}
	if n.cfg.Keys != nil {
		s.ClusterKeys = n.cfg.Keys.IDs()
	}
	if record, version, err := n.keyRecord(); err == nil {
		s.KeyRecord, s.KeyVersion = record, version
	}
	if err := n.Err(); err != nil {
		s.Fault = err.Error()
	}
	return s
}

func stateName(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Shutdown:
		return "shutdown"
	default:
		return "follower"
	}
}

func (n *Node) serveStatus(from tlsid.NodeID, resp schemas.PeerResponse) error {
	to, err := resp.NewStatus()
	if err != nil {
		return err
	}
	s := n.Status()
	s.Remembered = n.remembered.of(from, s.Members)
	return writeStatus(to, s)
}

func writeStatus(to schemas.NodeStatus, s Status) error {
	to.SetTerm(s.Term)
	to.SetAppliedIndex(s.AppliedIndex)
	to.SetCommandIndex(s.CommandIndex)
	to.SetLastLogIndex(s.LastLogIndex)
	to.SetCommitIndex(s.CommitIndex)
	to.SetFeatureLevel(s.FeatureLevel)
	to.SetReadOnly(s.ReadOnly)
	to.SetStartedAtMs(uint64(s.StartedAt.UnixMilli()))
	to.SetClockMs(uint64(s.Clock.UnixMilli()))
	to.SetClockOffMs(s.ClockOff.Milliseconds())
	to.SetClockWrong(s.ClockWrong)
	to.SetRemembered(s.Remembered)
	for _, set := range []error{
		to.SetId(string(s.ID)), to.SetAddress(s.Address), to.SetState(s.State),
		to.SetLeaderId(string(s.Leader)), to.SetVersion(s.Version), to.SetFault(s.Fault),
	} {
		if set != nil {
			return fmt.Errorf("write status: %w", set)
		}
	}
	members, err := to.NewMembers(int32(len(s.Members)))
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	for i, m := range s.Members {
		row := members.At(i)
		row.SetVoter(m.Voter)
		if err := row.SetId(string(m.ID)); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
		if err := row.SetAddress(m.Address); err != nil {
			return fmt.Errorf("write status: %w", err)
		}
	}
	marks, err := to.NewMarks(int32(len(s.Marks)))
	if err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	for i, m := range s.Marks {
		marks.At(i).SetIndex(m.Index)
		marks.At(i).SetDigest(m.Digest)
	}
	if err := errors.Join(writeNodeKeys(to, &s.NodeKeys), writeClusterKeys(to, &s)); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// askStatus asks one member.
func (n *Node) askStatus(ctx context.Context, id tlsid.NodeID) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return askStatus(ctx, n.peers, id)
}

func askStatus(ctx context.Context, peers *peerStreams, id tlsid.NodeID) (Status, error) {
	frame, err := peerRequest(statusTimeout, func(r schemas.PeerRequest) error {
		r.SetStatus()
		return nil
	})
	if err != nil {
		return Status{}, err
	}
	reply, err := peers.call(ctx, id, frame)
	if err != nil {
		return Status{}, fmt.Errorf("ask %s for its status: %w", id, err)
	}
	if err := peerError(reply); err != nil {
		return Status{}, fmt.Errorf("ask %s for its status: %w", id, err)
	}
	from, err := reply.Status()
	if err != nil {
		return Status{}, fmt.Errorf("ask %s for its status: %w", id, err)
	}
	return readStatus(from)
}

func readStatus(from schemas.NodeStatus) (Status, error) {
	r := textReader{}
	s := Status{
		ID:           tlsid.NodeID(r.text(from.Id())),
		Address:      r.text(from.Address()),
		State:        r.text(from.State()),
		Term:         from.Term(),
		Leader:       tlsid.NodeID(r.text(from.LeaderId())),
		AppliedIndex: from.AppliedIndex(),
		CommandIndex: from.CommandIndex(),
		LastLogIndex: from.LastLogIndex(),
		CommitIndex:  from.CommitIndex(),
		FeatureLevel: from.FeatureLevel(),
		Version:      r.text(from.Version()),
		ReadOnly:     from.ReadOnly(),
		Fault:        r.text(from.Fault()),
		StartedAt:    time.UnixMilli(int64(from.StartedAtMs())),
		ClockOff:     time.Duration(from.ClockOffMs()) * time.Millisecond,
		ClockWrong:   from.ClockWrong(),
		Remembered:   from.Remembered(),
	}
	if ms := from.ClockMs(); ms != 0 {
		s.Clock = time.UnixMilli(int64(ms))
	}
	members, err := from.Members()
	r.note(err)
	marks, err := from.Marks()
	r.note(err)
	if members.Len() > maxMembers || marks.Len() > maxMarks {
		return Status{}, fmt.Errorf("read status: %d members and %d marks are too many", members.Len(), marks.Len())
	}
	for i := range members.Len() {
		m := members.At(i)
		s.Members = append(s.Members, Member{ID: tlsid.NodeID(r.text(m.Id())), Address: r.text(m.Address()), Voter: m.Voter()})
	}
	for i := range marks.Len() {
		s.Marks = append(s.Marks, fsm.Mark{Index: marks.At(i).Index(), Digest: marks.At(i).Digest()})
	}
	s.NodeKeys, err = readNodeKeys(from)
	r.note(err)
	r.note(readClusterKeys(from, &s))
	if r.err != nil {
		return Status{}, fmt.Errorf("read status: %w", r.err)
	}
	return s, nil
}

// textReader reads texts and keeps the first error.
type textReader struct{ err error }

func (r *textReader) text(s string, err error) string {
	r.note(err)
	return s
}

func (r *textReader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Usage is what a node uses of what it may, for operators.
type Usage struct {
	Disk        diskguard.Usage
	MinFreeDisk float64 // share below which writes are refused
	Guests      mesh.Stats
	GuestLimits mesh.Limits
}

// Usage describes this node's use of its machine.
func (n *Node) Usage() Usage {
	return Usage{Disk: n.guard.Usage(), MinFreeDisk: n.cfg.MinFreeDisk, Guests: n.mesh.Stats(), GuestLimits: n.mesh.Limits()}
}

// Standing is the part of Status that costs nothing to find out.
type Standing struct {
	Leader       tlsid.NodeID // empty for none known
	Leads        bool
	AppliedIndex uint64
	CommitIndex  uint64
	FeatureLevel uint32
	ReadOnly     bool
	Stopped      bool
}

// Standing describes this node in brief.
func (n *Node) Standing() Standing {
	leader := n.Leader()
	return Standing{
		Leader: leader, Leads: leader == n.cfg.ID,
		AppliedIndex: n.raft.AppliedIndex(), CommitIndex: n.raft.CommitIndex(),
		FeatureLevel: n.cfg.FeatureLevel,
		ReadOnly:     n.guard.ReadOnly(), Stopped: n.Err() != nil,
	}
}
