package fsm

import (
	"fmt"
	"testing"

	"quicproquo/schemas"
)

// fillCreateInvite: token=t is hashed, as where a rule wants a hash.
func (c *call) fillCreateInvite(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewCreateInvite()
	must(tb, err)
	p.SetUses(uint32(c.number(tb, "uses", 1)))
	p.SetTtlSecs(uint32(c.number(tb, "ttl", 0)))
	return p.SetInviteHash(hashOf(tb, c.arg("token", "-")))
}

// fillRefuse: print=N is a fingerprint.
func (c *call) fillRefuse(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewRefuse()
	must(tb, err)
	p.SetFingerprint(c.number(tb, "print", 0))
	p.SetCode(schemas.Code(c.number(tb, "code", uint64(schemas.Code_queueFull))))
	p.SetValue(c.number(tb, "value", 0))
	return nil
}

// registers is the line of a registration that answers a response of its own, with an
// upload of its own.
func (s *shared) registers(name, more string) string {
	return fmt.Sprintf("createAccount name=%s key=+%s by=%s record=r-%s handshake=h%s expires=%d%s",
		name, name, name, name, name, s.now+60_000, more)
}

// openRegistration is shared with the rules of registration in force.
func openRegistration(t testing.TB, settings string) *shared {
	t.Helper()
	s := openShared(t, "")
	s.must("changeSettings feature_level=6")
	if settings != "" {
		s.must("changeSettings" + settings)
	}
	return s
}

// A flood of registrations from however many addresses takes the cluster's budget and no
// more; beside it who has an invite registers, and everybody else's calls go through as
// before. The flood that was seen made 250 accounts in four seconds.
func TestRegistrationFloodTakesItsBudget(t *testing.T) {
	s := openRegistration(t, " registration_burst=20 registration_hourly=3600")
	defer closeTest(t, s.store)
	s.must("createInvite token=friends uses=50")
	made, honest := 0, 0
	for i := range 100 {
		if s.through(1, s.registers(fmt.Sprintf("sybil%d", i), "")) == 1 {
			made++
		}
		if i%2 == 0 {
			honest += s.through(1, s.registers(fmt.Sprintf("friend%d", i), " invite=friends"))
		}
		honest += s.through(1, fmt.Sprintf("beginLogin name=ann%d", i))
	}
	if made != 20 {
		t.Errorf("the flood has made %d accounts, want the 20 of the budget", made)
	}
	if honest != 150 {
		t.Errorf("beside the flood %d of 150 honest calls go through, want all", honest)
	}
	s.now += 10_000
	s.must("expire rows=1") // the log's time moves on with what it takes
	if made = 0; s.through(1, s.registers("later", "")) != 1 {
		t.Error("after ten seconds nobody without an invite can register; want one a second")
	}
	for i := range 20 {
		made += s.through(1, s.registers(fmt.Sprintf("more%d", i), ""))
	}
	if made != 9 {
		t.Errorf("ten seconds have freed %d more registrations, want 9", made)
	}
}

// What is refused takes nothing: not an invite's use, not the budget, not the handshake.
func TestRefusedRegistrationTakesNothing(t *testing.T) {
	s := openRegistration(t, " registration_burst=2 registration_hourly=1")
	defer closeTest(t, s.store)
	s.must("createInvite token=once uses=1")
	for _, more := range []string{" invite=once", ""} {
		for range 3 {
			if r := s.do(s.registers("ann", more)); r.Code != schemas.Code_usernameTaken {
				t.Fatalf("a taken name%s gives %s", more, r.Code.ID())
			}
		}
	}
	s.must(s.registers("eve", " invite=once"), s.registers("fred", ""), s.registers("gina", ""))
	if r := s.do(s.registers("hugo", "")); r.Code != schemas.Code_rateLimited || r.Value != 3_600_000 {
		t.Errorf("the third without an invite: %s %d, want E013 for an hour", r.Code.ID(), r.Value)
	}
	if r := s.do(s.registers("hugo", " invite=once")); r.Code != schemas.Code_inviteInvalid {
		t.Errorf("an invite that is used up: %s", r.Code.ID())
	}
}

// One handshake is good for one account, and so is one upload, whoever's name it comes
// with: 250 accounts need 250 of both.
func TestOneUploadOneAccount(t *testing.T) {
	s := openRegistration(t, "")
	defer closeTest(t, s.store)
	line := func(name, record, handshake string, expires uint64) string {
		return fmt.Sprintf("createAccount name=%s key=+%s by=%s record=%s handshake=%s expires=%d", name, name, name, record, handshake, expires)
	}
	good := s.now + 60_000
	s.must(line("one", "upload", "h1", good))
	for what, again := range map[string]string{
		"the same handshake": line("two", "other", "h1", good), "the same upload": line("two", "upload", "h2", good),
		"no handshake": line("two", "other", "-", good), "a handshake that is over": line("two", "other", "h2", s.now),
		"one of tomorrow": line("two", "other", "h2", s.now+86_400_000),
	} {
		if s.through(1, again) != 0 {
			t.Errorf("%s makes a second account", what)
		}
	}
	s.must(line("two", "other", "h2", good))
	s.now += 25 * 60 * 60 * 1000
	s.must("expire rows=100")
	if rows := s.rows(tableHandshakes); rows != 0 {
		t.Errorf("after a day %d handshakes and uploads are remembered", rows)
	}
}

