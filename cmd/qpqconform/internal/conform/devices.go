package conform

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

func devices() []Check {
	return []Check{
		{
			What: "a device that the account has signed logs in, binds with its own key, and has a queue of its own", Section: devicesSection,
			Methods: []string{"registerDevice", "listDevices", "opaqueLoginFinish", "bindSession", "enqueue", "peek"}, run: deviceLivesAndEnds,
		},
		{What: "endpoints are published and resolved, and withdrawn by an empty one", Section: devicesSection, Methods: []string{"publishEndpoint", "resolveEndpoint"}, Codes: []schemas.Code{
			schemas.Code_textTooLong, schemas.Code_ttlTooLarge, schemas.Code_identityMismatch, schemas.Code_identityRequired, schemas.Code_accountNotFound,
		}, run: endpoints},
		{
			What: "an instance of a device's keys is remembered; a copy that does not know it is E077", Section: signedSection, Methods: []string{"bindSession"},
			Codes: []schemas.Code{schemas.Code_instanceReplaced}, run: instances,
		},
		{
			What: "a revoked device's sessions end on every node, its id is not taken again, and its statement is given to whoever asks", Section: devicesSection,
			Methods: []string{"revokeDevice", "listDevices"}, Codes: []schemas.Code{
				schemas.Code_statementRequired, schemas.Code_signatureInvalid, schemas.Code_deviceNotFound, schemas.Code_deviceExists, schemas.Code_textTooLong, schemas.Code_keyLength,
			}, run: revokes,
		},
	}
}

// phone is the run's device: of dora's account.
func (w *World) phone(ctx context.Context) (dora, phone *person, err error) {
	if dora, err = w.someone(ctx, "dora"); err != nil {
		return nil, nil, err
	}
	if p := w.people["phone"]; p != nil && !p.gone {
		return dora, p, nil
	}
	phone = &person{w: w, name: dora.name, password: dora.password, account: dora.account, device: random(16), key: newKey(), links: map[int]*wire.Link{}}
	signature, err := identity.Device([32]byte(dora.public()), [16]byte(phone.device), [32]byte(phone.key.Public().(ed25519.PublicKey))).Sign(dora.account)
	if err != nil {
		return nil, nil, err
	}
	for _, isNew := range []bool{true, false} {
		a, err := w.call(ctx, dora, registerDevice(phone.device, "phone", phone.key.Public().(ed25519.PublicKey), signature), schemas.Code_ok)
		if err != nil {
			return nil, nil, err
		}
		if err := same("a device that is new", results[schemas.RegisterDeviceResults](a).Success(), isNew); err != nil {
			return nil, nil, err
		}
	}
	w.people["phone"] = phone
	return dora, phone, phone.login(ctx)
}

func deviceLivesAndEnds(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	dora, phone, err := w.phone(ctx)
	if err != nil {
		return err
	}
	if err := phone.is(ctx); err != nil {
		return err
	}
	seq, err := w.send(ctx, ann, enqueue(dora.public(), nil, []byte("to all devices")))
	if err != nil {
		return err
	}
	got, err := w.waiting(ctx, phone, seq-1)
	if err != nil || got.Len() != 1 {
		return errors.Join(err, differs("in the device's queue", got.Len(), 1))
	}
	a, err := w.call(ctx, ann, listDevices(dora.public(), false), schemas.Code_ok)
	if err != nil {
		return err
	}
	list, err := results[schemas.ListDevicesResults](a).Devices()
	if err != nil || list.Len() != 1 {
		return errors.Join(err, differs("devices", list.Len(), 1))
	}
	id, err1 := list.At(0).DeviceId()
	key, err2 := list.At(0).DeviceKey()
	signature, err3 := list.At(0).Signature()
	name, err4 := list.At(0).DeviceName()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	if !bytes.Equal(id, phone.device) || len(key) != 32 || name != "" || !identity.Device([32]byte(dora.public()), [16]byte(id), [32]byte(key)).Verify(dora.public(), signature) {
		return differs("another's device", fmt.Sprintf("%x %q", id, name), "its id, key and the account's signature, and no name")
	}
	return nil
}

