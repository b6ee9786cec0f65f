package conform

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

func callers() []Check {
	return []Check{
		{
			What: "a connection is one session's, once and for all: another one is E057", Section: whoSection, Methods: []string{"bindSession"},
			Codes: []schemas.Code{schemas.Code_bindingConflict}, run: boundOnce,
		},
		{
			What: "what is signed holds for its connection: another's exporter, another's key and a broken signature are E055, an unknown token E003", Section: signedSection,
			Codes: []schemas.Code{schemas.Code_signatureInvalid, schemas.Code_tokenInvalid, schemas.Code_tokenMissing}, run: badBindings,
		},
		{
			What: "a token alone works or is E056, as the setting bearer_tokens says, and alike on every node", Section: whoSection,
			Codes: []schemas.Code{schemas.Code_bindingRequired}, run: bearers,
		},
		{What: "of auth, in this order: E001, E002, E003, E030", Section: whoSection, Codes: []schemas.Code{
			schemas.Code_authVersionUnsupported, schemas.Code_tokenMissing, schemas.Code_tokenInvalid, schemas.Code_deviceNotFound, schemas.Code_keyLength,
		}, run: badAuth},
	}
}

func boundOnce(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	l, err := ann.link(ctx, 0)
	if err != nil {
		return err
	}
	if a, err := ann.bind(ctx, l); err != nil || a.Code != schemas.Code_ok {
		return errors.Join(err, differs("binding the same session again", said(a), "success"))
	}
	if a, err := bob.bind(ctx, l); err != nil || a.Code != schemas.Code_bindingConflict {
		return errors.Join(err, differs("binding another session", said(a), code(schemas.Code_bindingConflict)))
	}
	return ann.is(ctx)
}

func badBindings(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	l, err := w.dial(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	exporter, err := l.Exporter()
	if err != nil {
		return err
	}
	sign := func(exporter [32]byte, by ed25519.PrivateKey) []byte {
		signature, _ := identity.Bind(exporter, sha256.Sum256(ann.token)).Sign(by) // fails for no Ed25519 key
		return signature
	}
	for _, row := range []refusal{
		{"the exporter of another connection", bindSession(ann.token, sign([32]byte{1}, ann.key)), schemas.Code_signatureInvalid},
		{"another's key", bindSession(ann.token, sign(exporter, newKey())), schemas.Code_signatureInvalid},
		{"no signature", bindSession(ann.token, nil), schemas.Code_signatureInvalid},
		{"an unknown token", bindSession(random(32), sign(exporter, ann.key)), schemas.Code_tokenInvalid},
		{"no token", bindSession(nil, sign(exporter, ann.key)), schemas.Code_tokenMissing},
		{"nobody is bound meanwhile", whoami(), schemas.Code_tokenMissing},
	} {
		a, err := w.on(ctx, l, &row.call)
		if err != nil || a.Code != row.want {
			return errors.Join(err, differs(row.what, said(a), code(row.want)))
		}
	}
	return nil
}

// bearer is whoami with a token in auth.
func bearer(version uint16, token, device []byte) spec {
	return of("whoami", schemas.NewWhoamiParams, func(p schemas.WhoamiParams) error {
		auth, err := p.NewAuth()
		if err != nil {
			return err
		}
		auth.SetVersion(version)
		return errors.Join(auth.SetAccessToken(token), auth.SetDeviceId(device))
	})
}

func bearers(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	var codes []schemas.Code
	for node := range w.nodes {
		s := bearer(1, ann.token, nil)
		s.node = node + 1
		a, err := w.settle(ctx, nil, &s, schemas.Code_ok)
		if err != nil {
			return err
		}
		if a.Code != schemas.Code_ok && a.Code != schemas.Code_bindingRequired || len(codes) > 0 && codes[0] != a.Code {
			return differs("a token alone at "+w.nodes[node], said(a), "success on all nodes, or E056 on all")
		}
		codes = append(codes, a.Code)
	}
	return nil
}

func badAuth(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if err := w.refusals(ctx, nil, []refusal{
		{"version 2", bearer(2, ann.token, nil), schemas.Code_authVersionUnsupported},
		{"no token", bearer(1, nil, nil), schemas.Code_tokenMissing},
		{"a token of nobody's", bearer(1, random(32), nil), schemas.Code_tokenInvalid},
	}); err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{
		{"a device that there is not", bearer(1, nil, random(16)), schemas.Code_deviceNotFound},
		{"a device id of 15 bytes", bearer(1, nil, random(15)), schemas.Code_keyLength},
	})
}
