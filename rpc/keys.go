package rpc

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// The keys topic. The node sees to what a package is (keypackage.go), the store to
// who gets it (fsm/keys.go, fsm/claim.go).

// upload is what one call brings for the device that acts.
type upload struct {
	identityKey []byte
	packages    [][]byte
	lastResort  []byte
}

func uploadKeyPackage(c *call, p schemas.UploadKeyPackageParams, results schemas.UploadKeyPackageResults) error {
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	data, err := p.Package()
	if err != nil {
		return malformed(err)
	}
	remaining, low, err := c.upload(&upload{identityKey: key, packages: [][]byte{data}})
	if err != nil {
		return err
	}
	results.SetRemaining(remaining)
	results.SetLow(low)
	fingerprint := sha256.Sum256(data)
	return results.SetFingerprint(fingerprint[:])
}

func uploadKeyPackages(c *call, p schemas.UploadKeyPackagesParams, results schemas.UploadKeyPackagesResults) error {
	u, err := readUpload(p)
	if err != nil {
		return err
	}
	remaining, low, err := c.upload(u)
	if err != nil {
		return err
	}
	results.SetRemaining(remaining)
	results.SetLow(low)
	all := u.all()
	prints, err := results.NewFingerprints(int32(len(all)))
	if err != nil {
		return err
	}
	for i, data := range all {
		fingerprint := sha256.Sum256(data)
		if err := prints.Set(i, fingerprint[:]); err != nil {
			return err
		}
	}
	return nil
}

func readUpload(p schemas.UploadKeyPackagesParams) (*upload, error) {
	list, err := p.Packages()
	if err != nil {
		return nil, malformed(err)
	}
	if list.Len() > schemas.MaxKeyPackages {
		return nil, &refusal{code: schemas.Code_listTooLong, value: schemas.MaxKeyPackages}
	}
	u := &upload{packages: make([][]byte, list.Len())}
	for i := range u.packages {
		if u.packages[i], err = list.At(i); err != nil {
			return nil, malformed(err)
		}
	}
	if u.identityKey, err = p.IdentityKey(); err != nil {
		return nil, malformed(err)
	}
	if u.lastResort, err = p.LastResort(); err != nil {
		return nil, malformed(err)
	}
	return u, nil
}

// all are the packages, the last-resort one at the end.
func (u *upload) all() [][]byte {
	if len(u.lastResort) == 0 {
		return u.packages
	}
	return append(u.packages[:len(u.packages):len(u.packages)], u.lastResort)
}

// upload checks the packages and writes them, all or none, and returns how many
// wait then and whether those are few.
func (c *call) upload(u *upload) (remaining uint32, low bool, err error) {
	if err := c.requireOwn(u.identityKey); err != nil {
		return 0, false, err
	}
	a, err := c.account(c.caller.account)
	if err != nil {
		return 0, false, err
	}
	all := u.all()
	signer := a.PrincipalKey(c.caller.device)
	now, err := c.now()
	if err != nil {
		return 0, false, err
	}
	expires := make([]uint64, len(all))
	for i, data := range all {
		if expires[i], err = checkKeyPackage(data, signer, i == len(u.packages), now); err != nil {
			return 0, false, fmt.Errorf("package %d: %w", i, err)
		}
	}
	few, err := c.setting("key_packages_low")
	if err != nil {
		return 0, false, err
	}
	result, err := c.propose(func(to schemas.Entry_command) error { return u.fill(to, expires, signer) })
	if err != nil {
		return 0, false, err
	}
	n, err := numberIn(result)
	return uint32(n), n < few, err
}

func (u *upload) fill(to schemas.Entry_command, expires []uint64, signer []byte) error {
	e, err := to.NewUploadKeyPackages()
	if err != nil {
		return err
	}
	list, err := e.NewPackages(int32(len(u.packages)))
	if err != nil {
		return err
	}
	for i, data := range u.packages {
		if err := list.Set(i, data); err != nil {
			return err
		}
	}
	ends, err := e.NewExpiresMs(int32(len(expires)))
	if err != nil {
		return err
	}
	for i, at := range expires {
		ends.Set(i, at)
	}
	return errors.Join(e.SetIdentityKey(u.identityKey), e.SetLastResort(u.lastResort), e.SetSignatureKey(signer))
}

