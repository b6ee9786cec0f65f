package account

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// Every decoder takes any bytes without a panic; what it takes, it gives back
// unchanged, and every refusal is its own kind of error.

func FuzzSetup(f *testing.F) {
	setup := NewSetup()
	f.Add(setup.encode())
	f.Add(setup.Rotate().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSetup(b)
		if err != nil {
			wantError(t, err, ErrSetup)
			return
		}
		if !bytes.Equal(s.encode(), b) {
			t.Errorf("%x decodes and encodes as %x", b, s.encode())
		}
		if _, err := NewServer(s); err != nil {
			t.Errorf("a decoded setup serves nobody: %v", err)
		}
	})
}

func FuzzUnwrap(f *testing.F) {
	var kek [32]byte
	fill(kek[:]) // its own in each process of the fuzzer, like the setup
	wrapped := NewSetup().Wrap(kek)
	f.Add(wrapped)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := WrappedVersion(b); err != nil {
			wantError(t, err, ErrSetup)
		}
		if _, err := Unwrap(kek, b); err != nil {
			wantError(t, err, ErrSetup)
		} else if !bytes.Equal(b, wrapped) {
			t.Errorf("%x opens", b)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(encodeRecord(NewSetup().fake[:]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeRecord(b); err != nil {
			wantError(t, err, ErrRecord)
			return
		}
		if !bytes.Equal(encodeRecord(b[recordHeader:]), b) {
			t.Errorf("%x decodes and encodes otherwise", b)
		}
	})
}

func FuzzHandshake(f *testing.F) {
	k := newSealer(NewSetup())
	own := k.seal(&handshake{expires: start.Add(time.Second)})
	f.Add(own)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := k.open(b, start); err != nil {
			wantError(t, err, ErrNoPendingLogin)
		} else if !bytes.Equal(b, own) {
			t.Errorf("%x opens", b)
		}
	})
}

// FuzzServer feeds one input to every message of the server.
func FuzzServer(f *testing.F) {
	setup := NewSetup()
	s, err := NewServer(setup)
	if err != nil {
		f.Fatal(err)
	}
	alice := name(f, "alice")
	a, request, err := StartLogin(alice, []byte("pw"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(a.Close)
	for _, seed := range [][]byte{request, request[:elementSize], setup.fake[:], make([]byte, FinalizationSize)} {
		f.Add(seed)
	}
	_, handshake, err := s.LoginStart(alice, nil, request, start)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if response, err := s.RegisterStart(alice, b); err != nil {
			wantError(t, err, ErrMessage)
		} else if len(response) != RegistrationResponseSize {
			t.Errorf("a response of %d bytes", len(response))
		}
		if record, err := s.RegisterFinish(b); err != nil {
			wantError(t, err, ErrMessage)
		} else if _, err := decodeRecord(record); err != nil {
			t.Errorf("an accepted upload gives an unreadable record: %v", err)
		}
		if response, _, err := s.LoginStart(alice, nil, b, start); err != nil {
			wantError(t, err, ErrMessage)
		} else if len(response) != LoginResponseSize {
			t.Errorf("a response of %d bytes", len(response))
		}
		if _, err := s.LoginFinish(alice, b, handshake, start); !errors.Is(err, ErrMessage) && !errors.Is(err, ErrLoginFailed) {
			t.Errorf("got %v, want %v or %v", err, ErrMessage, ErrLoginFailed)
		}
	})
}

// FuzzClient feeds one input to both answers that a client reads. Argon2id runs
// only for answers of the right form, which mutation rarely finds.
func FuzzClient(f *testing.F) {
	alice := name(f, "alice")
	f.Add(make([]byte, RegistrationResponseSize))
	f.Add(bytes.Repeat([]byte{0xff}, LoginResponseSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, _, err := StartRegistration(alice, []byte("pw"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Finish(b); err != nil {
			wantError(t, err, ErrMessage)
		}
		a, _, err := StartLogin(alice, []byte("pw"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := a.Finish(b); !errors.Is(err, ErrMessage) && !errors.Is(err, ErrLoginFailed) {
			t.Errorf("got %v, want %v or %v", err, ErrMessage, ErrLoginFailed)
		}
	})
}

func FuzzUsername(f *testing.F) {
	for _, seed := range []string{"alice", "ＡＬＩＣＥ", "jose\u0301", "l·l", "שלום", "a\u200db", "\xff", "ΑΣ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		once, err := ParseUsername(typed)
		if err != nil {
			wantError(t, err, ErrUsername)
			return
		}
		if len(once.String()) > MaxUsername || once.String() == "" {
			t.Errorf("%q becomes %d bytes", typed, len(once.String()))
		}
		if twice, err := ParseUsername(once.String()); err != nil || twice != once {
			t.Errorf("%q becomes %q (%v)", once, twice, err)
		}
	})
}

func wantError(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
