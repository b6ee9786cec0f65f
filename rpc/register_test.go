package rpc

import (
	"errors"
	"fmt"
	"testing"
	"time"

	client "quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// openRegistrations is a door whose log is judged by this build's rules.
func openRegistrations(tb testing.TB) accountDoor {
	tb.Helper()
	d := openAccounts(tb)
	d.node.set(tb, fsm.SettingFeatureLevel, schemas.FeatureLevel)
	return d
}

// invited makes an invite as an operator does.
func (d accountDoor) invited(tb testing.TB, uses uint32) account.Invite {
	tb.Helper()
	token := account.NewInvite()
	d.node.mustWrite(tb, func(to schemas.Entry_command) error {
		p, err := to.NewCreateInvite()
		must(tb, err)
		p.SetUses(uses)
		hash := token.Hash()
		return p.SetInviteHash(hash[:])
	})
	return token
}

// Who may register is a setting: everybody, who has an invite, or nobody; an invite is
// good for its uses, and what is refused takes none.
func TestWhoMayRegister(t *testing.T) {
	d := openRegistrations(t)
	d.register(t, "alice")
	register := func(name string, invite account.Invite) error {
		_, err := d.client(t).RegisterInvited(t.Context(), name, []byte("x"), newKey(t), invite)
		return err
	}
	d.node.set(t, "registration", 1)
	wantCode(t, "without an invite", register("bob", account.Invite{}), schemas.Code_inviteRequired)
	wantCode(t, "with an invite that nobody made", register("bob", account.NewInvite()), schemas.Code_inviteInvalid)
	token := d.invited(t, 1)
	wantCode(t, "a taken name with an invite", register("alice", token), schemas.Code_usernameTaken)
	if err := register("bob", token); err != nil {
		t.Errorf("with an invite: %v", err)
	}
	wantCode(t, "with an invite that is used up", register("carol", token), schemas.Code_inviteInvalid)
	d.node.set(t, "registration", 2)
	wantCode(t, "while it is closed", register("carol", d.invited(t, 1)), schemas.Code_registrationClosed)
	started := callRaw(t, d.dial(t), 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
		_, request, err := account.StartRegistration(mustName(t, "carol"), []byte("x"))
		return errors.Join(err, p.SetUsername("carol"), p.SetRequest(request))
	})
	if started.failure.code != schemas.Code_registrationClosed {
		t.Errorf("a start while it is closed: %s, want E081 before anybody works", started.failure.code)
	}
	d.node.set(t, "registration", 0)
	if err := register("carol", account.Invite{}); err != nil {
		t.Errorf("while it is open: %v", err)
	}
}

