package groupstate

import "quicproquo/crypto/suite"

// LineageKeys returns the keys that are kept, by epoch, as they lie in memory.
func LineageKeys(k *Known) map[uint64]suite.Secret {
	keys := map[uint64]suite.Secret{}
	for _, e := range k.keys {
		keys[e.epoch] = e.key
	}
	return keys
}

// EarlierKeys are how many keys are kept.
func EarlierKeys(l *EarlierLeaves) int { return len(l.list) }

// ForgeGrant writes what the data and accounts are into the grant, whose signature is
// then of something else.
func ForgeGrant(d *Data, accounts [][32]byte) {
	roster, data := rosterDigest(accounts), d.digest()
	copy(d.Grant[8:], roster[:])
	copy(d.Grant[8+len(roster):], data[:])
}