func endpoints(ctx context.Context, w *World) error {
	dora, phone, err := w.phone(ctx)
	if err != nil {
		return err
	}
	for _, endpoint := range []string{"here", ""} {
		if _, err := w.call(ctx, phone, publishEndpoint(dora.public(), []byte(endpoint), 60), schemas.Code_ok); err != nil {
			return err
		}
		a, err := w.call(ctx, dora, resolveEndpoint(dora.public()), schemas.Code_ok)
		if err != nil {
			return err
		}
		list, err := results[schemas.ResolveEndpointResults](a).Endpoints()
		if err != nil || list.Len() != len(endpoint)/4 {
			return errors.Join(err, differs("endpoints", list.Len(), len(endpoint)/4))
		}
		if list.Len() == 1 {
			if got, err := list.At(0).Endpoint(); err != nil || string(got) != endpoint {
				return errors.Join(err, differs("the endpoint", string(got), endpoint))
			}
		}
	}
	return w.refusals(ctx, phone, []refusal{
		{"513 bytes", publishEndpoint(dora.public(), make([]byte, schemas.MaxEndpoint+1), 0), schemas.Code_textTooLong},
		{"for two days", publishEndpoint(dora.public(), []byte("x"), 2*86400), schemas.Code_ttlTooLarge},
		{"another's", publishEndpoint(newPublic(), []byte("x"), 0), schemas.Code_identityMismatch},
		{"no key", resolveEndpoint(nil), schemas.Code_identityRequired},
		{"nobody's", resolveEndpoint(newPublic()), schemas.Code_accountNotFound},
	})
}

// instance binds a new connection of a device, as a copy of its keys.
func (p *person) instance(ctx context.Context, instance uint64, held ...uint64) (a wire.Answer, err error) {
	l, err := p.w.dial(ctx, 0)
	if err != nil {
		return a, err
	}
	defer func() { _ = l.Close() }()
	exporter, err := l.Exporter()
	if err != nil {
		return a, err
	}
	bound, err1 := identity.Bind(exporter, deviceHash(p.token)).Sign(p.key)
	said, err2 := identity.Instance([32]byte(p.public()), p.device, instance, held).Sign(p.key)
	s := of("bindSession", schemas.NewBindSessionParams, func(b schemas.BindSessionParams) error {
		b.SetInstance(instance)
		list, err := b.NewHeld(int32(len(held)))
		for i, h := range held {
			list.Set(i, h)
		}
		return errors.Join(err, err1, err2, b.SetSessionToken(p.token), b.SetSignature(bound), b.SetInstanceSignature(said))
	})
	for {
		if a, err = p.w.on(ctx, l, &s); err != nil || !again(a) {
			return a, err
		}
	}
}

func instances(ctx context.Context, w *World) error {
	_, phone, err := w.phone(ctx)
	if err != nil {
		return err
	}
	a, err := phone.instance(ctx, 11)
	if err != nil || a.Code != schemas.Code_ok {
		return errors.Join(err, differs("the first instance", said(a), "success"))
	}
	if results[schemas.BindSessionResults](a).Instance() == 0 {
		return notTried("not every node of this cluster knows instances yet")
	}
	for _, row := range []struct {
		what     string
		instance uint64
		held     []uint64
		want     schemas.Code
	}{
		{"the same again", 11, nil, schemas.Code_ok},
		{"a copy that does not know it", 22, nil, schemas.Code_instanceReplaced},
		{"who held it goes on", 33, []uint64{11}, schemas.Code_ok},
		{"the one before", 11, nil, schemas.Code_instanceReplaced},
	} {
		a, err := phone.instance(ctx, row.instance, row.held...)
		if err != nil || a.Code != row.want {
			return errors.Join(err, differs(row.what, said(a), code(row.want)))
		}
		if row.want != schemas.Code_ok && a.Value != 11 && a.Value != 33 {
			return differs("the value of E077", a.Value, "the instance in use")
		}
	}
	return nil
}

