package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// The cluster key is replaced while the cluster runs, in three steps, each of which can be
// repeated (decision 0149). An operator's command hands the new key to a majority at least,
// and has the log note it. Each node that lacks it asks the others for it. Once all members
// have both, the leader seals the replicated state's secrets under the new one and has the
// log note that; then every node forgets the old one. Keys go over connections between
// members only, never through the log.

// Secret is something that the replicated state holds sealed under the cluster key.
type Secret struct {
	Name string
	// Reseal returns what was sealed under one of keys, sealed under another, to be kept as
	// the next version; nil if it is already. Of nil it makes the first version.
	Reseal func(keys []tlsid.ClusterKey, to tlsid.ClusterKey, wrapped []byte) ([]byte, error)
}

// caller is who asks over qpq-peer/1: a node, and the key that it has shown.
type caller struct {
	id  tlsid.NodeID
	key NodeKey
}

// keyRecord is what this node's store says of the cluster key; version 0: nothing yet.
func (n *Node) keyRecord() (record keyring.Record, version uint64, err error) {
	version, raw, err := n.secret(keyring.RecordName)
	if err != nil || version == 0 {
		return record, 0, err
	}
	record, err = keyring.ParseRecord(raw)
	return record, version, err
}

func (n *Node) secret(name string) (version uint64, wrapped []byte, err error) {
	view, err := n.View()
	if err != nil {
		return 0, nil, err
	}
	version, wrapped, err = view.Secret(name)
	return version, wrapped, errors.Join(err, view.Close())
}

// watchClusterKey gets what the record names and this node lacks, and forgets what is over.
func (n *Node) watchClusterKey() {
	if n.cfg.Keys == nil {
		return
	}
	for pause := dutyInterval; n.pause(n.ctx, pause); {
		pause = dutyInterval
		err := n.followKeyRecord()
		if err == nil || n.ctx.Err() != nil {
			continue
		}
		n.log.Warn("the cluster key is being replaced", "error", err)
		if errors.Is(err, keyring.ErrElsewhere) {
			pause = keyAdviceInterval // it takes a person
		}
	}
}

func (n *Node) followKeyRecord() error {
	record, version, err := n.keyRecord()
	if err != nil || version == 0 {
		return err
	}
	wanted := []keyring.ID{record.To}
	if !record.InForce {
		wanted = append(wanted, record.From)
	}
	for _, id := range wanted {
		if _, have := n.cfg.Keys.Find(id); have {
			continue
		}
		if err := n.fetchKey(id, wanted...); err != nil {
			return err
		}
	}
	if !record.InForce || n.cfg.Keys.Settled(record.To) {
		return nil
	}
	return n.settleKey(record.To)
}

// settleKey forgets the keys that are no longer in force. The state must not fall behind
// that again: after a crash the log is applied anew only once a leader is there.
func (n *Node) settleKey(id keyring.ID) error {
	if err := n.store.Flush(); err != nil {
		return err
	}
	key, _ := n.cfg.Keys.Find(id)
	if err := tlsid.ResealAuthority(n.tlsDir(), n.cfg.Keys.Keys(), key); err != nil {
		return err
	}
	if err := n.cfg.Keys.Settle(id); err != nil {
		return err
	}
	n.log.Info("the cluster has a new key", "key", id)
	return nil
}

// fetchKey asks the members in turn for a cluster key, and keeps it.
func (n *Node) fetchKey(id keyring.ID, needed ...keyring.ID) error {
	frame, err := peerRequest(peerTimeout, func(r schemas.PeerRequest) error { return r.SetGiveKey(id[:]) })
	if err != nil {
		return err
	}
	last := ErrUnavailable
	for _, m := range n.Members() {
		if m.ID == n.cfg.ID {
			continue
		}
		key, err := askKey(n.ctx, n.peers, m.ID, frame, id)
		if err == nil {
			n.log.Info("a cluster key came", "key", id, "from", m.ID)
			return n.cfg.Keys.Hold(key, needed...)
		}
		last = err
	}
	return fmt.Errorf("no member gave cluster key %s: %w", id, last)
}

