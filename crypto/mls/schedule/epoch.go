package schedule

import (
	"quicproquo/crypto/codec"
	"quicproquo/crypto/suite"
)

// Epoch holds the secrets of one epoch that outlive its derivation (RFC 9420 §8). The
// encryption and application-export secrets live in their trees, the rest is deleted.
type Epoch struct {
	SenderData      suite.Secret
	Exporter        suite.Secret
	External        suite.Secret
	ConfirmationKey suite.Secret
	MembershipKey   suite.Secret
	ResumptionPSK   suite.Secret
	Authenticator   suite.Secret
	Init            suite.Secret
}

// Roots are the secrets from which the two trees of an epoch grow.
type Roots struct {
	Encryption        suite.Secret // secret tree, RFC 9420 §9
	ApplicationExport suite.Secret // exporter tree, draft-ietf-mls-extensions §3.4
}

// Joiner derives the joiner secret from the previous init secret, the commit secret and
// the new group context (RFC 9420 §8).
func Joiner(s *suite.Suite, initSecret, commitSecret suite.Secret, context []byte) suite.Secret {
	prk := s.Extract(initSecret, commitSecret)
	defer prk.Zero()
	return s.ExpandWithLabel(prk, "joiner", context, s.HashSize())
}

// Welcome derives the welcome secret (RFC 9420 §8).
func Welcome(s *suite.Suite, joiner, pskSecret suite.Secret) suite.Secret {
	member := s.Extract(joiner, pskSecret)
	defer member.Zero()
	return s.DeriveSecret(member, "welcome")
}

// WelcomeKeys derives key and nonce of the encrypted group info (RFC 9420 §12.4.3.1).
func WelcomeKeys(s *suite.Suite, welcome suite.Secret) (key, nonce suite.Secret) {
	return s.ExpandWithLabel(welcome, "key", nil, s.KeySize()),
		s.ExpandWithLabel(welcome, "nonce", nil, s.NonceSize())
}

// FromJoiner derives the secrets of an epoch from its joiner secret (RFC 9420 §8).
func FromJoiner(s *suite.Suite, joiner, pskSecret suite.Secret, context []byte) (*Epoch, Roots) {
	member := s.Extract(joiner, pskSecret)
	epochSecret := s.ExpandWithLabel(member, "epoch", context, s.HashSize())
	defer member.Zero()
	defer epochSecret.Zero()
	return FromEpochSecret(s, epochSecret)
}

// FromEpochSecret derives the secrets of an epoch (RFC 9420 §8, table 4).
func FromEpochSecret(s *suite.Suite, secret suite.Secret) (*Epoch, Roots) {
	e := &Epoch{
		SenderData:      s.DeriveSecret(secret, "sender data"),
		Exporter:        s.DeriveSecret(secret, "exporter"),
		External:        s.DeriveSecret(secret, "external"),
		ConfirmationKey: s.DeriveSecret(secret, "confirm"),
		MembershipKey:   s.DeriveSecret(secret, "membership"),
		ResumptionPSK:   s.DeriveSecret(secret, "resumption"),
		Authenticator:   s.DeriveSecret(secret, "authentication"),
		Init:            s.DeriveSecret(secret, "init"),
	}
	return e, Roots{s.DeriveSecret(secret, "encryption"), s.DeriveSecret(secret, "application_export")}
}

// Export is MLS-Exporter (RFC 9420 §8.5).
func (e *Epoch) Export(s *suite.Suite, label string, context []byte, length int) suite.Secret {
	secret := s.DeriveSecret(e.Exporter, label)
	defer secret.Zero()
	return s.ExpandWithLabel(secret, "exported", s.Hash(context), length)
}

// ExternalKey derives the key pair for external commits (RFC 9420 §8).
func (e *Epoch) ExternalKey(s *suite.Suite) (*suite.PrivateKey, suite.PublicKey, error) {
	return s.DeriveKeyPair(e.External)
}

// ConfirmationTag authenticates the confirmed transcript hash (RFC 9420 §6.1).
func (e *Epoch) ConfirmationTag(s *suite.Suite, confirmedTranscriptHash []byte) []byte {
	return s.MAC(e.ConfirmationKey, confirmedTranscriptHash)
}

// Zero erases all secrets.
func (e *Epoch) Zero() {
	for _, s := range e.all() {
		s.Zero()
	}
}

func (e *Epoch) all() [8]suite.Secret {
	return [8]suite.Secret{
		e.SenderData, e.Exporter, e.External, e.ConfirmationKey,
		e.MembershipKey, e.ResumptionPSK, e.Authenticator, e.Init,
	}
}

// AppendTo appends the state encoding.
func (e *Epoch) AppendTo(b []byte) []byte {
	for _, s := range e.all() {
		b = codec.Bytes(b, s)
	}
	return b
}

// ReadEpoch decodes the state encoding.
func ReadEpoch(r *codec.Reader) *Epoch {
	return &Epoch{
		r.Bytes(), r.Bytes(), r.Bytes(), r.Bytes(),
		r.Bytes(), r.Bytes(), r.Bytes(), r.Bytes(),
	}
}
