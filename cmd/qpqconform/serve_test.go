package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
	"quicproquo/testcluster/npm"
	"quicproquo/testcluster/referee"
)

func socket(t *testing.T) net.PacketConn {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

func startReferee(t *testing.T, quiet bool) *referee.Referee {
	t.Helper()
	r, err := referee.Start(t.Context(), referee.Options{Dir: t.TempDir(), Quiet: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// The client of this project keeps every rule, all of which are seen.
func TestGoClientIsJudged(t *testing.T) {
	t.Parallel()
	r := startReferee(t, false)
	caller, err := conn.Dial(conn.Options{Endpoints: r.Endpoints(), TLS: tlsid.PinnedDialConfig(r.Pin(), nil), PacketConn: socket(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := caller.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := talk(ctx, caller); err != nil {
		t.Errorf("the client: %v", err)
	}
	for _, v := range r.Verdicts() {
		if !v.Seen || v.Broken != "" {
			t.Errorf("%s (%s): %s", v.Rule, v.Section, v.Word())
		}
	}
	for _, c := range r.Calls() {
		t.Logf("%v %d/%d %s %.8s seen %d first %t: %s, index %d, act %q", c.At.Format("05.000"), c.Address, c.Connection, c.Method, c.RequestID, c.Seen, c.First, c.Code.ID(), c.Index, c.Act)
	}
}

// talk does what the help of serve asks a client to do.
func talk(ctx context.Context, caller *conn.Conn) error {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))
	peer := ed25519.NewKeyFromSeed([]byte(strings.Repeat("p", 32)))
	me, other := conn.AccountKey(key.Public().(ed25519.PublicKey)), conn.AccountKey(peer.Public().(ed25519.PublicKey))
	password := func() []byte { return []byte("a password") }
	if _, err := caller.Register(ctx, "peer", password(), peer); err != nil {
		return err
	}
	if _, err := caller.Register(ctx, "me", password(), key); err != nil {
		return err
	}
	if _, _, err := caller.Login(ctx, conn.Credentials{Username: "me", Password: password(), Account: me, Key: key}); err != nil {
		return err
	}
	if _, err := caller.Whoami(ctx); err != nil {
		return err
	}
	if found, err := caller.ResolveUser(ctx, "peer"); err != nil || found != other {
		return fmt.Errorf("resolve: %x, %w", found, err)
	}
	if _, _, err := caller.CreateChannel(ctx, other); err != nil {
		return err
	}
	for i := range uint64(2) {
		seq, err := caller.Enqueue(ctx, conn.Message{To: me, Payload: []byte("to myself")})
		if err != nil || seq != i+1 {
			return fmt.Errorf("message %d is number %d: %w", i+1, seq, err)
		}
		list, err := caller.FetchWait(ctx, conn.Read{}, 10*time.Second)
		if err != nil || len(list) != 1 || list[0].Seq != seq {
			return fmt.Errorf("fetched %v: %w", list, err)
		}
		if _, err := caller.Ack(ctx, conn.Queue{}, seq); err != nil {
			return err
		}
	}
	if _, err := caller.Enqueue(ctx, conn.Message{To: me, Payload: []byte("the third")}); err != nil {
		return err
	}
	for e, err := range caller.Subscribe(ctx, conn.Subscription{}) {
		if err != nil || e.Seq != 3 {
			return fmt.Errorf("subscribed: %d, %w", e.Seq, err)
		}
		break
	}
	_, err := caller.Logout(ctx, false)
	return err
}

// The client in JavaScript keeps every rule that it comes to, and its program ends well
// whatever is played to it.
func TestJavaScriptClientIsJudged(t *testing.T) {
	if testing.Short() {
		t.Skip("the client is another process: go test without -short runs it, the race detector has nothing to see")
	}
	t.Parallel()
	folder := npm.Folder(t, "../../docs/clients/js")
	out, err := conformance(t, "serve", "--", "node", folder+"/talk.mjs", addressWord)
	if err != nil {
		t.Errorf("%v", err)
	}
	for _, missing := range []string{"a subscription too many"} { // it has no subscribe
		if !strings.Contains(out, missing) || strings.Count(out, "not seen: ") != 1 {
			t.Errorf("want that all rules are seen but %q", missing)
		}
	}
	t.Log(out)
}

// Clients that break a rule are told so: each breaks one, and the same calls in order
// break none.
func TestBadClientsAreJudged(t *testing.T) {
	if testing.Short() {
		t.Skip("nine servers one after the other; TestGoClientIsJudged has what the race detector looks for")
	}
	t.Parallel()
	for _, row := range []struct {
		name, broken string // a part of the rule's text
		bad          func(context.Context, *bad) error
	}{
		{"a good one", "", func(ctx context.Context, b *bad) error {
			return errors.Join(b.send(ctx, 1, true, "x"), b.send(ctx, 1, false, "x"), b.send(ctx, 2, true, "y"), b.send(ctx, 2, false, "y"))
		}},
		{"another id after E032", "after E032", func(ctx context.Context, b *bad) error {
			return errors.Join(b.send(ctx, 1, true, "x"), b.send(ctx, 2, true, "x"))
		}},
		{"gives up after E032", "after E032", func(ctx context.Context, b *bad) error { return b.send(ctx, 1, true, "x") }},
		{"one id for two commands", "a request id is one command's", func(ctx context.Context, b *bad) error {
			return errors.Join(b.send(ctx, 1, true, "x"), b.send(ctx, 1, false, "x"), b.send(ctx, 1, false, "y"))
		}},
		{"always first", "first is set", func(ctx context.Context, b *bad) error {
			return errors.Join(b.send(ctx, 1, true, "x"), b.send(ctx, 1, true, "x"))
		}},
		{"no id", "16 bytes", func(ctx context.Context, b *bad) error { return b.send(ctx, 0, true, "x") }},
		{"forgets what it has seen", "seen is the highest", func(ctx context.Context, b *bad) error {
			b.forgets = true
			err := b.health(ctx)
			time.Sleep(400 * time.Millisecond)
			return errors.Join(err, b.health(ctx))
		}},
		{"does not wait", "not before its time", func(ctx context.Context, b *bad) error {
			return errors.Join(b.resolve(ctx), b.resolve(ctx))
		}},
		{"acknowledges what it was not given", "only what was given out", func(ctx context.Context, b *bad) error { return b.ack(ctx, 1) }},
	} {
		r := startReferee(t, false)
		w, err := conform.Open(t.Context(), conform.Options{Servers: r.Endpoints(), Pin: r.Pin()})
		if err != nil {
			t.Fatal(err)
		}
		token, key, err := w.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l, err := wire.Dial(t.Context(), r.Endpoints()[0], wire.Options{Pin: r.Pin()})
		if err != nil {
			t.Fatal(err)
		}
		if err := row.bad(t.Context(), &bad{link: l, token: token, key: key}); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		broken := ""
		for _, v := range r.Verdicts() {
			if v.Broken != "" {
				broken += v.Rule + ": " + v.Broken + "\n"
			}
		}
		if (row.broken == "") != (broken == "") || !strings.Contains(broken, row.broken) || strings.Count(broken, "\n") > 2 {
			t.Errorf("%s: broken is %q, want %q", row.name, broken, row.broken)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// bad is a client without rules, in a session that it uses by its token.
type bad struct {
	link    *wire.Link
	token   []byte
	key     []byte // of its account
	seen    uint64
	forgets bool
}

// call sends a call, and takes whatever comes.
func (b *bad) call(ctx context.Context, method uint16, id []byte, isFirst bool, fill func(schemas.Request) error) error {
	msg, seg := schemas.NewMessage()
	r, err := schemas.NewRootRequest(seg)
	if err != nil {
		return err
	}
	r.SetMethod(method)
	r.SetFirst(isFirst)
	if !b.forgets {
		r.SetSeen(b.seen)
	}
	if err := errors.Join(r.SetRequestId(id), fill(r)); err != nil {
		return err
	}
	frame, err := msg.Marshal()
	if err != nil {
		return err
	}
	a, err := b.link.Exchange(ctx, frame)
	if _, reset := wire.ResetCode(err); reset {
		return nil
	}
	b.seen = max(b.seen, a.Index)
	return err
}

func (b *bad) health(ctx context.Context) error {
	return b.call(ctx, 5, nil, false, func(schemas.Request) error { return nil })
}

func (b *bad) auth(a schemas.Auth, err error) error {
	a.SetVersion(schemas.AuthVersion)
	return errors.Join(err, a.SetAccessToken(b.token))
}

// send makes an enqueue to the caller itself.
func (b *bad) send(ctx context.Context, id byte, isFirst bool, payload string) error {
	var bytes []byte
	if id > 0 {
		bytes = []byte(strings.Repeat(string('a'+id), schemas.RequestIDSize))
	}
	return b.call(ctx, 2, bytes, isFirst, func(r schemas.Request) error {
		p, err := schemas.NewEnqueueParams(r.Segment())
		if err != nil {
			return err
		}
		p.SetVersion(schemas.WireVersion)
		return errors.Join(b.auth(p.NewAuth()), p.SetRecipientKey(b.key), p.SetPayload([]byte(payload)), r.SetParams(p.ToPtr()))
	})
}

func (b *bad) resolve(ctx context.Context) error {
	return b.call(ctx, 19, nil, false, func(r schemas.Request) error {
		p, err := schemas.NewResolveUserParams(r.Segment())
		if err != nil {
			return err
		}
		return errors.Join(p.SetUsername("somebody"), r.SetParams(p.ToPtr()))
	})
}

func (b *bad) ack(ctx context.Context, seq uint64) error {
	return b.call(ctx, 15, []byte(strings.Repeat("i", schemas.RequestIDSize)), true, func(r schemas.Request) error {
		p, err := schemas.NewAckParams(r.Segment())
		if err != nil {
			return err
		}
		p.SetSeq(seq)
		return r.SetParams(p.ToPtr())
	})
}
