package rpc

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bytemare/ecc"
	"github.com/gtank/ristretto255"

	"quicproquo/crypto/account"
	"quicproquo/schemas"
)

// accountBench is a door without a network in front of a cluster of one: what is
// measured is what the server does, from the request's bytes to the response's.
type accountBench struct {
	conn *conn
	node *accountNode
}

func newAccountBench(b *testing.B) *accountBench {
	b.Helper()
	node := newAccountNode(b)
	node.set(b, "login_failures_max", 1_000_000)
	return &accountBench{newConn(NewServer(node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}}), quiet()), node}
}

// cost is what a request took, and how much of it in the log.
type cost struct{ all, log time.Duration }

func (c cost) add(more cost) cost { return cost{c.all + more.all, c.log + more.log} }

// answer runs a request and returns a copy of the response, untimed, and the cost
// of the rest.
func (a *accountBench) answer(frame []byte) ([]byte, cost, error) {
	s := newFakeStream(nil)
	log := a.node.inLog
	began := time.Now()
	one := newCall(a.conn, s)
	one.frame = append(one.frame[:0], frame...)
	out, err := one.answer()
	took := time.Since(began)
	out = slices.Clone(out)
	began = time.Now()
	one.release()
	return out, cost{took + time.Since(began), a.node.inLog - log}, err
}

// must is answer for requests that succeed.
func (a *accountBench) must(b *testing.B, frame []byte) (raw, cost) {
	b.Helper()
	out, took, err := a.answer(frame)
	must(b, err)
	r := parseRaw(b, out)
	if r.failure.code != schemas.Code_ok {
		b.Fatalf("refused: %s %s", r.failure.code, r.failure.message)
	}
	return r, took
}

// upload runs the first step of a registration and returns the second's message.
func (a *accountBench) upload(b *testing.B, name, password string) []byte {
	b.Helper()
	run, request, err := account.StartRegistration(mustName(b, name), []byte(password))
	must(b, err)
	r, _ := a.must(b, registerStartFrame(b, name, request))
	response, err := schemas.OpaqueRegisterStartResults(r.results).Response()
	must(b, err)
	upload, _, err := run.Finish(slices.Clone(response))
	must(b, err)
	return upload
}

func registerStartFrame(tb testing.TB, name string, request []byte) []byte {
	tb.Helper()
	return frameWith(tb, 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
		return errors.Join(p.SetUsername(name), p.SetRequest(request))
	})
}

// registerFrame makes an account; any upload will do for the server.
func registerFrame(tb testing.TB, first bool, name string, key, upload []byte) []byte {
	tb.Helper()
	return frameMarked(tb, first, 9, newRequestID(), schemas.NewOpaqueRegisterFinishParams, func(p schemas.OpaqueRegisterFinishParams) error {
		return errors.Join(p.SetUsername(name), p.SetUpload(upload), p.SetIdentityKey(key))
	})
}

func loginStartFrame(tb testing.TB, name string, request []byte) []byte {
	tb.Helper()
	return frameWith(tb, 10, nil, schemas.NewOpaqueLoginStartParams, func(p schemas.OpaqueLoginStartParams) error {
		return errors.Join(p.SetUsername(name), p.SetRequest(request))
	})
}

func randomKey(tb testing.TB) []byte {
	tb.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	must(tb, err)
	return public
}

// BenchmarkLoginServer is a whole login on the server, both calls with their
// decoding, reads and writes, against its cryptographic floor in the same run:
// the operations of RFC 9807 and nothing else. The log is applied in memory; what
// a disk and a network add is waiting, not work. Requests that say that they are
// the first of their id cost a check of the store's rules more.
func BenchmarkLoginServer(b *testing.B) {
	b.Run("published", func(b *testing.B) { benchLogin(b, false) })
	b.Run("first", func(b *testing.B) { benchLogin(b, true) })
}

func benchLogin(b *testing.B, first bool) {
	a := newAccountBench(b)
	key := randomKey(b)
	upload := a.upload(b, "alice", "right")
	a.must(b, registerFrame(b, false, "alice", key, upload))
	seed := make([]byte, 32)
	secret := floorScalar(seed)
	_, request, err := account.StartLogin(mustName(b, "alice"), []byte("right"))
	must(b, err)
	start := loginStartFrame(b, "alice", request)
	var ends [][]byte
	compareToFloor(b, func() (floor time.Duration, ours cost) {
		if len(ends) == 0 {
			ends = a.logins(b, first, "alice", key)
		}
		_, ours = a.must(b, start)
		_, more := a.must(b, ends[0])
		ends = ends[1:]
		a.endSessions(b, key) // a person has a few sessions, not hundreds
		began := time.Now()
		floorLogin(secret, seed, request, upload)
		return time.Since(began), ours.add(more)
	})
}

