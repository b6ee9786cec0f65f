package cluster

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// The certificate authority says that a certificate is of this cluster; the replicated
// state says which key each member has, and which keys nobody lets in. So whoever has the
// authority's key, but not a member's, is no member, and a stolen key can be shut out.
// Decision 0141.

// nodeKeyLevel is the feature level that brought changeNodeKey.
const nodeKeyLevel = 7

// NodeKey is the key that a node's certificate is for: the SHA-256 of its
// SubjectPublicKeyInfo. It stays the same when the certificate is renewed.
type NodeKey = [schemas.NodeKeySize]byte

// deniedAdvice is what an operator does with a node that was denied.
const deniedAdvice = "if this node was not stolen, give it a new key: `qpqd replace` in another node's directory makes one, " +
	"and `qpqd trust` has the cluster take it (docs/operations.md)"

// nodeKeys is what this node's store knows.
func (n *Node) nodeKeys() (fsm.NodeKeys, error) {
	view, err := n.View()
	if err != nil {
		return fsm.NodeKeys{}, err
	}
	keys, err := view.NodeKeys()
	return keys, errors.Join(err, view.Close())
}

// trust tells the mesh whether a certificate in a node's name is that node's.
func (n *Node) trust(id tlsid.NodeID, leaf *x509.Certificate) error {
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	key := tlsid.Fingerprint(leaf)
	known, ok := keys.KeyOf(string(id))
	switch {
	case keys.Denies(key):
		return fmt.Errorf("%w: %x, shown by %s", mesh.ErrDenied, key, id)
	case !ok || known == key || n.cfg.LearnKeys:
		return nil
	case n.configuration.Load() != nil && n.vouched(vouch{id, key}):
		return nil // this node was away when the other got a new key
	}
	return fmt.Errorf("%w: %s shows %x and is known by %x; if it was given a new key on purpose, run `qpqd trust %s %x`",
		mesh.ErrOtherKey, id, key, known, id, key)
}

// checkOwnKey keeps a node from running whose key its own store denies.
func (n *Node) checkOwnKey() error {
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	if own := tlsid.Fingerprint(n.cfg.Identity.Leaf()); keys.Denies(own) {
		return fmt.Errorf("%w (%x): %s", ErrKeyDenied, own, deniedAdvice)
	}
	return nil
}

// watchKeys acts on changes of the nodes' keys: connections of those who are no longer let
// in are closed, and a node that is denied itself stops.
func (n *Node) watchKeys() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.store.NodeKeyChanges():
		}
		for _, id := range n.mesh.Distrust() {
			n.peers.drop(id)
		}
		// A restart must not bring back who was denied: the log is applied again only once
		// a leader says how far it is committed.
		if err := n.store.Flush(); err != nil {
			n.log.Warn("keep the nodes' keys", "error", err)
		}
		if err := n.checkOwnKey(); errors.Is(err, ErrKeyDenied) {
			n.fail(err)
			return
		}
	}
}

// keyAdvice tells a person from time to time that the others know this node by another key.
type keyAdvice struct{ told time.Time }

func (a *keyAdvice) tell(n *Node, refused bool) {
	if !refused || time.Since(a.told) < keyAdviceInterval {
		return
	}
	a.told = time.Now()
	key := tlsid.Fingerprint(n.cfg.Identity.Leaf())
	n.log.Error(fmt.Sprintf("the cluster knows this node by another key, and lets it in once an operator has run on another node: qpqd trust %s %x", n.cfg.ID, key))
}

// bindKeys has the log remember the keys of members that it does not know yet, as this
// leader has met them, and forget those of nodes that are members no more.
func (n *Node) bindKeys(ctx context.Context) {
	if level, err := n.levelInForce(); err != nil || level < nodeKeyLevel {
		return
	}
	keys, err := n.nodeKeys()
	if err != nil {
		n.log.Warn("read the nodes' keys", "error", err)
		return
	}
	bound := map[tlsid.NodeID]bool{}
	for _, b := range keys.Bound {
		bound[tlsid.NodeID(b.Node)] = true
	}
	members := n.committedMembers()
	for _, m := range members {
		if key, met := n.metKey(m.ID); met && !bound[m.ID] {
			n.changeKey(ctx, m.ID, key[:], schemas.ChangeNodeKey_Change_bind)
		}
		delete(bound, m.ID)
	}
	for id := range bound {
		if len(members) > 0 {
			n.changeKey(ctx, id, nil, schemas.ChangeNodeKey_Change_forget)
		}
	}
}

// committedMembers are the members of the latest configuration; none while that is on its
// way through the log.
func (n *Node) committedMembers() []Member {
	latest := n.raft.GetConfiguration()
	if latest.Error() != nil || latest.Index() > n.raft.CommitIndex() {
		return nil
	}
	return n.Members()
}

