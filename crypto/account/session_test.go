package account

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// tokenOf finishes a login on a server and makes the token of a request.
func tokenOf(t *testing.T, s *Server, who string, p pending, request RequestID) Token {
	t.Helper()
	login, err := s.LoginFinish(name(t, who), p.finalization, p.handshake, start)
	if err != nil {
		t.Fatal(err)
	}
	return login.SessionToken(request)
}

// A client that repeats the end of its login on any node, before or after a
// rotation of the handshake key, gets the same token; another request, another
// handshake and another cluster give other tokens.
func TestSessionTokensAreMadeAgain(t *testing.T) {
	setup := NewSetup()
	nodes := append(cluster(t, setup, 2), cluster(t, setup.Rotate(), 1)...)
	record, _ := register(t, nodes[0], "alice", "pw")
	p, err := begin(t, nodes[0], "alice", "pw", record, start)
	if err != nil {
		t.Fatal(err)
	}
	q, err := begin(t, nodes[0], "alice", "pw", record, start)
	if err != nil {
		t.Fatal(err)
	}
	token := tokenOf(t, nodes[0], "alice", p, RequestID{1})
	for i, s := range nodes {
		if tokenOf(t, s, "alice", p, RequestID{1}) != token {
			t.Errorf("node %d makes another token for the same handshake and request", i)
		}
	}
	if tokenOf(t, nodes[0], "alice", p, RequestID{2}) == token {
		t.Error("another request has the same token")
	}
	if tokenOf(t, nodes[0], "alice", q, RequestID{1}) == token {
		t.Error("another handshake has the same token")
	}
	if token.Hash() != sha256.Sum256(token[:]) {
		t.Error("the hash is not SHA-256 of the token")
	}
}

// What the log and the client hold of a login does not give its token: the same
// handshake id and client MAC under another handshake key give another one.
func TestSessionTokenNeedsTheHandshakeKey(t *testing.T) {
	mac := [nm]byte{1, 2, 3}
	login := func(key byte) Login {
		k := newHandshakeKey(bytes.Repeat([]byte{key}, 32))
		return Login{ID: HandshakeID{9}, Expires: start, secret: k.loginSecret(&mac)}
	}
	if login(1).SessionToken(RequestID{1}) == login(2).SessionToken(RequestID{1}) {
		t.Error("two handshake keys give the same token")
	}
	other := mac
	other[nm-1] ^= 1
	k := newHandshakeKey(bytes.Repeat([]byte{1}, 32))
	if k.loginSecret(&mac) == k.loginSecret(&other) {
		t.Error("two client MACs give the same secret")
	}
}

// The derivation is fixed: nodes of different versions make the same token.
// The values were computed with Python's hmac and hashlib.
func TestSessionTokenVector(t *testing.T) {
	k := newHandshakeKey(bytes.Repeat([]byte{0x11}, 32))
	mac := [nm]byte(bytes.Repeat([]byte{0x22}, nm))
	login := Login{ID: HandshakeID(bytes.Repeat([]byte{0x33}, 16)), secret: k.loginSecret(&mac)}
	token := login.SessionToken(RequestID(bytes.Repeat([]byte{0x44}, 16)))
	if got := hex.EncodeToString(token[:]); got != vectorToken {
		t.Errorf("token is %s, want %s", got, vectorToken)
	}
	s := must(NewServer(NewSetup()))(t)
	s.setup.nameSecret = [32]byte(bytes.Repeat([]byte{0x55}, 32))
	hash := must(s.NameHash(name(t, "Alice")))(t)
	if got := hex.EncodeToString(hash[:]); got != vectorNameHash {
		t.Errorf("name hash is %s, want %s", got, vectorNameHash)
	}
}

// A login that failed, or none at all, gives no token.
func TestNoSessionTokenWithoutLogin(t *testing.T) {
	s := must(NewServer(NewSetup()))(t)
	record, _ := register(t, s, "alice", "pw")
	p, err := begin(t, s, "alice", "pw", record, start)
	if err != nil {
		t.Fatal(err)
	}
	p.finalization[0] ^= 1
	login, err := s.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start)
	if !errors.Is(err, ErrLoginFailed) {
		t.Fatalf("got %v, want %v", err, ErrLoginFailed)
	}
	defer func() {
		if recover() == nil {
			t.Error("a failed login gave a token")
		}
	}()
	login.SessionToken(RequestID{1})
}

// A name has one hash, on every node and over rotations; another name, another
// cluster and the name's credential identifier have others.
func TestNameHash(t *testing.T) {
	setup := NewSetup()
	nodes := append(cluster(t, setup, 2), cluster(t, setup.Rotate(), 1)...)
	want := must(nodes[0].NameHash(name(t, "alice")))(t)
	for i, s := range nodes {
		if must(s.NameHash(name(t, "ALICE")))(t) != want {
			t.Errorf("node %d hashes the name otherwise", i)
		}
	}
	if must(nodes[0].NameHash(name(t, "alicf")))(t) == want {
		t.Error("another name has the same hash")
	}
	if must(must(NewServer(NewSetup()))(t).NameHash(name(t, "alice")))(t) == want {
		t.Error("another cluster hashes the name alike")
	}
	id := setup.credentialID(name(t, "alice"))
	if bytes.Contains(id[:], want[:8]) || sha256.Sum256([]byte("alice")) == want {
		t.Error("the hash is something else that is known of the name")
	}
	if _, err := nodes[0].NameHash(Username{}); !errors.Is(err, ErrUsername) {
		t.Errorf("no name: got %v, want %v", err, ErrUsername)
	}
}

// A login prints nothing of what its token is derived from.
func TestLoginDoesNotPrint(t *testing.T) {
	s := must(NewServer(NewSetup()))(t)
	record, _ := register(t, s, "alice", "pw")
	p, err := begin(t, s, "alice", "pw", record, start)
	if err != nil {
		t.Fatal(err)
	}
	login := must(s.LoginFinish(name(t, "alice"), p.finalization, p.handshake, start.Add(time.Second)))(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, login); got != redacted {
			t.Errorf("prints as %s with %s", got, verb)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("login", login))
	if !strings.Contains(log.String(), "login="+redacted) {
		t.Errorf("logs as %s", log.String())
	}
}

const (
	vectorToken    = "a5f9b9fd18a6ddbaa18007b83788cac458f5cd1d888d220e69286ebc1fcf09b4"
	vectorNameHash = "d2711f0c31a8128bf053ff56fea2b8c32b5d6d5d186b831f51f5ec4e6effd806"
)
