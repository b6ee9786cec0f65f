package account

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha512"
	"slices"
	"testing"
	"time"

	"github.com/bytemare/ecc"
	"github.com/bytemare/opaque"
	"github.com/gtank/ristretto255"
)

// BenchmarkLogin compares the server's side of a whole login (both steps) with
// its cryptographic floor: the group operations and hashes that RFC 9807 asks
// of a server, once each, by the fastest constant-time code we have for them.
// Wanted: ×floor at most 1.3. The library's server stands beside it.
func BenchmarkLogin(b *testing.B) {
	setup := NewSetup()
	s := must(NewServer(setup))(b)
	library := libraryServer(b, setup)
	alice := name(b, "alice")
	record := encodeRecord(setup.fake[:])
	request := must(must(configuration(Context).Client())(b).GenerateKE1([]byte("pw")))(b).Serialize()
	finalization := make([]byte, FinalizationSize)
	id := setup.credentialID(alice)

	compare(b, func() {
		floorLogin(s.key.secret, setup.oprfSeed[:], request, record[recordHeader:])
	}, func() {
		_, handshake, err := s.LoginStart(alice, record, request, start)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = s.LoginFinish(alice, finalization, handshake, start) // a wrong MAC costs what the right one does
	}, func() {
		ke1 := must(library.Deserialize.KE1(request))(b)
		stored := must(library.Deserialize.RegistrationRecord(record[recordHeader:]))(b)
		ke2, _, err := library.GenerateKE2(ke1, &opaque.ClientRecord{RegistrationRecord: stored, CredentialIdentifier: id[:], ClientIdentity: []byte("alice")})
		if err != nil {
			b.Fatal(err)
		}
		ke2.Serialize()
	})
}

// BenchmarkRegistration does the same for both steps of a registration.
func BenchmarkRegistration(b *testing.B) {
	setup := NewSetup()
	s := must(NewServer(setup))(b)
	library := libraryServer(b, setup)
	alice := name(b, "alice")
	upload := setup.fake[:]
	request := must(must(configuration(Context).Client())(b).RegistrationInit([]byte("pw")))(b).Serialize()
	id := setup.credentialID(alice)

	compare(b, func() {
		floorRegistration(setup.oprfSeed[:], request, upload)
	}, func() {
		if _, err := s.RegisterStart(alice, request); err != nil {
			b.Fatal(err)
		}
		if _, err := s.RegisterFinish(upload); err != nil {
			b.Fatal(err)
		}
	}, func() {
		message := must(library.Deserialize.RegistrationRequest(request))(b)
		must(library.RegistrationResponse(message, id[:], nil))(b).Serialize()
		must(library.Deserialize.RegistrationRecord(upload))(b)
	})
}

// compare runs three things in turn, so that a busy machine slows all of them,
// and reports medians.
func compare(b *testing.B, floor, ours, library func()) {
	b.Helper()
	var times [3][]time.Duration
	for b.Loop() {
		for i, f := range []func(){floor, ours, library} {
			began := time.Now()
			f()
			times[i] = append(times[i], time.Since(began))
		}
	}
	var median [3]float64
	for i := range times {
		slices.Sort(times[i])
		median[i] = float64(times[i][len(times[i])/2])
	}
	b.ReportMetric(0, "ns/op") // of all three together: says nothing
	b.ReportMetric(median[0]/1e3, "floor-µs")
	b.ReportMetric(median[1]/1e3, "ours-µs")
	b.ReportMetric(median[1]/median[0], "×floor")
	b.ReportMetric(median[2]/median[0], "library×floor")
}

// floorLogin: what RFC 9807 §6.3.2.2 and §6.4.4 compute, without checks,
// copies, sealing or a name.
func floorLogin(secret *ristretto255.Scalar, oprfSeed, request, upload []byte) {
	random := make([]byte, 96)
	fill(random)
	blinded, keyshare, public := floorDecode(request[:32]), floorDecode(request[64:]), floorDecode(upload[:32])
	oprf := floorScalar(floorExpand(oprfSeed, 32))
	ephemeral := floorScalar(random[:32])

	product := ristretto255.NewIdentityElement()
	transcript := product.ScalarMult(oprf, blinded).Bytes()
	transcript = append(transcript, product.ScalarBaseMult(ephemeral).Bytes()...)
	ikm := product.ScalarMult(ephemeral, keyshare).Bytes()
	ikm = append(ikm, product.ScalarMult(secret, keyshare).Bytes()...)
	ikm = append(ikm, product.ScalarMult(ephemeral, public).Bytes()...)

	transcript = append(transcript, floorExpand(upload[32:96], maskedSize)...)
	transcript = append(transcript, request...)
	preamble := sha512.Sum512(append(transcript, random...))
	prk, _ := hkdf.Extract(sha512.New, ikm, nil)
	handshake := floorExpand(prk, nh)
	serverMAC := floorMAC(floorExpand(handshake, nh), preamble[:])
	both := sha512.Sum512(append(transcript, serverMAC...))
	floorMAC(floorExpand(handshake, nh), both[:])
}

func floorRegistration(oprfSeed, request, upload []byte) {
	key := floorScalar(floorExpand(oprfSeed, 32))
	ristretto255.NewIdentityElement().ScalarMult(key, floorDecode(request)).Bytes()
	floorDecode(upload[:32])
}

func floorDecode(b []byte) *ristretto255.Element {
	e, _ := ristretto255.NewIdentityElement().SetCanonicalBytes(b)
	return e
}

func floorScalar(seed []byte) *ristretto255.Scalar {
	s, _ := ristretto255.NewScalar().SetCanonicalBytes(ecc.Ristretto255Sha512.HashToScalar(seed, []byte(deriveDST)).Encode())
	return s
}

func floorExpand(prk []byte, n int) []byte {
	out, _ := hkdf.Expand(sha512.New, prk, "an info as long as the ones of RFC 9807", n)
	return out
}

func floorMAC(key, message []byte) []byte {
	h := hmac.New(sha512.New, key)
	h.Write(message)
	return h.Sum(nil)
}