// metKey is the key that a node has shown to this one.
func (n *Node) metKey(id tlsid.NodeID) (NodeKey, bool) {
	leaf := n.mesh.Certificate(id)
	if id == n.cfg.ID {
		leaf = n.cfg.Identity.Leaf()
	}
	if leaf == nil {
		return NodeKey{}, false
	}
	return tlsid.Fingerprint(leaf), true
}

func (n *Node) changeKey(ctx context.Context, id tlsid.NodeID, key []byte, change schemas.ChangeNodeKey_Change) {
	entry, err := NodeKeyEntry(id, key, change)
	if err != nil {
		n.log.Error("build entry of a node's key", "error", err)
		return
	}
	_, result, err := n.Propose(ctx, entry)
	n.log.Info("a node's key", "node", id, "change", change.String(), "code", result.Code.ID(), "error", err)
}

// NodeKeyEntry is a framed entry that changes what the cluster knows of a node's key; key is
// empty or 32 bytes.
func NodeKeyEntry(id tlsid.NodeID, key []byte, change schemas.ChangeNodeKey_Change) ([]byte, error) {
	request := make([]byte, schemas.RequestIDSize)
	if _, err := rand.Read(request); err != nil {
		return nil, err
	}
	return schemas.BuildEntry(request, schemas.Caller{Kind: schemas.Actor_Kind_node}, func(to schemas.Entry_command) error {
		return FillNodeKey(to, id, key, change)
	})
}

// FillNodeKey is the command of NodeKeyEntry.
func FillNodeKey(to schemas.Entry_command, id tlsid.NodeID, key []byte, change schemas.ChangeNodeKey_Change) error {
	p, err := to.NewChangeNodeKey()
	if err != nil {
		return err
	}
	p.SetChange(change)
	return errors.Join(p.SetNode(string(id)), p.SetKey(key))
}

// keyKnown refuses a member whose key the log has yet to remember: it does not vote before.
func (n *Node) keyKnown(id tlsid.NodeID) error {
	if level, err := n.levelInForce(); err != nil || level < nodeKeyLevel {
		return err
	}
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	if !keys.Knows(string(id)) {
		return fmt.Errorf("the key of %s is not known yet", id)
	}
	return nil
}

// canSpare refuses to remove a member without whom those that are let in are no majority.
func (n *Node) canSpare(id tlsid.NodeID) error {
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	rest, left := 0, 0
	for _, m := range n.Members() {
		if m.ID == id {
			continue
		}
		rest++
		if !keys.DeniesNode(string(m.ID)) {
			left++
		}
	}
	if rest > 0 && left <= rest/2 {
		return fmt.Errorf("%w: remove the denied member instead of %s, or give it a new key", ErrKeyMajority, id)
	}
	return nil
}

// mayRenew refuses to certify another key than the one that the cluster knows a member by.
func (n *Node) mayRenew(id tlsid.NodeID, request []byte) error {
	keys, err := n.nodeKeys()
	if err != nil {
		return err
	}
	key, err := tlsid.RequestFingerprint(request)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	if known, ok := keys.KeyOf(string(id)); ok && known != key && !n.cfg.LearnKeys {
		return fmt.Errorf("%w: a certificate is renewed for the key that %s has", ErrBadEntry, id)
	}
	return nil
}

func writeNodeKeys(to schemas.NodeStatus, keys *fsm.NodeKeys) error {
	for _, list := range []struct {
		keys   []fsm.NodeKey
		create func(int32) (schemas.NodeKey_List, error)
	}{{slices.Concat(keys.Bound, keys.Expected), to.NewNodeKeys}, {keys.Denied, to.NewDeniedKeys}} {
		rows, err := list.create(int32(len(list.keys)))
		if err != nil {
			return err
		}
		for i, k := range list.keys {
			if err := errors.Join(rows.At(i).SetNode(k.Node), rows.At(i).SetKey(k.Key[:])); err != nil {
				return err
			}
		}
	}
	return nil
}

func readNodeKeys(from schemas.NodeStatus) (keys fsm.NodeKeys, err error) {
	for _, list := range []struct {
		keys *[]fsm.NodeKey
		read func() (schemas.NodeKey_List, error)
		most int
	}{{&keys.Bound, from.NodeKeys, schemas.MaxNodeKeys}, {&keys.Denied, from.DeniedKeys, schemas.MaxDeniedKeys}} {
		rows, err := list.read()
		if err != nil {
			return keys, err
		}
		if rows.Len() > list.most {
			return keys, fmt.Errorf("%d keys of nodes, at most %d are read", rows.Len(), list.most)
		}
		for i := range rows.Len() {
			id, err := rows.At(i).Node()
			if err != nil {
				return keys, err
			}
			key, err := rows.At(i).Key()
			if err != nil || len(key) != schemas.NodeKeySize {
				return keys, fmt.Errorf("a node's key of %d bytes: %w", len(key), errors.Join(err, ErrBadEntry))
			}
			*list.keys = append(*list.keys, fsm.NodeKey{Node: id, Key: NodeKey(key)})
		}
	}
	return keys, nil
}
