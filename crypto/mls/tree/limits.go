package tree

import (
	"slices"

	"quicproquo/crypto/mls/rule"
)

// Limits of what others may make us read, list by list. They are far above anything
// honest: IANA lists about fifteen values of each kind, and GREASE fifteen more. Each
// keeps a small input from costing much more than its bytes.
const (
	// MaxExtensions bounds one list of extensions.
	MaxExtensions = 256
	// MaxCapabilities bounds each of the five lists of a leaf's capabilities.
	MaxCapabilities = 256
	// MaxCertificates bounds an X.509 credential's chain.
	MaxCertificates = 16
	// MaxExternalSenders bounds the list of that name.
	MaxExternalSenders = 64
	// MaxPathNodes bounds an update path, which has at most a node for each level of
	// the largest tree.
	MaxPathNodes = 32
	// MaxLeavesPerMember bounds blank places where there are more than SparseLeaves: a
	// tree has at most as many leaves for each of its members. A blank place is one byte
	// and costs two hashes.
	MaxLeavesPerMember = 256
	// SparseLeaves is how many leaves a tree may have however few members are left.
	SparseLeaves = 2048
)

// shortSet is the longest list that is searched as it is.
const shortSet = 16

// Set looks 16-bit numbers up in a list: in time that does not grow with the list.
type Set[T ~uint16] struct {
	list []T // while it is short
	bits *[1 << 16 / 64]uint64
}

// SetOf returns the numbers of a list as a set.
func SetOf[T ~uint16](list []T) Set[T] {
	if len(list) <= shortSet {
		return Set[T]{list: list}
	}
	s := Set[T]{bits: new([1 << 16 / 64]uint64)}
	for _, v := range list {
		s.bits[v/64] |= 1 << (v % 64)
	}
	return s
}

// Has reports whether v is in the set.
func (s *Set[T]) Has(v T) bool {
	if s.bits != nil {
		return s.bits[v/64]&(1<<(v%64)) != 0
	}
	return slices.Contains(s.list, v)
}

// add puts v into the set and reports whether it was there before.
func (s *Set[T]) add(v T) (before bool) {
	if before = s.Has(v); before {
		return true
	}
	if s.bits == nil && len(s.list) < shortSet {
		s.list = append(s.list, v)
		return false
	}
	if s.bits == nil {
		*s = SetOf(append(slices.Clip(s.list), v))
		return false
	}
	s.bits[v/64] |= 1 << (v % 64)
	return false
}

// Supported is what a leaf's capabilities list, ready for many questions.
type Supported struct {
	extensions  Set[ExtensionType]
	proposals   Set[ProposalType]
	credentials Set[CredentialType]
}

// Supported prepares the lists for looking up.
func (c *Capabilities) Supported() Supported {
	return Supported{SetOf(c.Extensions), SetOf(c.Proposals), SetOf(c.Credentials)}
}

// Extension reports whether an extension type is a default or listed.
func (s *Supported) Extension(t ExtensionType) bool { return t.Default() || s.extensions.Has(t) }

// Proposal reports whether a proposal type is a default or listed.
func (s *Supported) Proposal(t ProposalType) bool { return t.Default() || s.proposals.Has(t) }

// Credential reports whether a credential type is listed.
func (s *Supported) Credential(t CredentialType) bool { return s.credentials.Has(t) }

// checkLength checks that each list is short enough.
func (c *Capabilities) checkLength() error {
	for _, n := range [...]int{len(c.Versions), len(c.Suites), len(c.Extensions), len(c.Proposals), len(c.Credentials)} {
		if n > MaxCapabilities {
			return rule.Break(rule.Limit, "%d capabilities of one kind, at most %d", n, MaxCapabilities)
		}
	}
	return nil
}