// numberIn reads the result of a command whose answer is one number.
func numberIn(result fsm.Result) (uint64, error) {
	msg, err := schemas.Unmarshal(result.Data)
	if err != nil {
		return 0, err
	}
	root, err := msg.Root()
	if err != nil {
		return 0, err
	}
	return root.Struct().Uint64(0), nil
}

// requireOwn refuses an identity key that is not the caller's.
func (c *call) requireOwn(key []byte) error {
	switch {
	case len(key) == 0:
		return refuse(schemas.Code_identityRequired)
	case len(key) != schemas.AccountKeySize:
		return &refusal{code: schemas.Code_keyLength, value: uint64(len(key)), detail: "identityKey."}
	case fsm.AccountKey(key) != c.caller.account:
		return refuse(schemas.Code_identityMismatch)
	}
	return nil
}

// claim takes packages of another account, or the caller's own.
func (c *call) claim(identityKey, device []byte, oldestOnly bool) (fsm.Result, error) {
	return c.propose(func(to schemas.Entry_command) error {
		e, err := to.NewClaimKeyPackages()
		if err != nil {
			return err
		}
		e.SetOldestOnly(oldestOnly)
		return errors.Join(e.SetIdentityKey(identityKey), e.SetDeviceId(device))
	})
}

func fetchKeyPackage(c *call, p schemas.FetchKeyPackageParams, results schemas.FetchKeyPackageResults) error {
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	device, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	result, err := c.claim(key, device, true)
	if err != nil {
		return err
	}
	msg, err := schemas.Unmarshal(result.Data)
	if err != nil {
		return err
	}
	claimed, err := schemas.ReadRootFetchKeyPackagesResults(msg)
	if err != nil {
		return err
	}
	list, err := claimed.Packages()
	if err != nil {
		return err
	}
	if list.Len() != 1 {
		return fmt.Errorf("the store handed out %d packages for one", list.Len())
	}
	one := list.At(0)
	results.SetLastResort(one.LastResort())
	return errors.Join(copyData(one.Package, results.SetPackage), copyData(one.DeviceId, results.SetDeviceId))
}

func fetchKeyPackages(c *call, p schemas.FetchKeyPackagesParams, _ schemas.FetchKeyPackagesResults) error {
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	device, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	result, err := c.claim(key, device, false)
	if err != nil {
		return err
	}
	return c.relay(result)
}

func keyPackageCount(c *call, _ schemas.KeyPackageCountParams, results schemas.KeyPackageCountResults) error {
	view, err := c.state()
	if err != nil {
		return err
	}
	have, err := view.KeyPackages(c.caller.account, c.caller.device)
	if err != nil {
		return storageFault(err)
	}
	incarnation, err := view.Incarnation()
	if err != nil {
		return storageFault(err)
	}
	results.SetRemaining(have.Remaining)
	results.SetHasLastResort(have.HasLastResort)
	results.SetLow(have.Low)
	results.SetIncarnation(incarnation)
	return nil
}

func uploadHybridKey(c *call, p schemas.UploadHybridKeyParams, _ schemas.UploadHybridKeyResults) error {
	key, err := p.IdentityKey()
	if err != nil {
		return malformed(err)
	}
	hybrid, err := p.HybridPublicKey()
	if err != nil {
		return malformed(err)
	}
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	if err := c.checkHybrid(key, hybrid, signature); err != nil {
		return err
	}
	result, err := c.propose(func(to schemas.Entry_command) error {
		e, err := to.NewUploadHybridKey()
		if err != nil {
			return err
		}
		return errors.Join(e.SetIdentityKey(key), e.SetHybridPublicKey(hybrid), e.SetSignature(signature))
	})
	if err != nil {
		return err
	}
	return c.relay(result)
}

// checkHybrid holds what the log does not look at: that the device has signed.
func (c *call) checkHybrid(key, hybrid, signature []byte) error {
	if err := c.requireOwn(key); err != nil {
		return err
	}
	if len(hybrid) != schemas.HybridKeySize {
		return &refusal{code: schemas.Code_hybridKeyLength, value: schemas.HybridKeySize}
	}
	if len(signature) == 0 {
		return nil
	}
	a, err := c.account(c.caller.account)
	if err != nil {
		return err
	}
	statement := identity.HybridKey(c.caller.account, c.caller.actorDevice(), hybrid)
	if !statement.Verify(a.PrincipalKey(c.caller.device), signature) {
		return refuse(schemas.Code_signatureInvalid)
	}
	return nil
}
