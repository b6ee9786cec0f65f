package conn

import (
	"context"
	"errors"
	"time"

	"quicproquo/schemas"
)

// Ordinals of the group topic in NodeService.
const (
	methodPublishCommit = 34
	methodFetchGroup    = 35
)

// Commit ends an epoch of a group, or founds its record.
type Commit struct {
	GroupID []byte // 16 to 64 bytes
	// Epoch is the one that the commit ends; of a group without a record the one
	// that its founder is in.
	Epoch uint64
	// Proof is what Verifier hashed for this epoch; nil founds the record.
	Proof []byte
	// Over means that Proof is of an earlier epoch, the one of the cluster's record: it
	// has forgotten those since, because it was restored from a backup.
	Over bool `json:",omitempty"`
	// NextVerifier is the SHA-256 of the next epoch's proof, or for a new record of
	// Epoch's.
	NextVerifier [32]byte
	Deliveries   []Delivery // at most 16: the commit, the welcomes
	// GroupInfo is kept as the way back into the group: at most 1 MiB, encrypted for
	// those who may join. Empty: none is kept.
	GroupInfo []byte
	TTL       time.Duration // as in Message
	// RequestID is given to repeat a call whose outcome is unknown (Error.RequestID).
	RequestID []byte
}

// Delivery is one payload for several recipients.
type Delivery struct {
	To      []Recipient
	Channel ChannelID // zero: the inbox
	Payload []byte
}

// PublishCommit offers a commit. Exactly one wins each epoch: the others get
// *Error with EPOCH_CONFLICT and the group's epoch in Value. It returns the epoch
// that the group is in then, and an outcome for each recipient in the order of
// the deliveries. While the outcome is unknown no second commit may be made for
// the epoch: repeat this one with its request id.
func (c *Conn) PublishCommit(ctx context.Context, commit *Commit) (epoch uint64, outcomes []Outcome, err error) {
	ttl, err := ttlSecs(commit.TTL)
	if err != nil {
		return 0, nil, err
	}
	err = CallAs(ctx, c, Request{Method: methodPublishCommit, Write: true, ID: commit.RequestID}, schemas.NewPublishCommitParams,
		func(p schemas.PublishCommitParams) error {
			p.SetTtlSecs(ttl)
			return commit.fill(p)
		},
		func(r schemas.PublishCommitResults) error {
			epoch = r.Epoch()
			list, err := r.Outcomes()
			if err != nil {
				return err
			}
			outcomes, err = readOutcomes(list, commit.recipients())
			return err
		})
	return epoch, outcomes, err
}

// recipients is how many the deliveries have together.
func (commit *Commit) recipients() (n int) {
	for i := range commit.Deliveries {
		n += len(commit.Deliveries[i].To)
	}
	return n
}

func (commit *Commit) fill(p schemas.PublishCommitParams) error {
	p.SetVersion(schemas.WireVersion)
	p.SetEpoch(commit.Epoch)
	list, err := p.NewDeliveries(int32(len(commit.Deliveries)))
	if err != nil {
		return err
	}
	for i := range commit.Deliveries {
		if err := commit.Deliveries[i].fill(list.At(i)); err != nil {
			return err
		}
	}
	return errors.Join(
		p.SetGroupId(commit.GroupID),
		p.SetProof(commit.Proof),
		p.SetNextVerifier(commit.NextVerifier[:]),
		p.SetGroupInfo(commit.GroupInfo))
}

func (d *Delivery) fill(to schemas.Delivery) error {
	if err := setRecipients(to.NewRecipients, d.To); err != nil {
		return err
	}
	return errors.Join(to.SetPayload(d.Payload), to.SetChannelId(d.Channel.bytes()))
}

// Group is the record of a group.
type Group struct {
	Epoch     uint64
	Changed   time.Time // log time
	GroupInfo []byte    // as the last commit had it
}

// FetchGroup returns a group's record; GROUP_NOT_FOUND if there is none.
func (c *Conn) FetchGroup(ctx context.Context, groupID []byte) (g Group, err error) {
	err = CallAs(ctx, c, Request{Method: methodFetchGroup}, schemas.NewFetchGroupParams,
		func(p schemas.FetchGroupParams) error { return p.SetGroupId(groupID) },
		func(r schemas.FetchGroupResults) (err error) {
			g.Epoch, g.Changed = r.Epoch(), timeOf(r.ChangedAtMs())
			g.GroupInfo, err = copied(r.GroupInfo())
			return err
		})
	return g, err
}
