package conform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/schemas"
)

const keysSection = "Key packages and hybrid keys"

// acceptedSuites are those that the documents name.
func acceptedSuites() []suite.ID { return []suite.ID{0x0001, 0x0003, 0x004E, 0x004F} }

// keyPackage makes one for a session's device, an MLSMessage.
func (p *person) keyPackage(id suite.ID, o mls.KeyPackageOptions) ([]byte, error) {
	s, err := suite.Lookup(id)
	if err != nil {
		return nil, fmt.Errorf("make a key package: %w", err)
	}
	signer, err := s.NewSigner(suite.Secret(p.key.Seed()))
	if err != nil {
		return nil, fmt.Errorf("make a key package: %w", err)
	}
	who := &mls.Identity{Signer: signer, Credential: tree.BasicCredential([]byte(p.name))}
	kp, err := who.NewKeyPackage(time.Now(), o)
	if err != nil {
		return nil, fmt.Errorf("make a key package: %w", err)
	}
	return kp.Message(), nil
}

func uploadOne(key, kp []byte) spec {
	return of("uploadKeyPackage", schemas.NewUploadKeyPackageParams, func(p schemas.UploadKeyPackageParams) error {
		return errors.Join(p.SetIdentityKey(key), p.SetPackage(kp))
	})
}

func uploadMany(key []byte, packages [][]byte, lastResort []byte) spec {
	return of("uploadKeyPackages", schemas.NewUploadKeyPackagesParams, func(p schemas.UploadKeyPackagesParams) error {
		list, err := p.NewPackages(int32(len(packages)))
		for i, kp := range packages {
			err = errors.Join(err, list.Set(i, kp))
		}
		return errors.Join(err, p.SetIdentityKey(key), p.SetLastResort(lastResort))
	})
}

func claim(of1, device []byte) spec {
	return of("fetchKeyPackage", schemas.NewFetchKeyPackageParams, func(p schemas.FetchKeyPackageParams) error {
		return errors.Join(p.SetIdentityKey(of1), p.SetDeviceId(device))
	})
}

func claimEach(of1, device []byte) spec {
	return of("fetchKeyPackages", schemas.NewFetchKeyPackagesParams, func(p schemas.FetchKeyPackagesParams) error {
		return errors.Join(p.SetIdentityKey(of1), p.SetDeviceId(device))
	})
}

func countPackages() spec {
	return of("keyPackageCount", schemas.NewKeyPackageCountParams, nil)
}

func keyPackages() []Check {
	return []Check{
		{
			What:    "key packages are handed out once each, the oldest first, on any node; a claim that is repeated gets the same one; the last-resort one when no other is left",
			Section: keysSection, Methods: []string{"uploadKeyPackages", "fetchKeyPackage", "keyPackageCount"}, run: handedOut,
		},
		{
			What: "uploadKeyPackage takes packages of each suite that the documents name, and answers their SHA-256", Section: keysSection,
			Methods: []string{"uploadKeyPackage"}, run: suites,
		},
		{
			What: "fetchKeyPackages answers for each device; an account without packages is E059 there", Section: keysSection, Methods: []string{"fetchKeyPackages", "uploadKeyPackage"},
			Codes: []schemas.Code{schemas.Code_keyPackageNone}, run: claimsEach,
		},
		{
			What: "hybrid keys come back as they were uploaded, with their signature", Section: keysSection,
			Methods: []string{"uploadHybridKey", "fetchHybridKey", "fetchHybridKeys"}, Codes: []schemas.Code{schemas.Code_hybridKeyNone}, run: hybridKeys,
		},
	}
}

// claimed takes a package of somebody's.
func (w *World) claimed(ctx context.Context, by *person, s spec) (schemas.FetchKeyPackageResults, []byte, error) {
	a, err := w.call(ctx, by, s, schemas.Code_ok)
	if err != nil {
		return schemas.FetchKeyPackageResults{}, nil, err
	}
	r := results[schemas.FetchKeyPackageResults](a)
	kp, err := r.Package()
	return r, kp, err
}