// askKey gets a key from one member; what has another name is not that key.
func askKey(ctx context.Context, peers *peerStreams, from tlsid.NodeID, frame []byte, id keyring.ID) (key tlsid.ClusterKey, err error) {
	raw, err := keyCall(ctx, peers, from, frame)
	if err != nil {
		return key, err
	}
	defer clear(raw)
	return keyNamed(raw, from, id)
}

// keyNamed reads a key that a member gave, who may lie.
func keyNamed(raw []byte, from tlsid.NodeID, id keyring.ID) (key tlsid.ClusterKey, err error) {
	if len(raw) != len(key) || keyring.IDOf(tlsid.ClusterKey(raw)) != id {
		return key, fmt.Errorf("%s gave another key than %s", from, id)
	}
	return tlsid.ClusterKey(raw), nil
}

// keyCall is one call that is answered with a key.
func keyCall(ctx context.Context, peers *peerStreams, to tlsid.NodeID, frame []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := peers.call(ctx, to, frame)
	if err == nil {
		err = peerError(reply)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", to, err)
	}
	return reply.Key()
}

// mayHaveKeys refuses whoever is not, at this moment, a member with the key that the cluster
// knows it by: with cluster keys the authority's word alone is never enough.
func (n *Node) mayHaveKeys(ctx context.Context, from caller) error {
	if n.cfg.Keys == nil {
		return fmt.Errorf("%w: this node has no cluster keys", ErrUnavailable)
	}
	if err := n.Linearize(ctx); err != nil { // a denial counts from its entry on
		return err
	}
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	known, ok := keys.KeyOf(string(from.id))
	if _, member := n.member(from.id); !member || !ok || known != from.key || keys.Denies(from.key) {
		return fmt.Errorf("%w: %s is not known by the key that it shows, and gets no cluster key", ErrMemberUnknown, from.id)
	}
	return nil
}

// serveGiveKey gives a member a key that the record names.
func (n *Node) serveGiveKey(ctx context.Context, from caller, name []byte, resp schemas.PeerResponse) error {
	if err := n.mayHaveKeys(ctx, from); err != nil {
		return err
	}
	record, version, err := n.keyRecord()
	if err != nil {
		return err
	}
	named := version > 0 && len(name) == keyring.IDSize &&
		(keyring.ID(name) == record.To || !record.InForce && keyring.ID(name) == record.From)
	if !named {
		return fmt.Errorf("%w: the cluster needs no key of this name", ErrBadEntry)
	}
	key, have := n.cfg.Keys.Find(keyring.ID(name))
	if !have {
		return fmt.Errorf("%w: this node does not have that key either", ErrUnavailable)
	}
	n.log.Info("cluster key given", "key", keyring.ID(name), "to", from.id)
	return resp.SetKey(key[:])
}

// serveHoldKey takes a key that an operator wants to have in force. During a rotation no
// other than its own is taken.
func (n *Node) serveHoldKey(ctx context.Context, from caller, raw []byte, resp schemas.PeerResponse) error {
	if err := n.mayHaveKeys(ctx, from); err != nil {
		return err
	}
	if len(raw) != len(tlsid.ClusterKey{}) {
		return fmt.Errorf("%w: a cluster key of %d bytes, want %d", ErrBadEntry, len(raw), len(tlsid.ClusterKey{}))
	}
	key := tlsid.ClusterKey(raw)
	record, version, err := n.keyRecord()
	if err != nil {
		return err
	}
	if version > 0 && !record.InForce && keyring.IDOf(key) != record.To {
		return fmt.Errorf("%w: the cluster key is being replaced by %s", ErrBadEntry, record.To)
	}
	if err := n.cfg.Keys.Hold(key, record.From, record.To); err != nil {
		return err
	}
	return resp.SetKey(nil)
}

