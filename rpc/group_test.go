package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"testing"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// proofOf is what members of an epoch export, in tests a number in 32 bytes.
func proofOf(epoch byte) (proof []byte, verifier [32]byte) {
	proof = bytes.Repeat([]byte{epoch + 100}, 32)
	return proof, sha256.Sum256(proof)
}

// A commit wins its epoch and is delivered with it; who loses learns the epoch, and
// nothing of theirs is delivered.
func TestCommitWinsAnEpoch(t *testing.T) {
	d := openAccounts(t)
	ann, bob, eve := d.member(t, "ann"), d.member(t, "bob"), d.member(t, "eve")
	group := bytes.Repeat([]byte{5}, 32)
	_, founding := proofOf(0)
	found := &client.Commit{
		GroupID: group, NextVerifier: founding, GroupInfo: []byte("info 0"),
		Deliveries: []client.Delivery{{To: []client.Recipient{{Account: bob.key}}, Payload: []byte("welcome")}},
	}
	if epoch, outcomes, err := ann.PublishCommit(t.Context(), found); err != nil || epoch != 0 || len(outcomes) != 1 || outcomes[0].Seq != 1 {
		t.Fatalf("found the record: epoch %d, %+v, %v", epoch, outcomes, err)
	}
	proof, _ := proofOf(0)
	_, next := proofOf(1)
	commit := &client.Commit{
		GroupID: group, Proof: proof, NextVerifier: next, GroupInfo: []byte("info 1"), RequestID: newRequestID(),
		Deliveries: []client.Delivery{
			{To: []client.Recipient{{Account: ann.key}, {Account: client.AccountKey{9}}}, Payload: []byte("commit")},
			{To: []client.Recipient{{Account: eve.key, Header: []byte("h")}}, Payload: []byte("welcome eve")},
		},
	}
	for range 2 { // the second is a repetition: the same answer, delivered once
		epoch, outcomes, err := bob.PublishCommit(t.Context(), commit)
		if err != nil || epoch != 1 || len(outcomes) != 3 || outcomes[0].Seq != 1 || outcomes[2].Seq != 1 {
			t.Fatalf("commit: epoch %d, %+v, %v", epoch, outcomes, err)
		}
		wantCode(t, "a recipient who is gone", outcomes[1].Err, schemas.Code_accountNotFound)
	}
	late := *commit
	late.RequestID = nil
	_, _, err := ann.PublishCommit(t.Context(), &late)
	wantCode(t, "the loser", err, schemas.Code_epochConflict)
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Value != 1 {
		t.Errorf("the loser learns %v, want epoch 1", err)
	}
	for _, who := range []member{ann, eve} {
		if got := d.node.stats(t, fsm.QueueID{Owner: ownerOf(who)}).Envelopes; got != 1 {
			t.Errorf("a member's queue holds %d envelopes, want 1", got)
		}
	}
	g, err := eve.FetchGroup(t.Context(), group)
	if err != nil || g.Epoch != 1 || string(g.GroupInfo) != "info 1" {
		t.Errorf("the record: %+v, %v", g, err)
	}
	_, err = eve.FetchGroup(t.Context(), group[1:])
	wantCode(t, "a group that is not there", err, schemas.Code_groupNotFound)
	_, err = eve.FetchGroup(t.Context(), group[:15])
	wantCode(t, "a short group id", err, schemas.Code_groupIdLength)
}

// An outsider who knows the group's id can't end its epoch.
func TestOutsidersBurnNoEpoch(t *testing.T) {
	d := openAccounts(t)
	ann, eve := d.member(t, "ann"), d.member(t, "eve")
	group := bytes.Repeat([]byte{5}, 16)
	_, verifier := proofOf(0)
	_, _, err := ann.PublishCommit(t.Context(), &client.Commit{GroupID: group, NextVerifier: verifier})
	must(t, err)
	before := d.node.stats(t, fsm.QueueID{Owner: ownerOf(ann)})
	for _, proof := range [][]byte{nil, verifier[:], make([]byte, 32)} {
		_, _, err := eve.PublishCommit(t.Context(), &client.Commit{
			GroupID: group, Proof: proof, NextVerifier: [32]byte{1},
			Deliveries: []client.Delivery{{To: []client.Recipient{{Account: ann.key}}, Payload: []byte("x")}},
		})
		wantCode(t, "an outsider", err, schemas.Code_groupProofInvalid)
	}
	if after := d.node.stats(t, fsm.QueueID{Owner: ownerOf(ann)}); after != before {
		t.Errorf("a refused commit was delivered: %+v, before %+v", after, before)
	}
}

// behindNode has a leader that refuses everything at an index which the node has
// not reached yet.
type behindNode struct {
	*accountNode
	ahead atomic.Uint64 // 0: no leader, the node writes itself
}

func (n *behindNode) Propose(ctx context.Context, entry []byte) (uint64, fsm.Result, error) {
	ahead := n.ahead.Load()
	if ahead == 0 {
		return n.accountNode.Propose(ctx, entry)
	}
	return n.Index() + ahead, fsm.Result{Code: schemas.Code_epochConflict, Value: 1}, nil
}

// Who loses an epoch reads nothing older than the commit that won it, though the
// node that it asked may not have that commit yet.
func TestLosersSeeTheWinner(t *testing.T) {
	node := &behindNode{accountNode: newAccountNode(t)}
	d := accountDoor{openDoor(t, NewServer(node, Options{ClusterKey: accountKEK})), node.accountNode}
	ann := d.member(t, "ann")
	_, verifier := proofOf(0)
	node.ahead.Store(7)
	_, _, err := ann.PublishCommit(t.Context(), &client.Commit{GroupID: bytes.Repeat([]byte{5}, 16), NextVerifier: verifier})
	wantCode(t, "the loser", err, schemas.Code_epochConflict)
	if want := node.Index() + 7; ann.Seen() != want {
		t.Errorf("the loser has seen index %d, the log refused at %d", ann.Seen(), want)
	}
}