// Members invite where a setting lets them, as many a day as it says, and take back what is
// their own.
func TestMembersInvite(t *testing.T) {
	d := openRegistrations(t)
	alice, bob := d.register(t, "alice"), d.register(t, "bob")
	c, other := d.login(t, alice.as()), d.login(t, bob.as())
	_, _, err := c.CreateInvite(t.Context(), 1, 0)
	wantCode(t, "where members may not", err, schemas.Code_notPermitted)
	d.node.set(t, "member_invites_daily", 2)
	d.node.set(t, "registration", 1)
	token, expires, err := c.CreateInvite(t.Context(), 1, time.Hour)
	if left := time.Until(expires); err != nil || left < 55*time.Minute || left > 65*time.Minute {
		t.Fatalf("an invite for an hour lasts %v, %v", left, err)
	}
	second, _, err := c.CreateInvite(t.Context(), 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.CreateInvite(t.Context(), 1, 0)
	wantCode(t, "a third one of the day", err, schemas.Code_rateLimited)
	wantCode(t, "the end of another's", other.EndInvite(t.Context(), second), schemas.Code_inviteInvalid)
	if err := c.EndInvite(t.Context(), second); err != nil {
		t.Errorf("the end of its own: %v", err)
	}
	_, err = d.client(t).RegisterInvited(t.Context(), "carol", []byte("x"), newKey(t), second)
	wantCode(t, "with what was taken back", err, schemas.Code_inviteInvalid)
	if _, err = d.client(t).RegisterInvited(t.Context(), "carol", []byte("x"), newKey(t), token); err != nil {
		t.Errorf("with a member's invite: %v", err)
	}
}

// One upload registers one account: under another name, again, late, or without the
// response that it answers, it is refused, whatever address it comes from.
func TestUploadsAnswerTheirResponse(t *testing.T) {
	d := openRegistrations(t)
	qc := d.dial(t)
	w := &world{tb: t}
	start := func(name string) (response, handshake []byte) {
		_, request, err := account.StartRegistration(mustName(t, name), []byte("x"))
		must(t, err)
		got := callRaw(t, qc, 8, nil, schemas.NewOpaqueRegisterStartParams, func(p schemas.OpaqueRegisterStartParams) error {
			return errors.Join(p.SetUsername(name), p.SetRequest(request))
		})
		results := schemas.OpaqueRegisterStartResults(got.results)
		response, err = results.Response()
		must(t, err)
		handshake, err = results.Handshake()
		must(t, err)
		return response, handshake
	}
	server, first := start("first")
	finish := func(name string, upload, handshake []byte) schemas.Code {
		return callRaw(t, qc, 9, newRequestID(), schemas.NewOpaqueRegisterFinishParams, func(p schemas.OpaqueRegisterFinishParams) error {
			return w.fillRegistration(p, name, newKey(t), upload, server, handshake)
		}).failure.code
	}
	upload, fresh := bogusUpload(t), bogusUpload(t)
	if got := finish("first", upload, first); got != schemas.Code_ok {
		t.Fatalf("a registration that answers its response: %s", got)
	}
	_, second := start("second")
	flipped := append([]byte(nil), second...)
	flipped[len(flipped)-1] ^= 1
	for what, got := range map[string]schemas.Code{
		"the first one's handshake, its upload":     finish("second", upload, first),
		"the first one's handshake, another upload": finish("first2", fresh, first),
		"its own handshake, the first one's upload": finish("second", upload, second),
		"no handshake":                 finish("second", fresh, nil),
		"a handshake with a wrong bit": finish("second", fresh, flipped),
		"one byte of a handshake":      finish("second", fresh, second[:1]),
	} {
		if got != schemas.Code_noPendingLogin {
			t.Errorf("%s: %s, want E018", what, got)
		}
	}
	made := 0
	for i := range 250 { // the flood that was seen
		if name := fmt.Sprint("flood", i); finish(name, upload, second) == schemas.Code_ok {
			made++
		}
	}
	if made != 0 {
		t.Errorf("one upload has made %d accounts more", made)
	}
	if got := finish("second", fresh, second); got != schemas.Code_ok {
		t.Errorf("the second registration, beside all that: %s", got)
	}
	_, third := start("third")
	d.node.setSkew(2 * time.Minute)
	if got := finish("third", bogusUpload(t), third); got != schemas.Code_noPendingLogin {
		t.Errorf("after two minutes: %s, want E018", got)
	}
}

// What is refused and comes again is not written to the log in full each time: a 1 MiB send
// to a queue that is full costs the log a few hundred bytes, however often, and its request
// id keeps the outcome that it has.
func TestRefusedRepetitionsAreSmall(t *testing.T) {
	d := openRegistrations(t)
	d.node.set(t, "queue_max_bytes", schemas.MaxBody+schemas.MaxHeader)
	mal, ann := d.register(t, "mal"), d.register(t, "ann")
	c := d.login(t, mal.as())
	send := func(id []byte) error {
		return client.CallAs(t.Context(), c, client.Request{Method: 2, ID: id, Write: true}, schemas.NewEnqueueParams,
			func(p schemas.EnqueueParams) error {
				key := ann.public()
				p.SetVersion(schemas.WireVersion)
				return errors.Join(p.SetRecipientKey(key[:]), p.SetPayload(make([]byte, schemas.MaxBody)))
			}, func(schemas.EnqueueResults) error { return nil })
	}
	taken, refused := newRequestID(), newRequestID()
	must(t, send(taken))
	d.node.proposed = 0
	for range 20 {
		if err := send(taken); err != nil {
			t.Fatalf("a repetition of what was taken: %v", err)
		}
	}
	if d.node.proposed != 0 {
		t.Errorf("20 repetitions of what was taken have cost the log %d bytes, want none: the outcome is known", d.node.proposed)
	}
	for range 20 {
		if err := send(refused); client.CodeOf(err) != schemas.Code_senderShareFull && client.CodeOf(err) != schemas.Code_queueFull {
			t.Fatalf("a send to a queue that is full: %v", err)
		}
	}
	if d.node.proposed == 0 || d.node.proposed > 4<<10 {
		t.Errorf("20 refused sends of 1 MiB have cost the log %d bytes, want some hundred: the first refusal, which the others hear of", d.node.proposed)
	}
}
