package client

import (
	"context"
	"crypto"
	"errors"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// DeviceID is 16 random bytes. An id is never used again.
type DeviceID [schemas.DeviceIDSize]byte

// bytes is how a device id travels: the zero one, no device, is empty.
func (d DeviceID) bytes() []byte {
	if d == (DeviceID{}) {
		return nil
	}
	return d[:]
}

// Device is a device of an account.
type Device struct {
	ID DeviceID
	// Name is for the account's owner; empty for the devices of others.
	Name       string
	Registered time.Time // set by the cluster
	// Key is the device's own Ed25519 key, 32 bytes; nil: the account's serves.
	Key []byte
}

// RegisterDevice adds a device to the account of the Conn's session, and tells
// whether it is new. A device with a key of its own needs the signature of the
// account's identity key; account may be nil for one without.
func (c *Conn) RegisterDevice(ctx context.Context, d Device, account crypto.Signer) (isNew bool, err error) {
	var signature []byte
	if len(d.Key) != 0 {
		if signature, err = c.signDevice(&d, account); err != nil {
			return false, err
		}
	}
	err = CallAs(ctx, c, Request{Method: methodRegisterDevice, Write: true}, schemas.NewRegisterDeviceParams,
		func(p schemas.RegisterDeviceParams) error {
			return errors.Join(p.SetDeviceId(d.ID[:]), p.SetDeviceName(d.Name), p.SetDeviceKey(d.Key), p.SetSignature(signature))
		},
		func(r schemas.RegisterDeviceResults) error { isNew = r.Success(); return nil })
	return isNew, err
}

func (c *Conn) signDevice(d *Device, account crypto.Signer) ([]byte, error) {
	s := c.session.Load()
	if s == nil {
		return nil, ErrTokenMissing
	}
	if account == nil || len(d.Key) != identity.KeySize {
		return nil, errors.New("a device with a key needs one of 32 bytes and the account's identity key to sign it")
	}
	return identity.Device(s.Account, d.ID, [identity.KeySize]byte(d.Key)).Sign(account)
}

// ListDevices returns the devices of an account in the order of their
// registration. Keys that the account has not signed are refused with
// SIGNATURE_INVALID: the cluster is not believed in this.
func (c *Conn) ListDevices(ctx context.Context, of AccountKey) (devices []Device, err error) {
	err = CallAs(ctx, c, Request{Method: methodListDevices}, schemas.NewListDevicesParams,
		func(p schemas.ListDevicesParams) error { return p.SetIdentityKey(of[:]) },
		func(r schemas.ListDevicesResults) error {
			list, err := r.Devices()
			if err != nil {
				return err
			}
			for i := range list.Len() {
				d, err := deviceFrom(of, list.At(i))
				if err != nil {
					return err
				}
				devices = append(devices, d)
			}
			return nil
		})
	return devices, err
}

func deviceFrom(of AccountKey, from schemas.Device) (d Device, err error) {
	id, err := from.DeviceId()
	if err == nil {
		err = fill(d.ID[:], id, "device id")
	}
	if err != nil {
		return d, err
	}
	d.Registered = timeOf(from.RegisteredAtMs())
	if d.Name, err = from.DeviceName(); err != nil {
		return d, err
	}
	key, err := from.DeviceKey()
	if err != nil || len(key) == 0 {
		return d, err
	}
	signature, err := from.Signature()
	if err != nil {
		return d, err
	}
	if !identity.Usable(key) || !identity.Device(of, d.ID, [identity.KeySize]byte(key)).Verify(of[:], signature) {
		return d, &Error{Code: schemas.Code_signatureInvalid, Message: "A device's key is not signed by its account."}
	}
	d.Key = append([]byte(nil), key...)
	return d, nil
}

// RevokeDevice removes a device, its sessions and what the cluster keeps for it.
func (c *Conn) RevokeDevice(ctx context.Context, id DeviceID) error {
	return CallAs(ctx, c, Request{Method: methodRevokeDevice, Write: true}, schemas.NewRevokeDeviceParams,
		func(p schemas.RevokeDeviceParams) error { return p.SetDeviceId(id[:]) },
		func(schemas.RevokeDeviceResults) error { return nil })
}

// PublishEndpoint says where the session's device may be reached directly, for
// so long (0: an hour, at most a day). An empty endpoint withdraws it.
func (c *Conn) PublishEndpoint(ctx context.Context, endpoint []byte, keep time.Duration) error {
	s := c.session.Load()
	if s == nil {
		return ErrTokenMissing
	}
	return CallAs(ctx, c, Request{Method: methodPublishEndpoint, Write: true}, schemas.NewPublishEndpointParams,
		func(p schemas.PublishEndpointParams) error {
			p.SetTtlSecs(uint32(keep / time.Second))
			return errors.Join(p.SetIdentityKey(s.Account[:]), p.SetEndpoint(endpoint))
		},
		func(schemas.PublishEndpointResults) error { return nil })
}

// Endpoint is where a device says that it may be reached.
type Endpoint struct {
	Device  DeviceID // zero: the account itself
	Address []byte   // as it was published
	Expires time.Time
}

// ResolveEndpoint returns where the devices of an account say that they may be
// reached.
func (c *Conn) ResolveEndpoint(ctx context.Context, of AccountKey) (endpoints []Endpoint, err error) {
	err = CallAs(ctx, c, Request{Method: methodResolveEndpoint}, schemas.NewResolveEndpointParams,
		func(p schemas.ResolveEndpointParams) error { return p.SetIdentityKey(of[:]) },
		func(r schemas.ResolveEndpointResults) error {
			list, err := r.Endpoints()
			if err != nil {
				return err
			}
			return eachOf(list, func(from schemas.Endpoint) error {
				e := Endpoint{Expires: timeOf(from.ExpiresAtMs())}
				id, err := from.DeviceId()
				if err == nil && len(id) != 0 {
					err = fill(e.Device[:], id, "device id")
				}
				if err != nil {
					return err
				}
				e.Address, err = copied(from.Endpoint())
				endpoints = append(endpoints, e)
				return err
			})
		})
	return endpoints, err
}

// eachOf visits the members of a list until one fails.
func eachOf[T ~capnp.StructKind](list capnp.StructList[T], visit func(T) error) error {
	for i := range list.Len() {
		if err := visit(list.At(i)); err != nil {
			return err
		}
	}
	return nil
}