func handedOut(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	owner, err := w.someone(ctx, "bob")
	if err != nil {
		return err
	}
	var packages [][]byte
	for range 3 {
		kp, err := owner.keyPackage(suite.Default, mls.KeyPackageOptions{})
		if err != nil {
			return err
		}
		packages = append(packages, kp)
	}
	last, err := owner.keyPackage(suite.Default, mls.KeyPackageOptions{LastResort: true})
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, owner, uploadMany(owner.public(), packages, last), schemas.Code_ok); err != nil {
		return err
	}
	for i, want := range append(packages, last, last) {
		s := claim(owner.public(), nil)
		s.id = random(16)
		for range 2 { // the repetition goes to another node
			r, kp, err := w.claimed(ctx, ann, s)
			if err != nil {
				return err
			}
			if !bytes.Equal(kp, want) || r.LastResort() != (i >= len(packages)) {
				return differs(fmt.Sprint("claim ", i+1), fmt.Sprintf("another package, last resort %t", r.LastResort()), fmt.Sprintf("the package in its turn, last resort %t", i >= len(packages)))
			}
		}
	}
	a, err := w.call(ctx, owner, countPackages(), schemas.Code_ok)
	if err != nil {
		return err
	}
	r := results[schemas.KeyPackageCountResults](a)
	if r.Remaining() != 0 || !r.HasLastResort() || !r.Low() {
		return differs("keyPackageCount", fmt.Sprintf("%d, last resort %t, low %t", r.Remaining(), r.HasLastResort(), r.Low()), "0, last resort true, low true")
	}
	_, err = w.call(ctx, owner, uploadOne(owner.public(), packages[0]), schemas.Code_keyPackageUsed)
	return err
}

func suites(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	for _, id := range acceptedSuites() {
		kp, err := ann.keyPackage(id, mls.KeyPackageOptions{})
		if err != nil {
			return err
		}
		for name, form := range map[string][]byte{"an MLSMessage": kp} {
			a, err := w.call(ctx, ann, uploadOne(ann.public(), form), schemas.Code_ok)
			if err != nil {
				return fmt.Errorf("suite %#04x, %s: %w", uint16(id), name, err)
			}
			got, err := results[schemas.UploadKeyPackageResults](a).Fingerprint()
			want := sha256.Sum256(form)
			if err != nil || !bytes.Equal(got, want[:]) {
				return errors.Join(err, differs("the fingerprint", fmt.Sprintf("%x", got), fmt.Sprintf("%x", want)))
			}
		}
	}
	bare, err := ann.keyPackage(suite.Default, mls.KeyPackageOptions{})
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, ann, uploadOne(ann.public(), bare[4:]), schemas.Code_ok); err != nil {
		return fmt.Errorf("a bare KeyPackage: %w", err)
	}
	return nil
}

func claimsEach(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, bob, claim(ann.public(), random(16)), schemas.Code_deviceNotFound); err != nil {
		return err
	}
	kp, err := ann.keyPackage(suite.Default, mls.KeyPackageOptions{})
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, ann, uploadOne(ann.public(), kp), schemas.Code_ok); err != nil {
		return err
	}
	a, err := w.call(ctx, bob, claimEach(ann.public(), nil), schemas.Code_ok)
	if err != nil {
		return err
	}
	if err := onePackage(a, schemas.Code_ok); err != nil {
		return err
	}
	dora, err := w.someone(ctx, "dora") // who has none
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, bob, claim(dora.public(), nil), schemas.Code_keyPackageNone); err != nil {
		return err
	}
	a, err = w.call(ctx, bob, claimEach(dora.public(), nil), schemas.Code_ok)
	if err != nil {
		return err
	}
	return onePackage(a, schemas.Code_keyPackageNone)
}

func onePackage(a wire.Answer, want schemas.Code) error {
	list, err := results[schemas.FetchKeyPackagesResults](a).Packages()
	if err != nil || list.Len() != 1 {
		return errors.Join(err, differs("packages", list.Len(), 1))
	}
	if got := list.At(0).Code(); got != want || list.At(0).HasPackage() != (want == schemas.Code_ok) {
		return differs("the one package", code(got), code(want))
	}
	return nil
}

func uploadHybrid(key, hybrid, signature []byte) spec {
	return of("uploadHybridKey", schemas.NewUploadHybridKeyParams, func(p schemas.UploadHybridKeyParams) error {
		return errors.Join(p.SetIdentityKey(key), p.SetHybridPublicKey(hybrid), p.SetSignature(signature))
	})
}

func fetchHybrid(key []byte) spec {
	return of("fetchHybridKey", schemas.NewFetchHybridKeyParams, func(p schemas.FetchHybridKeyParams) error { return p.SetIdentityKey(key) })
}

func fetchHybrids(keys ...[]byte) spec {
	return of("fetchHybridKeys", schemas.NewFetchHybridKeysParams, func(p schemas.FetchHybridKeysParams) error {
		list, err := p.NewIdentityKeys(int32(len(keys)))
		for i, key := range keys {
			err = errors.Join(err, list.Set(i, key))
		}
		return err
	})
}

