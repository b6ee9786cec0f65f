package room

import "quicproquo/crypto/suite"

// LineageKeys returns the keys that are kept, by epoch, as they lie in memory.
func LineageKeys(k *Known) map[uint64]suite.Secret {
	keys := map[uint64]suite.Secret{}
	for _, e := range k.keys {
		keys[e.epoch] = e.key
	}
	return keys
}
