package conn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
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
		func(r schemas.ListDevicesResults) (err error) {
			devices, err = devicesFrom(of, r)
			return err
		})
	return devices, err
}

func devicesFrom(of AccountKey, r schemas.ListDevicesResults) (devices []Device, err error) {
	list, err := r.Devices()
	if err != nil {
		return nil, err
	}
	return devices, eachOf(list, func(from schemas.Device) error {
		d, err := deviceFrom(of, from)
		devices = append(devices, d)
		return err
	})
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

// Revocation is what an account says of a device that is no longer its own. It
// verifies: [Conn.DeviceStatements] returns no other.
type Revocation struct {
	Device    DeviceID
	Signed    time.Time // by the signer's clock
	Revoked   time.Time // as the cluster says
	Signature []byte
}

// Deletion is what an account says of its own end. It verifies.
type Deletion struct {
	Signed    time.Time // by the signer's clock
	Deleted   time.Time // as the cluster says
	Signature []byte
}

// DeviceStatements returns the devices of an account, as ListDevices, and what the
// account has said of devices that it revoked (the 256 that were taken last), or of its
// own end: then deleted is set and the lists are empty. Everything is verified with the
// account's key: a cluster's word that a device or an account is gone removes nobody.
// What does not verify is an error, SIGNATURE_INVALID, and nothing is returned beside
// it; ACCOUNT_NOT_FOUND says only that the cluster knows no such account.
func (c *Conn) DeviceStatements(ctx context.Context, of AccountKey) (devices []Device, revoked []Revocation, deleted *Deletion, err error) {
	err = CallAs(ctx, c, Request{Method: methodListDevices}, schemas.NewListDevicesParams,
		func(p schemas.ListDevicesParams) error {
			p.SetStatements(true)
			return p.SetIdentityKey(of[:])
		},
		func(r schemas.ListDevicesResults) (err error) {
			if deleted, err = deletionFrom(of, r); err != nil || deleted != nil {
				return err
			}
			if devices, err = devicesFrom(of, r); err != nil {
				return err
			}
			revoked, err = revokedFrom(of, r)
			return err
		})
	if err != nil {
		return nil, nil, nil, err
	}
	return devices, revoked, deleted, nil
}

func deletionFrom(of AccountKey, r schemas.ListDevicesResults) (*Deletion, error) {
	if !r.HasDeletion() {
		return nil, nil
	}
	from, err := r.Deletion()
	if err != nil {
		return nil, err
	}
	signature, err := copied(from.Signature())
	if err != nil {
		return nil, err
	}
	if !identity.DeleteAccount(of, from.SignedAtMs()).Verify(of[:], signature) {
		return nil, &Error{Code: schemas.Code_signatureInvalid, Message: "The end of an account is not signed by it."}
	}
	return &Deletion{timeOf(from.SignedAtMs()), timeOf(from.DeletedAtMs()), signature}, nil
}

func revokedFrom(of AccountKey, r schemas.ListDevicesResults) (revoked []Revocation, err error) {
	list, err := r.Revoked()
	if err != nil {
		return nil, err
	}
	if list.Len() > schemas.MaxRevocations {
		return nil, fmt.Errorf("%w: %d revocations, at most %d are kept", ErrResponse, list.Len(), schemas.MaxRevocations)
	}
	return revoked, eachOf(list, func(from schemas.Revocation) error {
		one := Revocation{Signed: timeOf(from.SignedAtMs()), Revoked: timeOf(from.RevokedAtMs())}
		id, err := from.DeviceId()
		if err == nil {
			err = fill(one.Device[:], id, "device id")
		}
		if err != nil {
			return err
		}
		if one.Signature, err = copied(from.Signature()); err != nil {
			return err
		}
		if !identity.RevokeDevice(of, one.Device, from.SignedAtMs()).Verify(of[:], one.Signature) {
			return &Error{Code: schemas.Code_signatureInvalid, Message: "The revocation of a device is not signed by its account."}
		}
		revoked = append(revoked, one)
		return nil
	})
}

// RevokeDevice removes a device, its sessions and what the cluster keeps for it. key is
// the account's identity key: others believe what it signs, and nobody else.
func (c *Conn) RevokeDevice(ctx context.Context, id DeviceID, key crypto.Signer) error {
	s := c.session.Load()
	if s == nil {
		return ErrTokenMissing
	}
	signed := msOf(time.Now())
	signature, err := identity.RevokeDevice(s.Account, id, signed).Sign(key)
	if err != nil {
		return err
	}
	return CallAs(ctx, c, Request{Method: methodRevokeDevice, Write: true}, schemas.NewRevokeDeviceParams,
		func(p schemas.RevokeDeviceParams) error {
			p.SetSignedAtMs(signed)
			return errors.Join(p.SetDeviceId(id[:]), p.SetSignature(signature))
		},
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
