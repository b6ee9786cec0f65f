package mls

import (
	"bytes"
	"errors"
	"testing"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/suite"
)

// What is sealed to a leaf is opened by its member alone, under the same component,
// label and context, and in later epochs too while its leaf stays as it is.
func TestSealToLeaf(t *testing.T) {
	w := newWorld(t, worldOptions{})
	a, b, c := w.members[0], w.members[1], w.members[2]
	sealed := must(a.SealToLeaf(b.Self(), 0x8001, "label", []byte("context"), []byte("secret")))(t)
	got := must(b.OpenAtLeaf(0x8001, "label", []byte("context"), sealed))(t)
	if !bytes.Equal(got, []byte("secret")) {
		t.Errorf("opened %q, want what was sealed", []byte(got))
	}
	for name, open := range map[string]func() (suite.Secret, error){
		"another member":    func() (suite.Secret, error) { return c.OpenAtLeaf(0x8001, "label", []byte("context"), sealed) },
		"another component": func() (suite.Secret, error) { return b.OpenAtLeaf(0x8002, "label", []byte("context"), sealed) },
		"another label":     func() (suite.Secret, error) { return b.OpenAtLeaf(0x8001, "other", []byte("context"), sealed) },
		"another context":   func() (suite.Secret, error) { return b.OpenAtLeaf(0x8001, "label", nil, sealed) },
	} {
		if _, err := open(); !errors.Is(err, suite.ErrOpen) {
			t.Errorf("%s: got %v, want ErrOpen", name, err)
		}
	}
	for n := range sealed {
		if _, err := b.OpenAtLeaf(0x8001, "label", []byte("context"), sealed[:n]); err == nil {
			t.Fatalf("opened the first %d of %d bytes", n, len(sealed))
		}
	}
	if _, err := a.SealToLeaf(99, 0x8001, "label", nil, nil); err == nil {
		t.Error("sealed to a leaf that is not there")
	}
}

// A key package that is erased after it was used leaves the group its leaf key, also
// when the group is saved and loaded.
func TestZeroKeyPackageAfterJoin(t *testing.T) {
	w := newWorld(t, worldOptions{})
	id := identity(t, "late")
	kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(t)
	pending := must(w.members[0].Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(t)
	late := must(Join(w.cfg, []*KeyPackage{kp}, pending.Welcome, JoinOptions{}, worldTime))(t)
	kp.Zero()
	late = reloaded(t, w.cfg, late)
	next := must(pending.Next.Commit(CommitOptions{}, worldTime))(t)
	if _, _, err := late.Process(next.Commit, worldTime); err != nil {
		t.Errorf("process the next commit: %v", err)
	}
}
