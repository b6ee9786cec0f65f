package mls

import (
	"bytes"
	"fmt"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/suite"
)

func isZero(b []byte) bool { return len(b) > 0 && bytes.Equal(b, make([]byte, len(b))) }

// An epoch that is over is erased, but for what its successor reads late messages and
// resumes with.
func TestGroupZeroErases(t *testing.T) {
	w := newWorld(t, worldOptions{})
	_, late, err := w.members[1].Encrypt([]byte("late"), nil)
	must(late, err)(t)
	old := w.members[0]
	w.accept(0, must(w.members[0].Commit(CommitOptions{}, worldTime))(t))
	e := old.epoch
	erased := map[string]suite.Secret{
		"exporter": e.Exporter, "external": e.External, "confirmation": e.ConfirmationKey,
		"membership": e.MembershipKey, "authenticator": e.Authenticator, "init": e.Init,
	}
	exporter := codec.Marshal(old.exporter)
	for what, secret := range erased {
		if isZero(secret) {
			t.Fatalf("the %s secret was zero before", what)
		}
	}
	old.Retire(w.members[0])
	for what, secret := range erased {
		if !isZero(secret) {
			t.Errorf("the %s secret of an epoch that is over is still there", what)
		}
	}
	if bytes.Equal(exporter, codec.Marshal(old.exporter)) {
		t.Error("the exporter tree is still there")
	}
	if isZero(e.SenderData) || isZero(e.ResumptionPSK) {
		t.Error("what the successor needs is erased too")
	}
	w.deliver(0, late)
}

// The private keys of a used key package are erased, those of the group that joined with
// it are not.
func TestKeyPackageZeroErases(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kp := w.lastKP
	joined := must(Join(w.cfg, []*KeyPackage{kp}, w.welcome, JoinOptions{}, worldTime))(t)
	init, leaf := kp.initKey.Bytes(), kp.leafKey.Bytes()
	kp.Zero()
	if !isZero(init) || !isZero(leaf) {
		t.Error("a private key of a used key package is still there")
	}
	if isZero(joined.priv.Key(joined.Self().Node()).Bytes()) {
		t.Error("the group has lost its leaf key")
	}
}

// A commit with a welcome leaves neither its joiner secret nor its path secrets behind:
// with them whoever finds the memory later reads the new epoch.
func TestCommitErasesItsSecrets(t *testing.T) {
	w := newWorld(t, worldOptions{})
	g := w.members[0]
	kp := w.keyPackage(identity(t, "new"), nil)
	own := g.ownProposals(CommitOptions{Add: []*message.KeyPackage{kp}})
	own[0].sender = message.Member(0)
	c, err := g.pub.change(g.cfg, own, message.Member(0), false, worldTime)
	must(c, err)(t)
	b := &builder{g: g, change: c, id: g.id, wire: message.WirePublic}
	if err := b.build(g.psk, g.epoch.Init, true); err != nil {
		t.Fatal(err)
	}
	joiner, path := b.joiner, b.path.SecretFor(0, 4)
	if isZero(joiner) || isZero(path) {
		t.Fatal("the secrets were zero before the welcome was sealed")
	}
	must(b.pending())(t)
	if !isZero(joiner) || !isZero(path) {
		t.Error("a secret of the commit is still there after the welcome was sealed")
	}
	if isZero(g.epoch.Init) {
		t.Error("the init secret of the present epoch, which another commit may need, is erased")
	}
}

// The key that encrypted a message is not in the state after it.
func TestSentKeyIsGone(t *testing.T) {
	w := newWorld(t, worldOptions{})
	key, _, err := w.members[0].secrets.Next(0, schedule.Application)
	must(key, err)(t)
	next, _, err := w.members[0].Encrypt([]byte("x"), nil)
	must(next, err)(t)
	if bytes.Contains(next.Marshal(), key.Key) {
		t.Error("the state has the key of a message that was sent")
	}
}

// Two messages of the same state, as after a restored backup, use the same key: the reuse
// guard, which is random, keeps their nonces apart (RFC 9420 §6.3.1).
func TestReuseGuardIsRandom(t *testing.T) {
	w := newWorld(t, worldOptions{})
	g, s := w.members[0], w.members[0].pub.s
	seen := map[string]bool{}
	var ones, zeros [4]byte
	const n = 64
	for range n {
		_, msg, err := g.Encrypt([]byte("the same"), nil)
		must(msg, err)(t)
		m := must(message.Parse(msg))(t).Private
		k, nonce := schedule.SenderDataKeys(s, g.epoch.SenderData, m.Ciphertext)
		head := must(s.Open(k, nonce, append(codec.Uint64(codec.Bytes(nil, m.GroupID), m.Epoch), byte(m.Type)), m.EncryptedSenderData))(t)
		guard := head[8:]
		seen[string(guard)] = true
		for i, b := range guard {
			ones[i], zeros[i] = ones[i]|b, zeros[i]|^b
		}
		seen["c"+string(m.Ciphertext)] = true
	}
	if len(seen) != 2*n {
		t.Errorf("%d different guards and ciphertexts of %d messages, want %d", len(seen), n, 2*n)
	}
	if got := fmt.Sprintf("%x %x", ones, zeros); got != "ffffffff ffffffff" {
		t.Errorf("some bit of the guard never changes: %s", got)
	}
}
