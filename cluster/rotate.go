package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"

	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// ErrRotating tells that the cluster key is being replaced already.
var ErrRotating = errors.New("the cluster key is being replaced already")

// RotateClusterKey has a running cluster take another cluster key, from outside a node, with
// the certificate of one. When it returns a majority has the key on its disks and the log has
// noted it; the rest happens by itself once every member has it. conn is as Operate's, one
// for each call. A result may hold a refusal: another rotation came between. Errors:
// ErrRotating, ErrUnavailable, ErrUnknownOutcome, and a sentence about a member that has
// another key than the others.
func RotateClusterKey(ctx context.Context, listen func() (net.PacketConn, error), identity *tlsid.Identity, peers []Peer, logger *slog.Logger, key tlsid.ClusterKey) (fsm.Result, error) {
	version, record, err := offerKey(ctx, listen, identity, peers, logger, key)
	if err != nil {
		return fsm.Result{}, err
	}
	entry, err := secretEntry(keyring.RecordName, version+1, record.Encode())
	if err != nil {
		return fsm.Result{}, err
	}
	conn, err := listen()
	if err != nil {
		return fsm.Result{}, err
	}
	return Operate(ctx, conn, identity, peers, logger, entry)
}

// offerKey hands the key to every member that answers, and says what the log is to note, as
// which version but one.
func offerKey(ctx context.Context, listen func() (net.PacketConn, error), identity *tlsid.Identity, peers []Peer, logger *slog.Logger, key tlsid.ClusterKey) (version uint64, record keyring.Record, err error) {
	conn, err := listen()
	if err != nil {
		return 0, record, err
	}
	o, err := openOutside(conn, identity, peers, logger)
	if err != nil {
		return 0, record, err
	}
	defer o.close(context.WithoutCancel(ctx))
	seen := o.observe(ctx)
	if why := refusedByAll(seen); why != nil {
		return 0, record, fmt.Errorf("%w: %w", errRefusedByAll, why)
	}
	if version, record, err = nextRecord(seen, keyring.IDOf(key)); err != nil {
		return 0, record, err
	}
	frame, err := peerRequest(peerTimeout, func(r schemas.PeerRequest) error { return r.SetHoldKey(key[:]) })
	if err != nil {
		return 0, record, err
	}
	voters, holders, why := 0, 0, error(nil)
	for i := range seen {
		err := o.offerTo(ctx, &seen[i], frame)
		why = errors.Join(why, err)
		if seen[i].Voter {
			voters++
			if err == nil {
				holders++
			}
		}
	}
	if holders <= voters/2 {
		return 0, record, fmt.Errorf("%w: %d of %d voting members have taken the key, which is no majority; nothing was changed: %w", ErrUnavailable, holders, voters, why)
	}
	return version, record, nil
}

func (o *outside) offerTo(ctx context.Context, to *Observation, frame []byte) error {
	switch {
	case to.Status == nil:
		return fmt.Errorf("%s does not answer: %w", to.ID, to.Err)
	case len(to.Status.ClusterKeys) == 0:
		return fmt.Errorf("%s runs a build that can't replace the cluster key: upgrade it", to.ID)
	}
	_, err := keyCall(ctx, o.streams, to.ID, frame)
	return err
}

// nextRecord is what the log is to note after what the furthest member has, and the version
// of that. Before the first rotation nothing names the key in force: all must have the same.
func nextRecord(seen []Observation, to keyring.ID) (version uint64, next keyring.Record, err error) {
	var furthest *Status
	for i := range seen {
		if s := seen[i].Status; s != nil && (furthest == nil || s.AppliedIndex > furthest.AppliedIndex) {
			furthest = s
		}
	}
	switch {
	case furthest == nil:
		return 0, next, fmt.Errorf("%w: no member answers", ErrUnavailable)
	case len(furthest.ClusterKeys) == 0:
		return 0, next, fmt.Errorf("%w: %s runs a build that can't replace the cluster key: upgrade all nodes first", ErrUnavailable, furthest.ID)
	case furthest.KeyVersion > 0 && !furthest.KeyRecord.InForce:
		return 0, next, fmt.Errorf("%w, by %s", ErrRotating, furthest.KeyRecord.To)
	}
	next.From, next.To = furthest.ClusterKeys[0], to
	if furthest.KeyVersion > 0 {
		next.From = furthest.KeyRecord.To
	}
	if next.From == to {
		return 0, next, fmt.Errorf("%w: that key is in force already", ErrBadEntry)
	}
	for i := range seen {
		s := seen[i].Status
		if s != nil && len(s.ClusterKeys) > 0 && !slices.Contains(s.ClusterKeys, next.From) {
			return 0, next, fmt.Errorf("%s does not have the cluster key %s, which the others have: see its log, and start it with that key first", s.ID, next.From)
		}
	}
	return furthest.KeyVersion, next, nil
}

// Rotation is where the replacement of the cluster key stands, as members say.
type Rotation struct {
	keyring.Record        // of the furthest member
	Version        uint64 // of the record; 0: the key was never replaced
	// Without are members that do not have the key, or do not answer; Old those that are
	// given another one at their start, which only their operator can change.
	Without, Old []tlsid.NodeID
}

// RotationOf reads it from what members say.
func RotationOf(seen []Observation) (r Rotation) {
	var furthest uint64
	var keys fsm.NodeKeys
	for _, o := range seen {
		if o.Status != nil && o.Status.AppliedIndex >= furthest {
			furthest, keys = o.Status.AppliedIndex, o.Status.NodeKeys
			r.Record, r.Version = o.Status.KeyRecord, o.Status.KeyVersion
		}
	}
	if r.Version == 0 {
		return r
	}
	for _, o := range seen {
		switch {
		case keys.DeniesNode(string(o.ID)):
		case o.Status == nil || !slices.Contains(o.Status.ClusterKeys, r.To):
			r.Without = append(r.Without, o.ID)
		case r.InForce && o.Status.ClusterKeys[0] != r.To:
			r.Old = append(r.Old, o.ID)
		}
	}
	return r
}
