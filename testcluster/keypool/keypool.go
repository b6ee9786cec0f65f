// Package keypool is for tests in which many race for the key packages of one account:
// it makes the packages, and models the pool that they lie in.
package keypool

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// What a taker hears in place of the place of its package in the pool, from 0.
const (
	Empty   = -1
	Unknown = -2 // the answer was lost
)

// Model is a pool of size packages: a claim gets the oldest that is left, or hears that
// there is none. Outputs are places, Empty or Unknown; inputs are not looked at.
func Model(size int) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{0} }, // how many were taken
		Step: func(state, _, output any) []any {
			taken, got := state.(int), output.(int)
			switch {
			case got == Unknown && taken < size:
				return []any{taken, taken + 1}
			case got == Unknown, got == Empty && taken == size:
				return []any{taken}
			case got == taken && taken < size:
				return []any{taken + 1}
			}
			return nil
		},
		DescribeOperation: func(_, output any) string { return fmt.Sprint("claim -> ", output) },
	}
	return m.ToModel()
}

// Packages makes n key packages, MLSMessages of suite 1, of an account without devices.
func Packages(name string, key ed25519.PrivateKey, n int) (list [][]byte, err error) {
	s, err := suite.Lookup(1)
	if err != nil {
		return nil, fmt.Errorf("make key packages: %w", err)
	}
	signer, err := s.NewSigner(suite.Secret(key.Seed()))
	if err != nil {
		return nil, fmt.Errorf("make key packages: %w", err)
	}
	identity := &mls.Identity{Signer: signer, Credential: tree.BasicCredential([]byte(name))}
	for range n {
		kp, err := identity.NewKeyPackage(time.Now(), mls.KeyPackageOptions{})
		if err != nil {
			return nil, fmt.Errorf("make key packages: %w", err)
		}
		list = append(list, kp.Message())
	}
	return list, nil
}
