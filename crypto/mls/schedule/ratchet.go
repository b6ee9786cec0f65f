package schedule

import (
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/suite"
)

// Limits bound what a ratchet keeps and how far a message may push it (RFC 9420 §15.3).
type Limits struct {
	OutOfOrder uint32 // skipped generations whose keys are kept, most recent first
	Forward    uint32 // generations that one message may skip
}

// DefaultLimits are usual for chat: a few reordered messages, many lost ones.
func DefaultLimits() Limits { return Limits{OutOfOrder: 5, Forward: 1000} }

// MessageKey is a single-use key and nonce.
type MessageKey struct {
	Generation uint32
	Key, Nonce suite.Secret
}

// ratchet is a sender's hash ratchet (RFC 9420 §9.1). Immutable.
type ratchet struct {
	secret     suite.Secret // of generation
	generation uint32       // the next one not derived yet
	spent      bool         // generation 2^32-1 was used: nothing follows
	skipped    []MessageKey // increasing generations, all below generation
}

func deriveKey(s *suite.Suite, secret suite.Secret, generation uint32) MessageKey {
	return MessageKey{
		generation,
		s.DeriveTreeSecret(secret, "key", generation, s.KeySize()),
		s.DeriveTreeSecret(secret, "nonce", generation, s.NonceSize()),
	}
}

func step(s *suite.Suite, secret suite.Secret, generation uint32) suite.Secret {
	return s.DeriveTreeSecret(secret, "secret", generation, s.HashSize())
}

// next takes the next key in order.
func (r *ratchet) next(s *suite.Suite) (MessageKey, *ratchet, error) {
	if r.spent {
		return MessageKey{}, nil, rule.Break(rule.FrameGenerationUsed, "the ratchet is at its end: commit first")
	}
	key := deriveKey(s, r.secret, r.generation)
	return key, r.advanced(s, r.secret, r.generation, r.skipped), nil
}

// advanced is the ratchet after the key of generation was taken from secret.
func (r *ratchet) advanced(s *suite.Suite, secret suite.Secret, generation uint32, skipped []MessageKey) *ratchet {
	if generation == ^uint32(0) {
		return &ratchet{generation: generation, spent: true, skipped: skipped}
	}
	return &ratchet{secret: step(s, secret, generation), generation: generation + 1, skipped: skipped}
}

// take takes the key of any generation that is not used, forgotten or too far ahead.
func (r *ratchet) take(s *suite.Suite, generation uint32, lim Limits) (MessageKey, *ratchet, error) {
	if generation < r.generation || r.spent {
		return r.takeSkipped(generation)
	}
	ahead := generation - r.generation
	if ahead > lim.Forward {
		return MessageKey{}, nil, rule.Break(rule.FrameRatchetTooFar,
			"generation %d is %d ahead, at most %d", generation, ahead, lim.Forward)
	}
	secret, skipped := r.secret, slices.Clone(r.skipped)
	for g := r.generation; g < generation; g++ {
		if generation-g <= lim.OutOfOrder {
			skipped = append(skipped, deriveKey(s, secret, g))
		}
		following := step(s, secret, g)
		if g > r.generation {
			secret.Zero()
		}
		secret = following
	}
	// Only the most recent skipped generations are kept.
	for len(skipped) > 0 && (len(skipped) > int(lim.OutOfOrder) || generation-skipped[0].Generation > lim.OutOfOrder) {
		skipped = skipped[1:]
	}
	key := deriveKey(s, secret, generation)
	return key, r.advanced(s, secret, generation, slices.Clip(skipped)), nil
}

func (r *ratchet) takeSkipped(generation uint32) (MessageKey, *ratchet, error) {
	i, found := slices.BinarySearchFunc(r.skipped, generation, func(k MessageKey, g uint32) int {
		return int(int64(k.Generation) - int64(g))
	})
	if !found {
		return MessageKey{}, nil, rule.Break(rule.FrameGenerationUsed, "generation %d", generation)
	}
	rest := *r
	rest.skipped = slices.Concat(r.skipped[:i], r.skipped[i+1:])
	return r.skipped[i], &rest, nil
}

func (r *ratchet) each(visit func(suite.Secret)) {
	visit(r.secret)
	for _, k := range r.skipped {
		visit(k.Key)
		visit(k.Nonce)
	}
}

func (r *ratchet) appendTo(b []byte) []byte {
	b = codec.Uint32(b, r.generation)
	b = codec.Bytes(codec.Optional(b, r.spent), r.secret)
	return codec.Vector(b, func(b []byte) []byte {
		for _, k := range r.skipped {
			b = codec.Uint32(b, k.Generation)
			b = codec.Bytes(codec.Bytes(b, k.Key), k.Nonce)
		}
		return b
	})
}

func readRatchet(r *codec.Reader) *ratchet {
	out := &ratchet{generation: r.Uint32(), spent: r.Optional(), secret: r.Bytes()}
	out.skipped = codec.List(r, func(r *codec.Reader) MessageKey {
		return MessageKey{r.Uint32(), r.Bytes(), r.Bytes()}
	})
	return out
}
