package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// Reading the commands of the keys topic. Byte slices alias the entry.

type uploadKeyPackagesRequest struct {
	identityKey, signatureKey []byte
	// named is how many packages the call has, the last-resort one aside; those
	// beyond the limit are not read.
	named    int
	packages []uploadedPackage // a last-resort one at the end
}

type uploadedPackage struct {
	data       []byte
	expires    uint64
	lastResort bool
}

func (r *request) decodeUploadKeyPackages(cmd schemas.Entry_command) error {
	msg, err := cmd.UploadKeyPackages()
	if err != nil {
		return err
	}
	var g reading
	p := &r.uploadKeyPackages
	*p = uploadKeyPackagesRequest{
		identityKey: g.bytes(msg.IdentityKey()), signatureKey: g.bytes(msg.SignatureKey()), packages: p.packages[:0],
	}
	list, err := msg.Packages()
	if err != nil {
		return err
	}
	p.named = list.Len()
	for i := range min(p.named, schemas.MaxKeyPackages) {
		data, err := list.At(i)
		if err != nil {
			return fmt.Errorf("package %d: %w", i, err)
		}
		p.packages = append(p.packages, uploadedPackage{data: data})
	}
	if last := g.bytes(msg.LastResort()); len(last) != 0 {
		p.packages = append(p.packages, uploadedPackage{data: last, lastResort: true})
	}
	expires, err := msg.ExpiresMs()
	if err != nil {
		return err
	}
	for i := range min(expires.Len(), len(p.packages)) {
		p.packages[i].expires = expires.At(i)
	}
	return g.err
}

type claimKeyPackagesRequest struct {
	identityKey, deviceID []byte
	oldestOnly            bool
}

func (r *request) decodeClaimKeyPackages(cmd schemas.Entry_command) error {
	msg, err := cmd.ClaimKeyPackages()
	if err != nil {
		return err
	}
	var g reading
	r.claimKeyPackages = claimKeyPackagesRequest{
		identityKey: g.bytes(msg.IdentityKey()), deviceID: g.bytes(msg.DeviceId()), oldestOnly: msg.OldestOnly(),
	}
	return g.err
}

type uploadHybridKeyRequest struct{ identityKey, key, signature []byte }

func (r *request) decodeUploadHybridKey(cmd schemas.Entry_command) error {
	msg, err := cmd.UploadHybridKey()
	if err != nil {
		return err
	}
	var g reading
	r.uploadHybridKey = uploadHybridKeyRequest{
		identityKey: g.bytes(msg.IdentityKey()), key: g.bytes(msg.HybridPublicKey()), signature: g.bytes(msg.Signature()),
	}
	return g.err
}

// claimKey is the account whose packages are handed out.
func claimKey(r *request) []byte { return clone(r.claimKeyPackages.identityKey) }
