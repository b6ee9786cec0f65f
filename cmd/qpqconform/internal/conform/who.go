package conform

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

const opaqueSection, accountsSection, whoSection, signedSection = "OPAQUE", "Accounts and sessions", "Who calls", "What is signed"

func opaque() []Check {
	return []Check{
		{
			What: "registration over OPAQUE with context qpq/opaque/v1, and a login with it, each step on another node", Section: opaqueSection,
			Methods: []string{"opaqueRegisterStart", "opaqueRegisterFinish", "opaqueLoginStart", "opaqueLoginFinish", "bindSession", "whoami"}, run: registersAndLogsIn,
		},
		{What: "a name and a password are enough to log in; whoami tells whose the account is", Section: opaqueSection, Methods: []string{"opaqueLoginFinish", "whoami"}, run: nameAndPassword},
		{
			What: "a wrong password, and a name without an account, are refused alike: in KE2, and E017", Section: opaqueSection,
			Codes: []schemas.Code{schemas.Code_opaqueFinishFailed}, run: wrongPasswords,
		},
		{
			What: "a handshake opens one session: the same request id gets the same token, another one E018", Section: opaqueSection,
			Methods: []string{"opaqueLoginFinish"}, Codes: []schemas.Code{schemas.Code_noPendingLogin}, run: oneSession,
		},
		{What: "usernames that are equal when case is mapped are one name", Section: opaqueSection, Methods: []string{"resolveUser"}, run: caseMapped},
	}
}

func registersAndLogsIn(ctx context.Context, w *World) error {
	p := w.newPerson("new")
	if err := p.register(ctx); err != nil {
		return err
	}
	w.people["new"] = p
	if err := p.login(ctx); err != nil {
		return err
	}
	return p.is(ctx)
}

// is demands that whoami answers who somebody is.
func (p *person) is(ctx context.Context) error {
	for node := range p.w.nodes {
		s := whoami()
		s.node = node + 1
		a, err := p.w.call(ctx, p, s, schemas.Code_ok)
		if err != nil {
			return err
		}
		who := results[schemas.WhoamiResults](a)
		name, err := who.Username()
		if err != nil {
			return err
		}
		key, err := who.IdentityKey()
		if err != nil {
			return err
		}
		device, err := who.DeviceId()
		if err != nil {
			return err
		}
		if name != p.name || !bytes.Equal(key, p.public()) || !bytes.Equal(device, p.device) || who.ExpiresAtMs() <= who.CreatedAtMs() || who.CreatedAtMs() == 0 {
			return differs("whoami", fmt.Sprintf("%s, key %x, device %x", name, key, device), fmt.Sprintf("%s, key %x, device %x", p.name, p.public(), p.device))
		}
	}
	return nil
}

func nameAndPassword(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	l, err := w.answerKE2(ctx, strings.ToUpper(ann.name), ann.password)
	if _, is := errors.AsType[*wrongPassword](err); is {
		return differs("a login with the name in upper case", err, "one name")
	}
	if err != nil {
		return err
	}
	a, err := w.call(ctx, nil, l.spec(), schemas.Code_ok)
	if err != nil {
		return err
	}
	again := *ann
	again.links = map[int]*wire.Link{}
	defer again.hangUp()
	return first(func() error { return again.take(a) }, func() error { return again.is(ctx) })
}

func wrongPasswords(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	for _, name := range []string{ann.name, "nobody" + w.mark} {
		l, err := w.answerKE2(ctx, name, []byte("wrong"))
		if _, refused := errors.AsType[*wrongPassword](err); !refused {
			return differs("KE2 for "+name+" with a wrong password", err, "one that the client refuses")
		}
		l.finalization = make([]byte, 64)
		if _, err := w.call(ctx, nil, l.spec(), schemas.Code_opaqueFinishFailed); err != nil {
			return err
		}
	}
	return nil
}

func oneSession(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	l, err := w.answerKE2(ctx, ann.name, ann.password)
	if err != nil {
		return err
	}
	s := l.spec()
	s.id = random(16)
	var tokens [][]byte
	for node := range max(2, len(w.nodes)) {
		s.node = node%len(w.nodes) + 1
		a, err := w.call(ctx, nil, s, schemas.Code_ok)
		if err != nil {
			return err
		}
		token, err := results[schemas.OpaqueLoginFinishResults](a).SessionToken()
		if err != nil {
			return err
		}
		tokens = append(tokens, token)
	}
	if !bytes.Equal(tokens[0], tokens[1]) {
		return differs("the repeated login", "another token", "the same one")
	}
	s.id = random(16)
	_, err = w.call(ctx, nil, s, schemas.Code_noPendingLogin)
	return err
}

func caseMapped(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	a, err := w.call(ctx, ann, resolveUser(strings.ToUpper(ann.name)), schemas.Code_ok)
	if err != nil {
		return err
	}
	key, err := results[schemas.ResolveUserResults](a).IdentityKey()
	if err == nil && !bytes.Equal(key, ann.public()) {
		err = differs("the key of "+strings.ToUpper(ann.name), fmt.Sprintf("%x", key), "ann's")
	}
	return err
}

func resolveUser(name string) spec {
	return of("resolveUser", schemas.NewResolveUserParams, func(p schemas.ResolveUserParams) error { return p.SetUsername(name) })
}

