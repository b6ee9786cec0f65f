package mls

import (
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Limits of one group. Each bounds memory that peers could make us use.
const (
	// MaxStoredProposals bounds the proposals kept for one epoch; see MaxStoredBytes.
	MaxStoredProposals = 4096
	// MaxSent bounds how many own messages are recognised when they come back.
	MaxSent = 128
	// MaxExport bounds an exported secret, in bytes.
	MaxExport = 255 * 32
	// DefaultPastEpochs is how many epochs late application messages may be.
	DefaultPastEpochs = 3
	// DefaultResumptionEpochs is how many resumption PSKs are kept, the present included.
	DefaultResumptionEpochs = 32
	// DefaultMaxLifetime is the longest acceptable lifetime of a key package.
	DefaultMaxLifetime = 28*3*24*time.Hour + time.Hour
)

// Authenticator is the application's Authentication Service (RFC 9420 §5.3.1). It must
// be safe for concurrent use and free of side effects.
type Authenticator interface {
	// Validate accepts a credential as belonging to a signature key at a time.
	Validate(c tree.Credential, key suite.SignaturePublicKey, now time.Time) error
	// Successor accepts that a member replaces credential old by next, and that both
	// present the same client.
	Successor(old, next tree.Credential) error
}

// Config is a client's policy. It is not part of a group's state: it is given again
// when state is loaded. The zero value is usable and strict.
type Config struct {
	// Auth validates credentials; nil means BasicAuth.
	Auth Authenticator
	// PSK returns external PSKs, and resumption PSKs of other groups; nil knows none.
	PSK func(id schedule.PSKID) (suite.Secret, bool)
	// KnowsGroup reports whether the client is in a group already; nil knows none.
	KnowsGroup func(groupID []byte) bool
	// PrivateHandshake sends proposals and commits encrypted where the RFC allows it.
	PrivateHandshake bool
	// Padding returns how many zero bytes to add to a private message whose content has
	// n bytes; nil means none.
	Padding func(n int) int
	// IgnoreLifetime accepts any lifetime of key packages.
	IgnoreLifetime bool
	// MaxLifetime is the longest acceptable total lifetime; 0 means DefaultMaxLifetime.
	MaxLifetime time.Duration
	// Limits bound the ratchets; the zero value means schedule.DefaultLimits.
	Limits schedule.Limits
	// PastEpochs is how many past epochs' application messages can still be read; 0
	// means DefaultPastEpochs, a negative number none.
	PastEpochs int
	// SendWithPending lets application data go out while proposals are waiting, which
	// RFC 9420 §12.4 forbids: for test peers.
	SendWithPending bool
}

func (c *Config) auth() Authenticator {
	if c.Auth == nil {
		return BasicAuth{}
	}
	return c.Auth
}

func (c *Config) limits() schedule.Limits {
	if c.Limits == (schedule.Limits{}) {
		return schedule.DefaultLimits()
	}
	return c.Limits
}

func (c *Config) pastEpochs() int {
	switch {
	case c.PastEpochs == 0:
		return DefaultPastEpochs
	case c.PastEpochs < 0:
		return 0
	default:
		return c.PastEpochs
	}
}

func (c *Config) wire() message.WireFormat {
	if c.PrivateHandshake {
		return message.WirePrivate
	}
	return message.WirePublic
}

func (c *Config) padding(n int) int {
	if c.Padding == nil {
		return 0
	}
	return max(0, c.Padding(n))
}

// PadTo returns a padding policy that rounds contents up to a multiple of block bytes.
func PadTo(block int) func(n int) int {
	return func(n int) int { return (block - n%block) % block }
}

// LifetimeLeeway is how far outside of its lifetime a committer still adds a key package:
// clocks of devices are off by days. The longest lifetime is kept to the second.
const LifetimeLeeway = 4 * 24 * time.Hour

// checkLifetime checks the lifetime of a leaf from a key package that is to be added
// (RFC 9420 §7.2, §7.3). Who proposes or commits the Add judges it and nobody after:
// a receiver may be late, and one who refused would lose the group.
func (c *Config) checkLifetime(l tree.Lifetime, now time.Time) error {
	if c.IgnoreLifetime {
		return nil
	}
	longest := c.MaxLifetime
	if longest == 0 {
		longest = DefaultMaxLifetime
	}
	if l.NotAfter < l.NotBefore || l.NotAfter-l.NotBefore > uint64(longest/time.Second) {
		return rule.Break(rule.LeafLifetimeTotal, "from %d to %d, at most %v", l.NotBefore, l.NotAfter, longest)
	}
	const leeway = uint64(LifetimeLeeway / time.Second)
	t := uint64(max(0, now.Unix()))
	if early, late := l.NotBefore > t && l.NotBefore-t > leeway, t > l.NotAfter && t-l.NotAfter > leeway; early || late {
		return rule.Break(rule.LeafLifetime, "from %d to %d, now %d", l.NotBefore, l.NotAfter, t)
	}
	return nil
}

// validate asks the Authentication Service about a leaf's credential.
func (c *Config) validate(l *tree.LeafNode, now time.Time) error {
	if l.Credential.Type == tree.CredentialX509 {
		if err := checkCertificateKey(l); err != nil {
			return err
		}
	}
	return rule.Because(rule.LeafCredential, c.auth().Validate(l.Credential, l.SignatureKey, now))
}
