package account

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/bytemare/ecc"
	"github.com/bytemare/opaque"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func name(tb testing.TB, s string) Username { tb.Helper(); return must(ParseUsername(s))(tb) }

// cluster returns servers of one setup that share nothing but its wrapped bytes.
func cluster(tb testing.TB, setup *Setup, nodes int) []*Server {
	tb.Helper()
	kek := [32]byte{1}
	wrapped := setup.Wrap(kek)
	var servers []*Server
	for range nodes {
		servers = append(servers, must(NewServer(must(Unwrap(kek, wrapped))(tb)))(tb))
	}
	return servers
}

// register runs a registration and returns the stored record and the export key.
func register(tb testing.TB, s *Server, who, password string) ([]byte, Key) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("Argon2 on one goroutine: go test without -short runs it, the race detector has nothing to see")
	}
	r, request, err := StartRegistration(name(tb, who), []byte(password))
	if err != nil {
		tb.Fatal(err)
	}
	upload, export, err := r.Finish(must(s.RegisterStart(name(tb, who), request))(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return must(s.RegisterFinish(upload))(tb), export
}

// pending is a login whose client has yet to present its finalization.
type pending struct {
	finalization, handshake []byte
	export                  Key
}

func begin(tb testing.TB, s *Server, who, password string, record []byte, now time.Time) (pending, error) {
	tb.Helper()
	a, request, err := StartLogin(name(tb, who), []byte(password))
	if err != nil {
		tb.Fatal(err)
	}
	response, handshake, err := s.LoginStart(name(tb, who), record, request, now)
	if err != nil {
		tb.Fatal(err)
	}
	finalization, _, export, err := a.Finish(response)
	return pending{finalization, handshake, export}, err
}

// A login that one node began, another one finishes, and the export key is the
// one of the registration.
func TestLoginFinishesOnAnyNode(t *testing.T) {
	nodes := cluster(t, NewSetup(), 3)
	record, export := register(t, nodes[0], "alice", "correct horse")
	p, err := begin(t, nodes[1], "Alice", "correct horse", record, start)
	if err != nil {
		t.Fatalf("the right password was refused: %v", err)
	}
	if p.export != export {
		t.Error("the export key is not the one of the registration")
	}
	for _, node := range nodes {
		login, err := node.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start.Add(time.Second))
		if err != nil {
			t.Fatalf("a node refused what another one began: %v", err)
		}
		if login.Record != RecordDigest(record) {
			t.Error("the login does not name the record it was proved against")
		}
		if want := start.Add(HandshakeLifetime); !login.Expires.Equal(want) {
			t.Errorf("the login expires at %v, want %v", login.Expires, want)
		}
	}
}

// The log tells a replay by its id: the same for the same handshake on every
// node, and never the same for two.
func TestHandshakeIDs(t *testing.T) {
	nodes := cluster(t, NewSetup(), 2)
	record, _ := register(t, nodes[0], "alice", "pw")
	var ids []HandshakeID
	for range 2 {
		p, err := begin(t, nodes[0], "alice", "pw", record, start)
		if err != nil {
			t.Fatal(err)
		}
		first := must(nodes[0].LoginFinish(name(t, "alice"), p.finalization, p.handshake, start))(t)
		again := must(nodes[1].LoginFinish(name(t, "alice"), p.finalization, p.handshake, start))(t)
		if first.ID != again.ID {
			t.Error("a replayed handshake has another id")
		}
		ids = append(ids, first.ID)
	}
	if ids[0] == ids[1] {
		t.Error("two handshakes have the same id")
	}
}

// A wrong password and an unknown name fail in the client with one error, and
// whatever the client then sends fails on the server with one error.
func TestLoginFailsInOneWay(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	record, _ := register(t, s, "alice", "right")
	right, err := begin(t, s, "alice", "right", record, start)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, name, password string
		record               []byte
	}{
		{"wrong password", "alice", "wrong", record},
		{"unknown name", "nobody", "right", nil},
	} {
		p, err := begin(t, s, c.name, c.password, c.record, start)
		if !errors.Is(err, ErrLoginFailed) || err.Error() != ErrLoginFailed.Error() {
			t.Errorf("%s: the client says %v, want exactly %v", c.what, err, ErrLoginFailed)
		}
		for _, finalization := range [][]byte{make([]byte, FinalizationSize), right.finalization} {
			login, err := s.LoginFinish(name(t, c.name), finalization, p.handshake, start)
			if !errors.Is(err, ErrLoginFailed) || err.Error() != ErrLoginFailed.Error() {
				t.Errorf("%s: the server says %v, want exactly %v", c.what, err, ErrLoginFailed)
			}
			if login.ID == (HandshakeID{}) {
				t.Errorf("%s: a failed login has no id to count it by", c.what)
			}
		}
	}
}

