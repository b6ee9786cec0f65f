package rpc

import (
	"errors"

	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// registerDevice adds a device to the caller's account. One with a key of its own
// must be signed by the account's identity key: a session alone can't add it.
func registerDevice(c *call, p schemas.RegisterDeviceParams, _ schemas.RegisterDeviceResults) error {
	id, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	name, err := p.DeviceName()
	if err != nil {
		return malformed(err)
	}
	key, err := p.DeviceKey()
	if err != nil {
		return malformed(err)
	}
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	if err := c.checkDevice(id, key, signature); err != nil {
		return err
	}
	result, err := c.propose(func(to schemas.Entry_command) error {
		d, err := to.NewRegisterDevice()
		if err != nil {
			return err
		}
		return errors.Join(d.SetDeviceId(id), d.SetDeviceName(name), d.SetDeviceKey(key), d.SetSignature(signature))
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// checkDevice holds what the log does not look at: that the account has signed
// the device.
func (c *call) checkDevice(id, key, signature []byte) error {
	switch {
	case len(id) != schemas.DeviceIDSize:
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(id)), detail: "deviceId."}
	case len(key) == 0 && len(signature) == 0:
		return nil
	case len(key) == 0:
		return &refusal{code: schemas.Code_signatureInvalid, detail: "There is no deviceKey that it could be of."}
	case len(key) != schemas.AccountKeySize:
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(key)), detail: "deviceKey."}
	case !identity.Usable(key):
		return &refusal{code: schemas.Code_signatureInvalid, detail: "deviceKey is no Ed25519 key that a signature can bind to."}
	}
	account := c.caller.account
	statement := identity.Device(account, [identity.DeviceIDSize]byte(id), [identity.KeySize]byte(key))
	if !statement.Verify(account[:], signature) {
		return refuse(schemas.Code_signatureInvalid)
	}
	return nil
}

// listDevices lists the devices of any account: who sends to it needs their ids
// and keys. Names are their owner's.
func listDevices(c *call, p schemas.ListDevicesParams, results schemas.ListDevicesResults) error {
	key, err := c.ownOr(p.IdentityKey())
	if err != nil {
		return err
	}
	if p.Statements() {
		ended, err := c.statements(key, results)
		if err != nil || ended {
			return err
		}
	}
	a, err := c.account(key)
	if err != nil {
		return err
	}
	list, err := results.NewDevices(int32(len(a.Devices)))
	if err != nil {
		return err
	}
	for i := range a.Devices {
		d, to := &a.Devices[i], list.At(i)
		to.SetRegisteredAtMs(d.RegisteredMs)
		if key == c.caller.account {
			err = to.SetDeviceName(d.Name)
		}
		if err := errors.Join(err, to.SetDeviceId(d.ID[:]), to.SetDeviceKey(d.Key), to.SetSignature(d.Signature)); err != nil {
			return err
		}
	}
	return nil
}

// statements gives what an account has said of devices that it revoked, and of its own
// end: whoever asks can verify that, and need not believe this node. It reports whether
// the account has ended so.
func (c *call) statements(key fsm.AccountKey, results schemas.ListDevicesResults) (ended bool, err error) {
	view, err := c.state()
	if err != nil {
		return false, err
	}
	revoked, deleted, err := view.Statements(key)
	if err != nil {
		return false, storageFault(err)
	}
	if deleted != nil {
		d, err := results.NewDeletion()
		if err != nil {
			return true, err
		}
		d.SetSignedAtMs(deleted.SignedMs)
		d.SetDeletedAtMs(deleted.DeletedMs)
		return true, d.SetSignature(deleted.Signature)
	}
	list, err := results.NewRevoked(int32(len(revoked)))
	if err != nil {
		return false, err
	}
	for i := range revoked {
		r, to := &revoked[i], list.At(i)
		to.SetSignedAtMs(r.SignedMs)
		to.SetRevokedAtMs(r.RevokedMs)
		if err := errors.Join(to.SetDeviceId(r.Device[:]), to.SetSignature(r.Signature)); err != nil {
			return false, err
		}
	}
	return false, nil
}

// ownOr reads an identity key; none means the caller's.
func (c *call) ownOr(key []byte, err error) (fsm.AccountKey, error) {
	if err == nil && len(key) == 0 {
		return c.caller.account, nil
	}
	return accountKey(key, err)
}

// revokeDevice removes a device of the caller's account and its sessions. The account's
// key must have signed that: a session alone can't do it, and others believe nobody else.
func revokeDevice(c *call, p schemas.RevokeDeviceParams, _ schemas.RevokeDeviceResults) error {
	id, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	if len(id) != schemas.DeviceIDSize {
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(id)), detail: "deviceId."}
	}
	said := identity.RevokeDevice(c.caller.account, [identity.DeviceIDSize]byte(id), p.SignedAtMs())
	if err := checkSaid(c.caller.account, said, signature, "signature."); err != nil {
		return err
	}
	result, err := c.propose(func(to schemas.Entry_command) error {
		d, err := to.NewRevokeDevice()
		if err != nil {
			return err
		}
		d.SetSignedAtMs(p.SignedAtMs())
		return errors.Join(d.SetDeviceId(id), d.SetSignature(signature))
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// publishEndpoint says where the caller's device may be reached directly.
func publishEndpoint(c *call, p schemas.PublishEndpointParams, _ schemas.PublishEndpointResults) error {
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	endpoint, err := p.Endpoint()
	if err != nil {
		return malformed(err)
	}
	_, err = c.propose(func(to schemas.Entry_command) error {
		e, err := to.NewPublishEndpoint()
		if err != nil {
			return err
		}
		e.SetTtlSecs(p.TtlSecs())
		return errors.Join(e.SetIdentityKey(key), e.SetEndpoint(endpoint))
	})
	return err
}

// resolveEndpoint tells where the devices of an account may be reached.
func resolveEndpoint(c *call, p schemas.ResolveEndpointParams, results schemas.ResolveEndpointResults) error {
	key, err := accountKey(p.IdentityKey())
	if err != nil {
		return err
	}
	if _, err := c.account(key); err != nil {
		return err
	}
	all, err := c.view.Endpoints(key)
	if err != nil {
		return storageFault(err)
	}
	now := c.view.Now()
	live := all[:0]
	for _, e := range all {
		if e.ExpiresMs > now {
			live = append(live, e)
		}
	}
	list, err := results.NewEndpoints(int32(len(live)))
	if err != nil {
		return err
	}
	for i, e := range live {
		to := list.At(i)
		to.SetExpiresAtMs(e.ExpiresMs)
		var device []byte
		if e.Device != (fsm.DeviceID{}) {
			device = e.Device[:]
		}
		if err := errors.Join(to.SetDeviceId(device), to.SetEndpoint(e.Endpoint)); err != nil {
			return err
		}
	}
	return nil
}
