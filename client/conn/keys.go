package conn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"capnproto.org/go/capnp/v3"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// Ordinals of the keys topic in NodeService.
const (
	methodFetchKeyPackage   = 1
	methodUploadHybridKey   = 6
	methodFetchHybridKeys   = 16
	methodUploadKeyPackages = 36
	methodFetchKeyPackages  = 37
	methodKeyPackageCount   = 38
)

// UploadKeyPackages gives the cluster key packages of the session's device: at
// most 100 at once, all or none, each an MLSMessage. lastResort, if not nil,
// replaces the one that is handed out when no other is left; it must be marked as
// such. It returns how many wait then, and whether those are few.
func (c *Conn) UploadKeyPackages(ctx context.Context, packages [][]byte, lastResort []byte) (remaining int, low bool, err error) {
	s := c.session.Load()
	if s == nil {
		return 0, false, ErrTokenMissing
	}
	err = CallAs(ctx, c, Request{Method: methodUploadKeyPackages, Write: true}, schemas.NewUploadKeyPackagesParams,
		func(p schemas.UploadKeyPackagesParams) error {
			list, err := p.NewPackages(int32(len(packages)))
			if err != nil {
				return err
			}
			return errors.Join(setAll(list, packages), p.SetIdentityKey(s.Account[:]), p.SetLastResort(lastResort))
		},
		func(r schemas.UploadKeyPackagesResults) error {
			remaining, low = int(r.Remaining()), r.Low()
			return nil
		})
	return remaining, low, err
}

func setAll(list capnp.DataList, all [][]byte) error {
	for i, one := range all {
		if err := list.Set(i, one); err != nil {
			return err
		}
	}
	return nil
}

// KeyPackages is what the cluster has of the session's device.
type KeyPackages struct {
	Remaining     int
	HasLastResort bool
	Low           bool // the device should upload more
	// Incarnation changes when the cluster was restored from a backup: then the
	// packages there may have been handed out already, and new ones are due.
	Incarnation uint64
}

// KeyPackageCount asks how many key packages wait.
func (c *Conn) KeyPackageCount(ctx context.Context) (k KeyPackages, err error) {
	err = CallAs(ctx, c, Request{Method: methodKeyPackageCount}, schemas.NewKeyPackageCountParams, nil,
		func(r schemas.KeyPackageCountResults) error {
			k = KeyPackages{int(r.Remaining()), r.HasLastResort(), r.Low(), r.Incarnation()}
			return nil
		})
	return k, err
}

// ClaimedKeyPackage is a key package of another's device.
type ClaimedKeyPackage struct {
	Device     DeviceID // zero: the account has no devices
	Package    []byte
	LastResort bool // others may get it too
	// Err is set if the device has none (KEY_PACKAGE_NONE).
	Err error
}

// FetchKeyPackages takes a key package of each device of an account, or of the one
// that is named. Taking is a write: with the same request id (nil: a new one) it
// returns the same packages again.
func (c *Conn) FetchKeyPackages(ctx context.Context, of AccountKey, device DeviceID, requestID []byte) (list []ClaimedKeyPackage, err error) {
	err = CallAs(ctx, c, Request{Method: methodFetchKeyPackages, Write: true, ID: requestID}, schemas.NewFetchKeyPackagesParams,
		func(p schemas.FetchKeyPackagesParams) error {
			return errors.Join(p.SetIdentityKey(of[:]), p.SetDeviceId(device.bytes()))
		},
		func(r schemas.FetchKeyPackagesResults) error {
			claimed, err := r.Packages()
			if err != nil {
				return err
			}
			return eachOf(claimed, func(from schemas.ClaimedKeyPackage) error {
				one, err := claimedFrom(from)
				list = append(list, one)
				return err
			})
		})
	return list, err
}

// FetchKeyPackage takes one key package of an account, or of its device if one is
// named: the oldest of all. Otherwise it is FetchKeyPackages; that there is none is
// an error here (KEY_PACKAGE_NONE).
func (c *Conn) FetchKeyPackage(ctx context.Context, of AccountKey, device DeviceID, requestID []byte) (k ClaimedKeyPackage, err error) {
	err = CallAs(ctx, c, Request{Method: methodFetchKeyPackage, Write: true, ID: requestID}, schemas.NewFetchKeyPackageParams,
		func(p schemas.FetchKeyPackageParams) error {
			return errors.Join(p.SetIdentityKey(of[:]), p.SetDeviceId(device.bytes()))
		},
		func(r schemas.FetchKeyPackageResults) error {
			k = ClaimedKeyPackage{LastResort: r.LastResort()}
			if k.Package, err = copied(r.Package()); err != nil {
				return err
			}
			id, err := r.DeviceId()
			if err != nil || len(id) == 0 {
				return err
			}
			return fill(k.Device[:], id, "device id")
		})
	return k, err
}

func claimedFrom(from schemas.ClaimedKeyPackage) (k ClaimedKeyPackage, err error) {
	k.LastResort = from.LastResort()
	if code := from.Code(); code != schemas.Code_ok {
		k.Err = &Error{Code: code, Message: code.Doc().Meaning}
	}
	if k.Package, err = copied(from.Package()); err != nil {
		return k, err
	}
	device, err := from.DeviceId()
	if err != nil || len(device) == 0 {
		return k, err
	}
	return k, fill(k.Device[:], device, "device id")
}

