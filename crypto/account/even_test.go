package account

import (
	"bytes"
	"testing"
)

// A login start does the same work for a known and an unknown name: the same number of
// allocations, of which each element, hash and key has its own. The control, a server
// that draws a fake record at each start, shows that the count sees a difference.
func TestUnknownNamesCostTheSame(t *testing.T) {
	setup := NewSetup()
	s := must(NewServer(setup))(t)
	request := must(must(configuration(Context).Client())(t).GenerateKE1([]byte("pw")))(t).Serialize()
	who := name(t, "alice")
	record, _ := register(t, s, "alice", "pw")
	count := func(record func() []byte) float64 {
		return testing.AllocsPerRun(50, func() {
			if _, _, err := s.LoginStart(who, record(), request, start); err != nil {
				t.Error(err)
			}
		})
	}
	known, unknown := count(func() []byte { return record }), count(func() []byte { return nil })
	if known != unknown || known < 5 {
		t.Errorf("a known name makes %v allocations, an unknown one %v: want the same, and many", known, unknown)
	}
	if drawn := count(func() []byte {
		own := *setup
		own.drawFake()
		return encodeRecord(own.fake[:])
	}); drawn <= known {
		t.Errorf("a server that draws a fake record makes %v allocations, others %v: the count sees nothing", drawn, known)
	}
}

// The answer for an unknown name is that of a name with the cluster's fake record: the
// same evaluation of the OPRF under the name's own key, and a masked response of the
// same form.
func TestUnknownNamesAreEvaluated(t *testing.T) {
	s := must(NewServer(NewSetup()))(t)
	request := must(must(configuration(Context).Client())(t).GenerateKE1([]byte("pw")))(t).Serialize()
	answer := func(who string, record []byte) []byte {
		t.Helper()
		response, sealed, err := s.LoginStart(name(t, who), record, request, start)
		if err != nil || len(response) != LoginResponseSize || len(sealed) != HandshakeSize {
			t.Fatalf("%s: %d and %d bytes, %v", who, len(response), len(sealed), err)
		}
		return response[:elementSize]
	}
	record, _ := register(t, s, "alice", "pw")
	if !bytes.Equal(answer("alice", record), answer("alice", nil)) {
		t.Error("alice's password is evaluated under another key when she has no record")
	}
	if bytes.Equal(answer("alice", nil), answer("bob", nil)) {
		t.Error("two unknown names share a key")
	}
}