func registrations() []Check {
	start := func(username string, request []byte) func(context.Context, *World) (*person, spec, error) {
		return stranger(registerStart(username, request))
	}
	return []Check{
		refuses(accountsSection, "opaqueRegisterStart: a name with a space", schemas.Code_usernameInvalid, start("a name", make([]byte, 32))),
		refuses(accountsSection, "opaqueRegisterStart: a request that is no element", schemas.Code_opaqueStartFailed, start("conformance", bytes.Repeat([]byte{255}, 32))),
		refuses(accountsSection, "opaqueLoginStart: a name with a space", schemas.Code_usernameInvalid, stranger(loginStart("a name", make([]byte, 96)))),
		refuses(accountsSection, "opaqueLoginStart: KE1 of 95 bytes", schemas.Code_opaqueStartFailed, stranger(loginStart("conformance", make([]byte, 95)))),
		{What: "opaqueRegisterFinish refuses what is spoiled, one field at a time", Section: accountsSection, Codes: []schemas.Code{
			schemas.Code_usernameInvalid, schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_opaqueFinishFailed, schemas.Code_noPendingLogin,
			schemas.Code_inviteInvalid, schemas.Code_statementRequired, schemas.Code_signatureInvalid,
		}, run: spoiledRegistrations},
		{What: "a name is one account's and a key is one account's; names that mix scripts or look like another's are refused", Section: accountsSection, Codes: []schemas.Code{
			schemas.Code_usernameTaken, schemas.Code_identityTaken, schemas.Code_usernameMixed, schemas.Code_usernameConfusable,
		}, run: takenNames},
		{
			What: "resolveUser and resolveIdentity name an account, and only one that there is", Section: accountsSection, Methods: []string{"resolveUser", "resolveIdentity"},
			Codes: []schemas.Code{schemas.Code_accountNotFound, schemas.Code_usernameInvalid, schemas.Code_identityRequired, schemas.Code_keyLength}, run: resolves,
		},
	}
}

func spoiledRegistrations(ctx context.Context, w *World) error {
	good, err := w.newPerson("spoiled").prepare(ctx)
	if err != nil {
		return err
	}
	for _, row := range []struct {
		what  string
		want  schemas.Code
		spoil func(r *registration)
	}{
		{"a name with a space", schemas.Code_usernameInvalid, func(r *registration) { r.username = "a name" }},
		{"no key", schemas.Code_identityRequired, func(r *registration) { r.key = nil }},
		{"a key of 31 bytes", schemas.Code_keyLength, func(r *registration) { r.key = r.key[:31] }},
		{"an upload of 191 bytes", schemas.Code_opaqueFinishFailed, func(r *registration) { r.upload = r.upload[:191] }},
		{"the handshake of another name", schemas.Code_noPendingLogin, func(r *registration) { r.username = "else" + w.mark }},
		{"an invite of 15 bytes", schemas.Code_inviteInvalid, func(r *registration) { r.invite = make([]byte, 15) }},
		{"no proof", schemas.Code_statementRequired, func(r *registration) { r.proof = nil }},
		{"a proof by another key", schemas.Code_signatureInvalid, func(r *registration) { r.key = newKey().Public().(ed25519.PublicKey) }},
	} {
		r := good
		row.spoil(&r)
		if _, err := w.call(ctx, nil, r.spec(), row.want); err != nil {
			return fmt.Errorf("%s: %w", row.what, err)
		}
	}
	return nil
}

func takenNames(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	for _, row := range []struct {
		what string
		want schemas.Code
		who  func(p *person)
	}{
		{"a name that is taken", schemas.Code_usernameTaken, func(p *person) { p.name = ann.name }},
		{"a key that is taken", schemas.Code_identityTaken, func(p *person) { p.account = ann.account }},
		{"a name of two scripts", schemas.Code_usernameMixed, func(p *person) { p.name += "\u0430" }},
		{"a name that looks like another", schemas.Code_usernameConfusable, func(p *person) { p.name = strings.Replace(ann.name, "m", "rn", 1) }},
	} {
		p := w.newPerson("taken")
		row.who(p)
		r, err := p.prepare(ctx)
		if err == nil {
			_, err = w.call(ctx, nil, r.spec(), row.want)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", row.what, err)
		}
	}
	return nil
}

func resolveIdentity(key []byte) spec {
	return of("resolveIdentity", schemas.NewResolveIdentityParams, func(p schemas.ResolveIdentityParams) error { return p.SetIdentityKey(key) })
}

func resolves(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, ann, resolveUser(bob.name), schemas.Code_ok); err != nil {
		return err
	}
	a, err := w.call(ctx, ann, resolveIdentity(bob.public()), schemas.Code_ok)
	if err != nil {
		return err
	}
	if name, err := results[schemas.ResolveIdentityResults](a).Username(); err != nil || name != bob.name {
		return errors.Join(err, differs("the name of bob's key", name, bob.name))
	}
	return w.refusals(ctx, ann, []refusal{
		{"a name that nobody has", resolveUser("nobody" + w.mark), schemas.Code_accountNotFound},
		{"a name with a space", resolveUser("a name"), schemas.Code_usernameInvalid},
		{"no key", resolveIdentity(nil), schemas.Code_identityRequired},
		{"a key of 33 bytes", resolveIdentity(make([]byte, 33)), schemas.Code_keyLength},
		{"a key that nobody has", resolveIdentity(newKey().Public().(ed25519.PublicKey)), schemas.Code_accountNotFound},
	})
}

// refusal is a call that must be refused.
type refusal struct {
	what string
	call spec
	want schemas.Code
}

func (w *World) refusals(ctx context.Context, p *person, rows []refusal) error {
	for _, row := range rows {
		if _, err := w.call(ctx, p, row.call, row.want); err != nil {
			return fmt.Errorf("%s: %w", row.what, err)
		}
	}
	return nil
}
