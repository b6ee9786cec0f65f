package schedule

import (
	"bytes"
	"testing"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/treemath"
	"quicproquo/crypto/suite"
)

func testSuite(t *testing.T) *suite.Suite {
	t.Helper()
	s, err := suite.Lookup(suite.X25519AES128SHA256Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func wantBroken(t *testing.T, err error, want rule.Rule) {
	t.Helper()
	if got, ok := rule.Of(err); !ok || got != want {
		t.Fatalf("got %v, want rule %s", err, want)
	}
}

func isZero(b []byte) bool { return len(b) > 0 && bytes.Equal(b, make([]byte, len(b))) }

// Skipped keys are kept up to the limit and not one more, the latest of them, however
// many are skipped at once or one after another; and a key is taken once.
func TestSkippedKeysAreBounded(t *testing.T) {
	s := testSuite(t)
	lim := Limits{OutOfOrder: 4, Forward: 100}
	for name, jumps := range map[string][]uint32{
		"at once": {100}, "every second": {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21}, "in two": {50, 100}, "few": {3}, "exactly": {4}, "one more": {5},
	} {
		r := &ratchet{secret: suite.Random(s.HashSize())}
		for _, to := range jumps {
			var err error
			if _, r, err = r.take(s, to, lim); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(r.skipped) > int(lim.OutOfOrder) {
				t.Fatalf("%s: %d keys are kept after generation %d, at most %d", name, len(r.skipped), to, lim.OutOfOrder)
			}
			for _, k := range r.skipped {
				if to-k.Generation > lim.OutOfOrder {
					t.Errorf("%s: the key of generation %d is kept at %d", name, k.Generation, to)
				}
			}
		}
	}
	r := &ratchet{secret: suite.Random(s.HashSize())}
	_, r, err := r.take(s, 6, lim)
	if err != nil {
		t.Fatal(err)
	}
	for g := range uint32(7) {
		key, rest, err := r.take(s, g, lim)
		if kept := g >= 2 && g < 6; kept != (err == nil) {
			t.Fatalf("generation %d: %v", g, err)
		} else if !kept {
			wantBroken(t, err, rule.FrameGenerationUsed)
			continue
		}
		if key.Generation != g {
			t.Errorf("got the key of generation %d, want %d", key.Generation, g)
		}
		_, _, err = rest.take(s, g, lim)
		wantBroken(t, err, rule.FrameGenerationUsed)
	}
}

// A message may skip Forward generations, and not one more.
func TestForwardLimit(t *testing.T) {
	s := testSuite(t)
	lim := Limits{OutOfOrder: 5, Forward: 10}
	r := &ratchet{secret: suite.Random(s.HashSize())}
	if _, _, err := r.take(s, 10, lim); err != nil {
		t.Error(err)
	}
	_, _, err := r.take(s, 11, lim)
	wantBroken(t, err, rule.FrameRatchetTooFar)
}

// The last generation is used once, for sending and receiving, and nothing follows it.
func TestRatchetEnds(t *testing.T) {
	s := testSuite(t)
	const last = ^uint32(0)
	r := &ratchet{secret: suite.Random(s.HashSize()), generation: last}
	_, end, err := r.next(s)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = end.next(s)
	wantBroken(t, err, rule.FrameGenerationUsed)
	_, end, err = r.take(s, last, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = end.take(s, last, DefaultLimits())
	wantBroken(t, err, rule.FrameGenerationUsed)
	_, _, err = end.take(s, 0, DefaultLimits())
	wantBroken(t, err, rule.FrameGenerationUsed)
}

// A sender outside of the tree has no key, nor has one whose secret is gone.
func TestSecretTreeRefuses(t *testing.T) {
	s := testSuite(t)
	tree := NewSecretTree(s, treemath.Size(4), suite.Random(s.HashSize()), DefaultLimits())
	for _, take := range []func(*SecretTree) error{
		func(st *SecretTree) error { _, _, err := st.Next(4, Handshake); return err },
		func(st *SecretTree) error { _, _, err := st.Take(4, Application, 0); return err },
		func(st *SecretTree) error { _, _, err := st.Take(^leafIndex(0), Application, 0); return err },
	} {
		wantBroken(t, take(tree), rule.FrameSender)
	}
	_, tree, err := tree.Next(1, Handshake)
	if err != nil {
		t.Fatal(err)
	}
	tree.chunks[0] = new(chunk) // as if the ratchets were lost, with the leaf's secret
	_, _, err = tree.Next(1, Handshake)
	wantBroken(t, err, rule.FrameGenerationUsed)
	if _, _, err := tree.Next(0, Handshake); err != nil {
		t.Errorf("the neighbour's secret is gone too: %v", err)
	}
}

// What is erased is zero: every secret of an epoch, of a secret tree with untouched
// nodes, ratchets and skipped keys, and of an exporter tree.
func TestZeroErases(t *testing.T) {
	s := testSuite(t)
	epoch, roots := FromEpochSecret(s, suite.Random(s.HashSize()))
	epoch.Zero()
	for i, secret := range epoch.all() {
		if !isZero(secret) {
			t.Errorf("secret %d of an epoch is %x", i, []byte(secret))
		}
	}
	tree := NewSecretTree(s, treemath.Size(64), roots.Encryption, DefaultLimits())
	for _, l := range []leafIndex{0, 5, 63} {
		var err error
		if _, tree, err = tree.Take(l, Application, 3); err != nil {
			t.Fatal(err)
		}
	}
	secrets := treeSecrets(tree.root)
	for _, c := range tree.chunks {
		if c == nil {
			continue
		}
		for _, pair := range c {
			for _, r := range pair {
				if r == nil {
					continue
				}
				secrets = append(secrets, r.secret)
				for _, k := range r.skipped {
					secrets = append(secrets, k.Key, k.Nonce)
				}
			}
		}
	}
	tree.Zero()
	if len(secrets) < 3*2+3*3*2 {
		t.Fatalf("only %d secrets were found", len(secrets))
	}
	for i, secret := range secrets {
		if !isZero(secret) {
			t.Errorf("secret %d of a secret tree is not erased", i)
		}
	}
	exporter := NewExporterTree(s, roots.ApplicationExport)
	_, exporter, _ = exporter.Take(7)
	left := treeSecrets(exporter.root)
	exporter.Zero()
	if len(left) != exporterHeight {
		t.Errorf("an exporter tree without one component has %d secrets, want %d", len(left), exporterHeight)
	}
	for i, secret := range left {
		if !isZero(secret) {
			t.Errorf("secret %d of an exporter tree is not erased", i)
		}
	}
}

// Stepping over generations erases the secrets between: nobody who gets the state later
// finds the keys of messages that were skipped and forgotten.
func TestTakeForgets(t *testing.T) {
	s := testSuite(t)
	first := suite.Random(s.HashSize())
	r := &ratchet{secret: first}
	_, next, err := r.take(s, 50, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	state := next.appendTo(nil)
	for g, secret := uint32(0), first; g <= 50; g, secret = g+1, step(s, secret, g) {
		if bytes.Contains(state, secret) {
			t.Errorf("the state has the secret of generation %d, which is past", g)
		}
		if key := deriveKey(s, secret, g); g < 45 && bytes.Contains(state, key.Key) || g == 50 && bytes.Contains(state, key.Key) {
			t.Errorf("the state has the key of generation %d", g)
		}
	}
}

// treeSecrets returns the secrets of a tree.
func treeSecrets(n *secretNode) (out []suite.Secret) {
	if n == nil {
		return nil
	}
	if n.secret != nil {
		out = append(out, n.secret)
	}
	return append(append(out, treeSecrets(n.left)...), treeSecrets(n.right)...)
}

type leafIndex = treemath.LeafIndex
