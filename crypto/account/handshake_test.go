package account

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// finishing is a login that every test of this file then disturbs.
func finishing(t *testing.T, setup *Setup) (*Server, pending) {
	t.Helper()
	s := must(NewServer(setup))(t)
	record, _ := register(t, s, "alice", "pw")
	p, err := begin(t, s, "alice", "pw", record, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start); err != nil {
		t.Fatalf("an undisturbed login fails: %v", err)
	}
	return s, p
}

// A handshake lives for HandshakeLifetime and not one millisecond more; clocks
// of nodes may differ a little, not absurdly.
func TestHandshakeExpires(t *testing.T) {
	s, p := finishing(t, NewSetup())
	for _, c := range []struct {
		after time.Duration
		alive bool
	}{
		{0, true},
		{HandshakeLifetime - time.Millisecond, true},
		{HandshakeLifetime, false},
		{time.Hour, false},
		{-10 * time.Second, true},
		{-time.Hour, false},
	} {
		_, err := s.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start.Add(c.after))
		if alive := err == nil; alive != c.alive {
			t.Errorf("%v after the start: got %v, want alive %v", c.after, err, c.alive)
		}
		if !c.alive && !errors.Is(err, ErrNoPendingLogin) {
			t.Errorf("%v after the start: got %v, want %v", c.after, err, ErrNoPendingLogin)
		}
	}
}

// No bit of a handshake can be changed, no byte taken or added.
func TestHandshakeForged(t *testing.T) {
	s, p := finishing(t, NewSetup())
	finish := func(sealed []byte) error {
		_, err := s.LoginFinish(name(t, "alice"), p.finalization, sealed, start)
		return err
	}
	for bit := range 8 * len(p.handshake) {
		flipped := bytes.Clone(p.handshake)
		flipped[bit/8] ^= 1 << (bit % 8)
		if err := finish(flipped); !errors.Is(err, ErrNoPendingLogin) {
			t.Fatalf("bit %d flipped: got %v, want %v", bit, err, ErrNoPendingLogin)
		}
	}
	for n := range len(p.handshake) {
		if err := finish(p.handshake[:n]); !errors.Is(err, ErrNoPendingLogin) {
			t.Fatalf("cut to %d bytes: got %v, want %v", n, err, ErrNoPendingLogin)
		}
	}
	if err := finish(append(bytes.Clone(p.handshake), 0)); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("a byte more: got %v, want %v", err, ErrNoPendingLogin)
	}
}

// A finalization is refused with any bit flipped or of another length.
func TestFinalizationForged(t *testing.T) {
	s, p := finishing(t, NewSetup())
	for bit := range 8 * len(p.finalization) {
		flipped := bytes.Clone(p.finalization)
		flipped[bit/8] ^= 1 << (bit % 8)
		if _, err := s.LoginFinish(name(t, "alice"), flipped, p.handshake, start); !errors.Is(err, ErrLoginFailed) {
			t.Fatalf("bit %d flipped: got %v, want %v", bit, err, ErrLoginFailed)
		}
	}
	for _, n := range []int{0, 1, FinalizationSize - 1} {
		if _, err := s.LoginFinish(name(t, "alice"), p.finalization[:n], p.handshake, start); !errors.Is(err, ErrMessage) {
			t.Errorf("%d bytes: got %v, want %v", n, err, ErrMessage)
		}
	}
}

// A handshake serves the name, the run and the cluster it was made for.
func TestHandshakeIsBound(t *testing.T) {
	setup := NewSetup()
	s, p := finishing(t, setup)
	if _, err := s.LoginFinish(name(t, "mallory"), p.finalization, p.handshake, start); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("another name: got %v, want %v", err, ErrNoPendingLogin)
	}
	_, other := finishing(t, setup)
	if _, err := s.LoginFinish(name(t, "alice"), p.finalization, other.handshake, start); !errors.Is(err, ErrLoginFailed) {
		t.Errorf("another run: got %v, want %v", err, ErrLoginFailed)
	}
	stranger := must(NewServer(NewSetup()))(t)
	if _, err := stranger.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("another cluster: got %v, want %v", err, ErrNoPendingLogin)
	}
}

// A login survives one rotation of the handshake key, whichever node has seen
// it, and ends with the second.
func TestHandshakeRotation(t *testing.T) {
	setup := NewSetup()
	_, p := finishing(t, setup)
	finish := func(setup *Setup, p pending) error {
		_, err := must(NewServer(setup))(t).LoginFinish(name(t, "alice"), p.finalization, p.handshake, start)
		return err
	}
	once := setup.Rotate()
	if err := finish(once, p); err != nil {
		t.Errorf("after one rotation: %v", err)
	}
	if err := finish(once.Rotate(), p); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("after two rotations: got %v, want %v", err, ErrNoPendingLogin)
	}
	_, newer := finishing(t, once)
	if err := finish(setup, newer); !errors.Is(err, ErrNoPendingLogin) {
		t.Errorf("a node that has not seen the rotation: got %v, want %v", err, ErrNoPendingLogin)
	}
}