func (s *shared) rows(of table) (n int) {
	s.t.Helper()
	v, err := s.store.View()
	must(s.t, err)
	defer func() { must(s.t, v.Close()) }()
	v.each(of, []byte{byte(of)}, func([]byte, []byte) bool { n++; return true })
	return n
}

// A large command that is refused in the log by a small one gives one outcome for its
// request id, whichever of the two comes first; another command under the id hears so.
func TestRefusalInPlaceOfACommand(t *testing.T) {
	s := openRegistration(t, "")
	defer closeTest(t, s.store)
	large := parseCall(t, "enqueue as=+bob to=+ann body=x*100000", 901)
	v, err := s.store.View()
	must(t, err)
	if _, may := v.RefuseInstead(large.frame(t), Result{}); may {
		t.Error("what is not refused must not be refused in the log")
	}
	small := parseCall(t, "enqueue as=+bob to=+ann body=x", 901)
	v.Check(small.frame(t))
	if _, may := v.RefuseInstead(small.frame(t), Result{Code: schemas.Code_queueFull}); may {
		t.Error("a small command goes to the log itself")
	}
	instead, may := v.RefuseInstead(large.frame(t), Result{Code: schemas.Code_queueFull, Value: 7})
	must(t, v.Close())
	if !may || instead.Code != schemas.Code_queueFull || instead.Value != 7 {
		t.Fatalf("in place of the command: %+v, %v", instead, may)
	}
	refuse := func(id int) call {
		return parseCall(t, fmt.Sprintf("refuse as=+bob print=%d code=%d value=7 id=%d", instead.Fingerprint, instead.Code, id), id)
	}
	first, second := refuse(901), parseCall(t, "enqueue as=+bob to=+ann body=x*100000", 902)
	other, late := parseCall(t, "enqueue as=+bob to=+ann body=y*100000", 901), refuse(902)
	s.index++
	results, err := s.store.Apply([]Log{seal(t, s.index, s.now, first.frame(t), large.frame(t), other.frame(t), second.frame(t), late.frame(t))})
	must(t, err)
	for i, want := range []schemas.Code{schemas.Code_queueFull, schemas.Code_queueFull, schemas.Code_requestIdReused, schemas.Code_ok, schemas.Code_ok} {
		if got := results[0][i]; got.Code != want {
			t.Errorf("command %d gives %s, want %s", i, got.Code.ID(), want.ID())
		}
	}
	if v, err = s.store.View(); err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, v.Close()) }()
	for _, c := range []struct {
		call *call
		want schemas.Code
	}{{&large, schemas.Code_queueFull}, {&second, schemas.Code_ok}, {&other, schemas.Code_requestIdReused}} {
		if got, known, err := v.Outcome(c.call.frame(t)); err != nil || !known || got.Code != c.want {
			t.Errorf("%v has the outcome %s, %v, %v; want %s", c.call.args, got.Code.ID(), known, err, c.want.ID())
		}
	}
	unused := parseCall(t, "enqueue to=+ann body=x", 903)
	if _, known, err := v.Outcome(unused.frame(t)); known || err != nil {
		t.Error("an id that nobody used has an outcome")
	}
	if r := s.do("refuse as=+bob print=1 code=0"); r.Code != schemas.Code_malformed {
		t.Errorf("a refusal with the code of success: %s", r.Code.ID())
	}
}

// registrationLine is a random command on who may register, or on what accounts keep in
// groups, for logs whose time begins at 1,000,000.
func registrationLine(pick func(...string) string) string {
	name := pick("ann", "bob", "new1", "new2")
	switch pick("level", "register", "register", "operator", "member", "refuse", "commit", "mode") {
	case "level":
		return "changeSettings feature_level=6"
	case "register":
		return fmt.Sprintf("createAccount name=%s key=+%s by=%s record=%s handshake=%s expires=%s invite=%s",
			name, name, name, pick("r1", "r2", "r3"), pick("h1", "h2", "h3"), pick("1060000", "1600000", "2600000"), pick("-", "t1", "a1", "!31"))
	case "operator":
		return fmt.Sprintf("createInvite token=%s uses=%s ttl=%s", pick("t1", "!31"), pick("0", "1", "2", "10001"), pick("0", "60", "99999999"))
	case "member":
		return fmt.Sprintf("createInvite as=%s token=a1 uses=%s", name, pick("0", "1", "2"))
	case "refuse":
		return fmt.Sprintf("refuse as=%s print=%s code=%s value=7", name, pick("0", "1"), pick("0", "12", "999"))
	case "commit":
		return fmt.Sprintf("publishCommit as=%s group=%s epoch=1 next=s proof=%s info=i*%s", name, pick("g1", "g2"), pick("-", "s"), pick("0", "20"))
	}
	return "changeSettings " + pick("registration=0", "registration=1", "registration=2", "member_invites_daily=2", "registration_burst=1")
}
