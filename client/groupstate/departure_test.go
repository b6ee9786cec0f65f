package groupstate

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"quicproquo/crypto/identity"
)

func departureOf(tb testing.TB, device byte) (d Departure) {
	tb.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		tb.Fatal(err)
	}
	d.Account, d.SignedAt = [identity.KeySize]byte(public), 1_700_000_000_000
	statement := identity.DeleteAccount(d.Account, d.SignedAt)
	if device != 0 {
		d.Device[0] = device
		statement = identity.RevokeDevice(d.Account, d.Device, d.SignedAt)
	}
	signature, err := statement.Sign(key)
	if err != nil {
		tb.Fatal(err)
	}
	copy(d.Signature[:], signature)
	return d
}

func everybody(Member) bool { return true }

// What is said is read again; what is not signed by its account, is about somebody else,
// or is beyond the limit, is left out.
func TestDepartures(t *testing.T) {
	whole, device := departureOf(t, 0), departureOf(t, 3)
	got := Departures(AppendDepartures([]Departure{whole, device}), everybody)
	if len(got) != 2 || got[0] != whole || got[1] != device {
		t.Errorf("read %v, want what was written", got)
	}
	if !whole.Covers(Member{Account: whole.Account, Device: [identity.DeviceIDSize]byte{9}}) || whole.Covers(Member{Account: device.Account}) {
		t.Error("the end of an account covers all its devices, and nobody else's")
	}
	if !device.Covers(device.Member) || device.Covers(Member{Account: device.Account, Device: [identity.DeviceIDSize]byte{9}}) {
		t.Error("a revocation covers one device")
	}
	forged := device
	forged.Device[0]++
	if got := Departures(AppendDepartures([]Departure{forged}), everybody); len(got) != 0 {
		t.Errorf("read %v, want nothing: it is signed for another device", got)
	}
	if got := Departures(AppendDepartures([]Departure{whole}), func(Member) bool { return false }); len(got) != 0 {
		t.Errorf("read %v, want nothing about who was not removed", got)
	}
	if b := AppendDepartures(nil); b != nil {
		t.Errorf("nothing is written as %x", b)
	}
	many := make([]Departure, maxDepartures+1)
	for i := range many {
		many[i] = whole
	}
	one := AppendDepartures(many[:1])[1:]
	b := append([]byte{departuresVersion}, bytes.Repeat(one, maxDepartures+1)...)
	if got := len(Departures(b, everybody)); got != maxDepartures {
		t.Errorf("%d are read of %d, want %d", got, maxDepartures+1, maxDepartures)
	}
	if len(AppendDepartures(many)) != len(b)-len(one) {
		t.Error("more is written than is read")
	}
}

// Whatever a commit says, only what verifies is read, and reading it again from what it
// encodes to gives the same.
func FuzzDepartures(f *testing.F) {
	f.Add(AppendDepartures([]Departure{departureOf(f, 0), departureOf(f, 1)}))
	f.Add([]byte{departuresVersion})
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, said []byte) {
		list := Departures(said, everybody)
		for i := range list {
			if !list[i].Verify() {
				t.Fatalf("%v does not verify", list[i])
			}
		}
		again := Departures(AppendDepartures(list), everybody)
		if len(again) != len(list) {
			t.Fatalf("%d are read again of %d", len(again), len(list))
		}
	})
}