func revokes(ctx context.Context, w *World) error {
	dora, phone, err := w.phone(ctx)
	if err != nil {
		return err
	}
	zeros, long := make([]byte, 16), string(make([]byte, schemas.MaxDeviceName+1))
	key := phone.key.Public().(ed25519.PublicKey)
	if err := w.refusals(ctx, dora, []refusal{
		{"a device of zeros", registerDevice(zeros, "", nil, nil), schemas.Code_keyLength},
		{"a name of 129 bytes", registerDevice(random(16), long, nil, nil), schemas.Code_textTooLong},
		{"a key that nobody has signed", registerDevice(random(16), "", key, make([]byte, 64)), schemas.Code_signatureInvalid},
		{"its id with another key", registerDevice(phone.device, "", nil, nil), schemas.Code_deviceExists},
		{"without a statement", dora.revocation(phone.device, nil), schemas.Code_statementRequired},
		{"signed by the device", dora.revocation(phone.device, phone.key), schemas.Code_signatureInvalid},
		{"a device that there is not", dora.revocation(random(16), dora.account), schemas.Code_deviceNotFound},
	}); err != nil {
		return err
	}
	if _, err := w.call(ctx, dora, dora.revocation(phone.device, dora.account), schemas.Code_ok); err != nil {
		return err
	}
	phone.hangUp()
	phone.gone = true
	for node := range w.nodes {
		s := bearer(1, phone.token, nil)
		s.node = node + 1
		if _, err := w.call(ctx, nil, s, schemas.Code_tokenInvalid); err != nil {
			return fmt.Errorf("node %s: %w", w.nodes[node], err)
		}
	}
	if err := w.refusals(ctx, dora, []refusal{{"its id again", registerDevice(phone.device, "", nil, nil), schemas.Code_deviceExists}}); err != nil {
		return err
	}
	a, err := w.call(ctx, dora, listDevices(dora.public(), true), schemas.Code_ok)
	if err != nil {
		return err
	}
	revoked, err := results[schemas.ListDevicesResults](a).Revoked()
	if err != nil || revoked.Len() != 1 {
		return errors.Join(err, differs("statements on revoked devices", revoked.Len(), 1))
	}
	signature, err := revoked.At(0).Signature()
	if err == nil && !identity.RevokeDevice([32]byte(dora.public()), [16]byte(phone.device), revoked.At(0).SignedAtMs()).Verify(dora.public(), signature) {
		err = differs("the statement", fmt.Sprintf("%x", signature), "one that the account's key has signed")
	}
	return err
}

func ends() []Check {
	return []Check{
		{
			What: "an account ends by its statement alone, and then on every node; others see the statement", Section: accountsSection, Methods: []string{"deleteAccount", "listDevices"},
			Codes: []schemas.Code{schemas.Code_statementRequired, schemas.Code_signatureInvalid, schemas.Code_tokenInvalid, schemas.Code_accountNotFound}, run: deletes,
		},
		{What: "a client that closes its connection with code 0 harms no other", Section: connectingSection, Methods: []string{"health"}, run: closes},
	}
}

func deletes(ctx context.Context, w *World) error {
	p, err := w.someone(ctx, "new")
	if err != nil {
		return err
	}
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if err := w.refusals(ctx, p, []refusal{
		{"without a statement", of("deleteAccount", schemas.NewDeleteAccountParams, nil), schemas.Code_statementRequired},
		{"with another's", ann.deletion(), schemas.Code_signatureInvalid},
	}); err != nil {
		return err
	}
	a, err := w.call(ctx, p, p.deletion(), schemas.Code_ok)
	if err != nil {
		return err
	}
	if !results[schemas.DeleteAccountResults](a).Success() {
		return differs("deleteAccount", false, true)
	}
	p.gone = true
	p.hangUp()
	for node := range w.nodes {
		s := bearer(1, p.token, nil)
		s.node = node + 1
		if _, err := w.call(ctx, nil, s, schemas.Code_tokenInvalid); err != nil {
			return err
		}
	}
	if err := w.refusals(ctx, ann, []refusal{
		{"its name", resolveUser(p.name), schemas.Code_accountNotFound},
		{"a message to it", enqueue(p.public(), nil, []byte("x")), schemas.Code_accountNotFound},
	}); err != nil {
		return err
	}
	a, err = w.call(ctx, ann, listDevices(p.public(), true), schemas.Code_ok)
	if err != nil {
		return err
	}
	deletion, err := results[schemas.ListDevicesResults](a).Deletion()
	if err != nil {
		return err
	}
	signature, err := deletion.Signature()
	if err == nil && !identity.DeleteAccount([32]byte(p.public()), deletion.SignedAtMs()).Verify(p.public(), signature) {
		err = differs("the statement", fmt.Sprintf("%x", signature), "one that the account's key has signed")
	}
	return err
}

func closes(ctx context.Context, w *World) error {
	for range 3 {
		l, err := w.dial(ctx, 0)
		if err != nil {
			return err
		}
		s := health()
		if _, err := w.on(ctx, l, &s); err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return noParams(ctx, w)
}