// UploadHybridKey publishes the key that messages to the session's device are
// sealed to (1,216 bytes), signed by the device's key, or by the account's if the
// device has none of its own.
func (c *Conn) UploadHybridKey(ctx context.Context, hybrid []byte, signer crypto.Signer) error {
	s := c.session.Load()
	if s == nil {
		return ErrTokenMissing
	}
	signature, err := identity.HybridKey(s.Account, s.Device.bytes(), hybrid).Sign(signer)
	if err != nil {
		return fmt.Errorf("sign hybrid key: %w", err)
	}
	return CallAs(ctx, c, Request{Method: methodUploadHybridKey, Write: true}, schemas.NewUploadHybridKeyParams,
		func(p schemas.UploadHybridKeyParams) error {
			return errors.Join(p.SetIdentityKey(s.Account[:]), p.SetHybridPublicKey(hybrid), p.SetSignature(signature))
		},
		func(schemas.UploadHybridKeyResults) error { return nil })
}

// HybridKey is the key that messages to a device are sealed to.
type HybridKey struct {
	Account AccountKey
	Device  DeviceID // zero: the account itself
	Public  []byte
	// Err is set instead of Public if the device has none, or one that the
	// account's signatures do not vouch for (ErrUnsigned).
	Err error
	// Unsigned is the key that nobody vouches for, for callers who know by other
	// means whose it is: clients of the original contract sign nothing.
	Unsigned []byte
}

// ErrUnsigned means that a key came without a chain of signatures from its
// account's identity key: the server may have put it there.
var ErrUnsigned = errors.New("the key is not signed by its account")

// FetchHybridKeys returns the hybrid keys of every device of the accounts that
// exist, 256 accounts at most. Only keys whose chain of signatures holds have
// Public set: the account's key signs the device, the device's key the hybrid key.
func (c *Conn) FetchHybridKeys(ctx context.Context, of ...AccountKey) (keys []HybridKey, err error) {
	err = CallAs(ctx, c, Request{Method: methodFetchHybridKeys}, schemas.NewFetchHybridKeysParams,
		func(p schemas.FetchHybridKeysParams) error {
			list, err := p.NewIdentityKeys(int32(len(of)))
			if err != nil {
				return err
			}
			for i := range of {
				if err := list.Set(i, of[i][:]); err != nil {
					return err
				}
			}
			return nil
		},
		func(r schemas.FetchHybridKeysResults) error {
			list, err := r.Keys()
			if err != nil {
				return err
			}
			keys, err = hybridsFrom(list, of)
			return err
		})
	return keys, err
}

// hybridsFrom reads keys of these accounts. One of another account may be signed
// well, and yet not by whom the caller means.
func hybridsFrom(list schemas.HybridKey_List, of []AccountKey) (keys []HybridKey, err error) {
	err = eachOf(list, func(from schemas.HybridKey) error {
		key, err := hybridFrom(from)
		if err != nil {
			return err
		}
		if !slices.Contains(of, key.Account) {
			return fmt.Errorf("a hybrid key of an account that was not asked for: %x", key.Account)
		}
		keys = append(keys, key)
		return nil
	})
	return keys, err
}

func hybridFrom(from schemas.HybridKey) (k HybridKey, err error) {
	account, err := from.IdentityKey()
	if err != nil {
		return k, err
	}
	if err := fill(k.Account[:], account, "identity key"); err != nil {
		return k, err
	}
	device, err := from.DeviceId()
	if err != nil {
		return k, err
	}
	if len(device) != 0 {
		if err := fill(k.Device[:], device, "device id"); err != nil {
			return k, err
		}
	}
	public, err := copied(from.HybridPublicKey())
	if err != nil {
		return k, err
	}
	if len(public) == 0 {
		code := schemas.Code_hybridKeyNone
		k.Err = &Error{Code: code, Message: code.Doc().Meaning}
		return k, nil
	}
	switch k.Err, err = vouched(&k, from, public); {
	case err != nil:
		return k, err
	case k.Err != nil:
		k.Unsigned = public
	default:
		k.Public = public
	}
	return k, nil
}

// vouched walks the chain from the account's key to the hybrid key. why tells what
// does not hold; err is of the message.
func vouched(k *HybridKey, from schemas.HybridKey, public []byte) (why, err error) {
	deviceKey, err := from.DeviceKey()
	if err != nil {
		return nil, err
	}
	deviceSignature, err := from.DeviceSignature()
	if err != nil {
		return nil, err
	}
	signature, err := from.Signature()
	if err != nil {
		return nil, err
	}
	signer := k.Account[:]
	if len(deviceKey) != 0 {
		if len(deviceKey) != identity.KeySize {
			return fmt.Errorf("%w: the device key has %d bytes", ErrUnsigned, len(deviceKey)), nil
		}
		device := identity.Device(k.Account, k.Device, [identity.KeySize]byte(deviceKey))
		if !device.Verify(k.Account[:], deviceSignature) {
			return fmt.Errorf("%w: the device is not", ErrUnsigned), nil
		}
		signer = deviceKey
	}
	if !identity.HybridKey(k.Account, k.Device.bytes(), public).Verify(signer, signature) {
		return ErrUnsigned, nil
	}
	return nil, nil
}