// A handshake of an unknown name fails even with the MAC that it holds, which
// only a broken group could give away.
func TestUnknownNeverFinishes(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	_, request, err := StartLogin(name(t, "nobody"), []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	_, sealed, err := s.LoginStart(name(t, "nobody"), nil, request, start)
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := s.sealer.open(sealed, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.LoginFinish(name(t, "nobody"), h.clientMAC[:], sealed, start); !errors.Is(err, ErrLoginFailed) {
		t.Errorf("finished the login of a name without a record: %v", err)
	}
}

// Unknown names are answered like known ones: same lengths, and the same
// evaluation on every node, after a restart, a rotation, before and after the
// name is registered; another name has another evaluation.
func TestUnknownNamesLookKnown(t *testing.T) {
	setup := NewSetup()
	nodes := append(cluster(t, setup, 2), cluster(t, setup.Rotate(), 1)...)
	record, _ := register(t, nodes[0], "alice", "pw")
	_, request, err := StartLogin(name(t, "alice"), []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	evaluation := func(s *Server, who string, record []byte) []byte {
		response, handshake, err := s.LoginStart(name(t, who), record, request, start)
		if err != nil {
			t.Fatal(err)
		}
		if len(response) != LoginResponseSize || len(handshake) != HandshakeSize {
			t.Errorf("%s: response has %d bytes and handshake %d, want %d and %d", who, len(response), len(handshake), LoginResponseSize, HandshakeSize)
		}
		return response[:elementSize]
	}
	want := evaluation(nodes[0], "alice", nil)
	for _, s := range nodes {
		for _, r := range [][]byte{nil, record} {
			equal(t, "evaluation of alice", evaluation(s, "alice", r), want)
		}
		if bytes.Equal(evaluation(s, "bob", nil), want) {
			t.Error("two names have the same evaluation")
		}
		registration := must(s.RegisterStart(name(t, "alice"), request[:elementSize]))(t)
		equal(t, "evaluation in a registration", registration[:elementSize], want)
	}
	if a, b := must(nodes[0].RegisterStart(name(t, "alice"), request[:elementSize]))(t), must(nodes[1].RegisterStart(name(t, "alice"), request[:elementSize]))(t); !bytes.Equal(a, b) {
		t.Error("two nodes answer one registration differently")
	}
}

// A new password gives another record, and the old one's login says which
// record it was proved against, so that the log can refuse it.
func TestPasswordChange(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	before, _ := register(t, s, "alice", "old")
	p, err := begin(t, s, "alice", "old", before, start)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := register(t, s, "alice", "new")
	login := must(s.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start))(t)
	if login.Record == RecordDigest(after) {
		t.Error("a login with the old password passes for one with the new")
	}
	if _, err := begin(t, s, "alice", "old", after, start); !errors.Is(err, ErrLoginFailed) {
		t.Errorf("the old password gives %v, want %v", err, ErrLoginFailed)
	}
	if _, err := begin(t, s, "alice", "new", after, start); err != nil {
		t.Errorf("the new password gives %v", err)
	}
}

// Every input of the server that has the wrong length or no valid group element
// is refused, in a way that says so.
func TestServerRefusesBadInput(t *testing.T) {
	s := cluster(t, NewSetup(), 1)[0]
	record, _ := register(t, s, "alice", "pw")
	_, request, err := StartLogin(name(t, "alice"), []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	upload := record[recordHeader:]
	alice := name(t, "alice")
	loginStart := func(record, request []byte) error {
		_, _, err := s.LoginStart(alice, record, request, start)
		return err
	}
	registerStart := func(request []byte) error { _, err := s.RegisterStart(alice, request); return err }
	registerFinish := func(upload []byte) error { _, err := s.RegisterFinish(upload); return err }
	none := bytes.Repeat([]byte{0xff}, elementSize)
	for _, c := range []struct {
		what string
		got  error
		want error
	}{
		{"register start, empty", registerStart(nil), ErrMessage},
		{"register start, long", registerStart(make([]byte, 33)), ErrMessage},
		{"register start, identity", registerStart(make([]byte, 32)), ErrMessage},
		{"register start, no element", registerStart(none), ErrMessage},
		{"register finish, empty", registerFinish(nil), ErrMessage},
		{"register finish, short", registerFinish(upload[1:]), ErrMessage},
		{"register finish, identity", registerFinish(overwrite(upload, 0, make([]byte, 32))), ErrMessage},
		{"register finish, no masking key", registerFinish(overwrite(upload, 32, make([]byte, 64))), ErrMessage},
		{"login start, empty", loginStart(record, nil), ErrMessage},
		{"login start, long", loginStart(record, append(bytes.Clone(request), 0)), ErrMessage},
		{"login start, identity", loginStart(record, overwrite(request, 0, make([]byte, 32))), ErrMessage},
		{"login start, no nonce", loginStart(record, overwrite(request, 32, make([]byte, 32))), ErrMessage},
		{"login start, no key share", loginStart(record, overwrite(request, 64, none)), ErrMessage},
		{"login start, empty record", loginStart([]byte{}, request), ErrRecord},
		{"login start, short record", loginStart(record[1:], request), ErrRecord},
		{"login start, newer format", loginStart(overwrite(record, 0, []byte{2}), request), ErrRecord},
		{"login start, other suite", loginStart(overwrite(record, 1, []byte{9}), request), ErrRecord},
		{"login start, other argon2id", loginStart(overwrite(record, 5, []byte{1}), request), ErrRecord},
		{"login start, damaged record", loginStart(overwrite(record, recordHeader, none), request), ErrRecord},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
	if _, _, err := s.LoginStart(Username{}, nil, request, start); !errors.Is(err, ErrUsername) {
		t.Errorf("the zero name: got %v, want %v", err, ErrUsername)
	}
	if errors.Is(loginStart(overwrite(record, recordHeader, none), request), ErrMessage) {
		t.Error("a damaged record passes for a client's fault")
	}
}

func overwrite(b []byte, at int, with []byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

// generateKE2 gives the bytes that the library's GenerateKE2 gives for the same
// secrets, names and random values: the library is our oracle.
func TestServerMatchesLibrary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		setup := NewSetup()
		s := must(NewServer(setup))(t)
		who := Username{canonical: rapid.StringN(1, 20, 60).Draw(rt, "name")}
		upload := fakeOf(setup, rapid.SliceOfN(rapid.Byte(), nE, nE).Draw(rt, "envelope"))
		client := must(configuration(Context).Client())(t)
		request := must(client.GenerateKE1([]byte("pw")))(t).Serialize()
		var random serverRandom
		random.draw()

		want, output := libraryKE2(t, setup, who, upload, request, &random)
		id := setup.credentialID(who)
		c := &credential{
			record: must(decodeRegistration(upload))(t), oprfKey: oprfKey(setup.oprfSeed[:], id), identity: who.canonical,
		}
		got, clientMAC := generateKE2(s.key, Context, must(decodeLoginRequest(request))(t), c, &random)
		if !bytes.Equal(got, want) || !bytes.Equal(clientMAC, output.ClientMAC) {
			rt.Fatalf("KE2 %x with MAC %x, the library says %x with %x", got, clientMAC, want, output.ClientMAC)
		}
	})
}

func fakeOf(setup *Setup, envelope []byte) []byte {
	return append(bytes.Clone(setup.fake[:elementSize+nh]), envelope...)
}

func libraryKE2(tb testing.TB, setup *Setup, who Username, upload, request []byte, random *serverRandom) ([]byte, *opaque.ServerOutput) {
	tb.Helper()
	server := libraryServer(tb, setup)
	id := setup.credentialID(who)
	ke2, output, err := server.GenerateKE2(must(server.Deserialize.KE1(request))(tb), &opaque.ClientRecord{
		RegistrationRecord:   must(server.Deserialize.RegistrationRecord(upload))(tb),
		CredentialIdentifier: id[:],
		ClientIdentity:       []byte(who.canonical),
	}, &opaque.ServerOptions{
		MaskingNonce: random.maskingNonce[:],
		AKE:          &opaque.AKEOptions{SecretKeyShareSeed: random.keyshareSeed[:], Nonce: random.nonce[:]},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return ke2.Serialize(), output
}

// libraryServer is the library with a setup's secrets.
func libraryServer(tb testing.TB, setup *Setup) *opaque.Server {
	tb.Helper()
	key := setup.serverKey()
	server := must(configuration(Context).Server())(tb)
	err := server.SetKeyMaterial(&opaque.ServerKeyMaterial{
		PrivateKey:     must(opaque.DeserializeScalar(ecc.Ristretto255Sha512, key.secret.Bytes()))(tb),
		PublicKeyBytes: key.public[:],
		OPRFGlobalSeed: setup.oprfSeed[:],
	})
	if err != nil {
		tb.Fatal(err)
	}
	return server
}