func hybridKeys(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	dora, err := w.someone(ctx, "dora")
	if err != nil {
		return err
	}
	if _, err := w.call(ctx, bob, fetchHybrid(dora.public()), schemas.Code_hybridKeyNone); err != nil {
		return err
	}
	for node := range w.nodes {
		key := random(schemas.HybridKeySize)
		signature, err := identity.HybridKey([32]byte(ann.public()), nil, key).Sign(ann.key)
		if err != nil {
			return err
		}
		s := uploadHybrid(ann.public(), key, signature)
		s.node = node + 1
		if _, err := w.call(ctx, ann, s, schemas.Code_ok); err != nil {
			return err
		}
		a, err := w.call(ctx, bob, fetchHybrid(ann.public()), schemas.Code_ok)
		if err != nil {
			return err
		}
		r := results[schemas.FetchHybridKeyResults](a)
		got, err := r.HybridPublicKey()
		if err != nil || !bytes.Equal(got, key) {
			return errors.Join(err, differs("the hybrid key", fmt.Sprint(len(got), " bytes"), "the uploaded one"))
		}
		if signed, err := r.Signature(); err != nil || !bytes.Equal(signed, signature) {
			return errors.Join(err, differs("its signature", fmt.Sprint(len(signed), " bytes"), "the uploaded one"))
		}
	}
	a, err := w.call(ctx, bob, fetchHybrids(ann.public(), newPublic()), schemas.Code_ok)
	if err != nil {
		return err
	}
	list, err := results[schemas.FetchHybridKeysResults](a).Keys()
	if err != nil {
		return err
	}
	return same("keys of accounts that exist", list.Len(), 1)
}

func keyRefusals() []Check {
	return []Check{{What: "calls on keys refuse what the documents say, one thing at a time", Section: keysSection, Codes: []schemas.Code{
		schemas.Code_identityRequired, schemas.Code_identityMismatch, schemas.Code_keyLength, schemas.Code_payloadEmpty, schemas.Code_payloadTooLarge,
		schemas.Code_keyPackageInvalid, schemas.Code_keyPackageUsed, schemas.Code_listTooLong, schemas.Code_hybridKeyLength, schemas.Code_signatureInvalid,
		schemas.Code_accountNotFound,
	}, run: func(ctx context.Context, w *World) error {
		ann, bob, err := w.two(ctx)
		if err != nil {
			return err
		}
		rows, err := keyRows(ann, bob)
		if err != nil {
			return err
		}
		return w.refusals(ctx, ann, rows)
	}}}
}

func keyRows(ann, bob *person) ([]refusal, error) {
	now := time.Now()
	late := mls.KeyPackageOptions{Lifetime: tree.Lifetime{NotBefore: uint64(now.Unix()), NotAfter: uint64(now.Add(200 * 24 * time.Hour).Unix())}}
	good, err1 := ann.keyPackage(suite.Default, mls.KeyPackageOptions{})
	others, err2 := bob.keyPackage(suite.Default, mls.KeyPackageOptions{})
	long, err3 := ann.keyPackage(suite.Default, late)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	damaged := bytes.Clone(good)
	damaged[len(damaged)-1] ^= 1
	me, hybrid := ann.public(), make([]byte, schemas.HybridKeySize)
	return []refusal{
		{"no key", uploadOne(nil, good), schemas.Code_identityRequired},
		{"a key of 31 bytes", uploadOne(me[:31], good), schemas.Code_keyLength},
		{"for another account", uploadOne(bob.public(), good), schemas.Code_identityMismatch},
		{"no package", uploadOne(me, nil), schemas.Code_payloadEmpty},
		{"16 KiB and a byte", uploadOne(me, make([]byte, schemas.MaxKeyPackage+1)), schemas.Code_payloadTooLarge},
		{"another's package", uploadOne(me, others), schemas.Code_keyPackageInvalid},
		{"a damaged signature", uploadOne(me, damaged), schemas.Code_keyPackageInvalid},
		{"a life of 200 days", uploadOne(me, long), schemas.Code_keyPackageInvalid},
		{"one twice, bare and in a message", uploadMany(me, [][]byte{good, good[4:]}, nil), schemas.Code_keyPackageUsed},
		{"a last-resort one without the mark", uploadMany(me, nil, good), schemas.Code_keyPackageInvalid},
		{"101 packages", uploadMany(me, make([][]byte, schemas.MaxKeyPackages+1), nil), schemas.Code_listTooLong},
		{"a claim of nobody's", claim(newPublic(), nil), schemas.Code_accountNotFound},
		{"a hybrid key of 1,215 bytes", uploadHybrid(me, hybrid[1:], nil), schemas.Code_hybridKeyLength},
		{"a hybrid key signed by nobody", uploadHybrid(me, hybrid, make([]byte, 64)), schemas.Code_signatureInvalid},
		{"257 accounts", fetchHybrids(make([][]byte, schemas.MaxIdentities+1)...), schemas.Code_listTooLong},
	}, nil
}