// logins are the ends of logins that only wait to be sent: a client's Argon2id,
// 64 MiB of it, between what is timed would leave cold caches behind.
func (a *accountBench) logins(b *testing.B, first bool, name string, key []byte) (ends [][]byte) {
	b.Helper()
	for range 32 {
		run, request, err := account.StartLogin(mustName(b, name), []byte("right"))
		must(b, err)
		r, _ := a.must(b, loginStartFrame(b, name, request))
		results := schemas.OpaqueLoginStartResults(r.results)
		response, err := results.Response()
		must(b, err)
		handshake, err := results.Handshake()
		must(b, err)
		finalization, _, _, err := run.Finish(slices.Clone(response))
		must(b, err)
		f := finish{name: name, finalization: finalization, handshake: handshake, key: key}
		ends = append(ends, frameMarked(b, first, 11, newRequestID(), schemas.NewOpaqueLoginFinishParams, f.fill))
	}
	return ends
}

// endSessions ends all sessions of an account.
func (a *accountBench) endSessions(b *testing.B, key []byte) {
	b.Helper()
	entry, err := schemas.BuildEntry(newRequestID(), schemas.Caller{Kind: schemas.Actor_Kind_account, Account: key}, func(to schemas.Entry_command) error {
		_, err := to.NewCloseSessions()
		return err
	})
	must(b, err)
	_, result, err := a.node.Propose(b.Context(), entry)
	must(b, err)
	must(b, refusalIn(result))
}

// BenchmarkRegistrationServer is BenchmarkLoginServer for a registration.
func BenchmarkRegistrationServer(b *testing.B) {
	b.Run("published", func(b *testing.B) { benchRegistration(b, false) })
	b.Run("first", func(b *testing.B) { benchRegistration(b, true) })
}

func benchRegistration(b *testing.B, first bool) {
	a := newAccountBench(b)
	upload := a.upload(b, "alice", "right")
	_, request, err := account.StartRegistration(mustName(b, "alice"), []byte("right"))
	must(b, err)
	seed := make([]byte, 32)
	n := 0
	compareToFloor(b, func() (floor time.Duration, ours cost) {
		n++
		name := fmt.Sprintf("name%06d", n)
		_, ours = a.must(b, registerStartFrame(b, name, request))
		_, more := a.must(b, registerFrame(b, first, name, randomKey(b), upload))
		began := time.Now()
		floorRegistration(seed, request, upload)
		return time.Since(began), ours.add(more)
	})
}

// compareToFloor reports medians of what once times, side by side: of the whole,
// and of the whole without the log.
func compareToFloor(b *testing.B, once func() (floor time.Duration, ours cost)) {
	b.Helper()
	var floors, all, rest []time.Duration
	for b.Loop() {
		floor, ours := once()
		floors, all, rest = append(floors, floor), append(all, ours.all), append(rest, ours.all-ours.log)
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2])
	}
	floor := median(floors)
	b.ReportMetric(0, "ns/op") // of client, floor and server together: says nothing
	b.ReportMetric(floor/1e3, "floor-µs")
	b.ReportMetric(median(rest)/1e3, "server-µs")
	b.ReportMetric(median(rest)/floor, "×floor")
	b.ReportMetric(median(all)/floor, "×floor-with-log")
}

// floorLogin: what RFC 9807 §6.3.2.2 and §6.4.4 compute, without checks, copies,
// sealing or a name.
func floorLogin(secret *ristretto255.Scalar, oprfSeed, request, upload []byte) {
	random := make([]byte, 96)
	rand.Read(random)
	blinded, keyshare, public := floorDecode(request[:32]), floorDecode(request[64:]), floorDecode(upload[:32])
	oprf := floorScalar(floorExpand(oprfSeed, 32))
	ephemeral := floorScalar(random[:32])

	product := ristretto255.NewIdentityElement()
	transcript := product.ScalarMult(oprf, blinded).Bytes()
	transcript = append(transcript, product.ScalarBaseMult(ephemeral).Bytes()...)
	ikm := product.ScalarMult(ephemeral, keyshare).Bytes()
	ikm = append(ikm, product.ScalarMult(secret, keyshare).Bytes()...)
	ikm = append(ikm, product.ScalarMult(ephemeral, public).Bytes()...)

	transcript = append(transcript, floorExpand(upload[32:96], 128)...)
	transcript = append(transcript, request...)
	preamble := sha512.Sum512(append(transcript, random...))
	prk, _ := hkdf.Extract(sha512.New, ikm, nil)
	handshake := floorExpand(prk, 64)
	serverMAC := floorMAC(floorExpand(handshake, 64), preamble[:])
	both := sha512.Sum512(append(transcript, serverMAC...))
	floorMAC(floorExpand(handshake, 64), both[:])
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
	s, _ := ristretto255.NewScalar().SetCanonicalBytes(ecc.Ristretto255Sha512.HashToScalar(seed, []byte("DeriveKeyPairOPRFV1-\x00-ristretto255-SHA512")).Encode())
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