// finishRotation puts the new key in force once every member has it that is let in.
func (n *Node) finishRotation(ctx context.Context) {
	record, version, err := n.keyRecord()
	if err != nil || version == 0 || record.InForce || n.cfg.Keys == nil {
		return
	}
	if waits := n.withoutKey(ctx, record.To); len(waits) > 0 {
		n.log.Debug("the new cluster key waits for members", "members", waits)
		return
	}
	to, have := n.cfg.Keys.Find(record.To)
	if !have {
		return
	}
	for _, s := range n.cfg.Secrets {
		if err := n.reseal(ctx, &s, to); err != nil {
			n.log.Error("seal a secret under the new cluster key; will try again", "secret", s.Name, "error", err)
			return
		}
	}
	record.InForce = true
	if err := n.putSecret(ctx, keyring.RecordName, version+1, record.Encode()); err != nil {
		n.log.Error("put the new cluster key in force; will try again", "error", err)
	}
}

// withoutKey are the members that do not have a cluster key as far as they say; those whose
// node key is denied aside, who never get it.
func (n *Node) withoutKey(ctx context.Context, id keyring.ID) (waits []tlsid.NodeID) {
	keys, err := n.nodeKeys()
	statuses, _ := n.askEach(ctx)
	for _, m := range n.Members() {
		if keys.DeniesNode(string(m.ID)) {
			continue
		}
		if s := statuses[m.ID]; err != nil || !slices.Contains(s.ClusterKeys, id) {
			waits = append(waits, m.ID)
		}
	}
	return waits
}

func (n *Node) reseal(ctx context.Context, s *Secret, to tlsid.ClusterKey) error {
	version, wrapped, err := n.secret(s.Name)
	if err != nil {
		return err
	}
	if version == 0 {
		wrapped = nil
	}
	next, err := s.Reseal(n.cfg.Keys.Keys(), to, wrapped)
	if err != nil || next == nil {
		return err
	}
	return n.putSecret(ctx, s.Name, version+1, next)
}

// putSecret has the log replace a secret; a version that is not the next is refused there.
func (n *Node) putSecret(ctx context.Context, name string, version uint64, wrapped []byte) error {
	entry, err := secretEntry(name, version, wrapped)
	if err != nil {
		return err
	}
	_, result, err := n.Propose(ctx, entry)
	if err == nil && result.Code != schemas.Code_ok {
		err = fmt.Errorf("%s %s", result.Code.ID(), result.Code.Doc().Name)
	}
	return err
}

func secretEntry(name string, version uint64, wrapped []byte) ([]byte, error) {
	id := make([]byte, schemas.RequestIDSize)
	_, _ = rand.Read(id) // never fails
	return schemas.BuildEntry(id, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(to schemas.Entry_command) error {
		p, err := to.NewPutSecret()
		if err != nil {
			return err
		}
		p.SetVersion(version)
		return errors.Join(p.SetName(name), p.SetWrapped(wrapped))
	})
}

func writeClusterKeys(to schemas.NodeStatus, s *Status) error {
	ids, err := to.NewClusterKeys(int32(len(s.ClusterKeys)))
	if err != nil {
		return err
	}
	for i, id := range s.ClusterKeys {
		if err := ids.Set(i, id[:]); err != nil {
			return err
		}
	}
	to.SetKeyVersion(s.KeyVersion)
	if s.KeyVersion == 0 {
		return nil
	}
	return to.SetKeyRecord(s.KeyRecord.Encode())
}

func readClusterKeys(from schemas.NodeStatus, s *Status) error {
	ids, err := from.ClusterKeys()
	if err != nil {
		return err
	}
	if ids.Len() > keyring.MaxKeys {
		return fmt.Errorf("%d cluster keys, at most %d are read", ids.Len(), keyring.MaxKeys)
	}
	for i := range ids.Len() {
		id, err := ids.At(i)
		if err != nil || len(id) != keyring.IDSize {
			return fmt.Errorf("the name of a cluster key has %d bytes: %w", len(id), errors.Join(err, ErrBadEntry))
		}
		s.ClusterKeys = append(s.ClusterKeys, keyring.ID(id))
	}
	raw, err := from.KeyRecord()
	if err != nil {
		return err
	}
	// A record of a later form says nothing to us, but the rest of the status does.
	if record, err := keyring.ParseRecord(raw); err == nil {
		s.KeyRecord, s.KeyVersion = record, from.KeyVersion()
	}
	return nil
}
