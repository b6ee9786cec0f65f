// Package tree is the ratchet tree of RFC 9420 §7: leaf and parent nodes, tree hashes,
// parent hashes, and TreeKEM update paths.
//
// A [Tree] is immutable and knows its tree hash; changes are made through an [Editor],
// which copies only node pointers and recomputes only the hashes of paths that changed.
// Nothing here knows about messages, epochs or groups, and the public tree is usable
// without any private key ([Private] holds those, apart).
//
// It must never accept a tree from outside without Validate, or a leaf without Verify.
//
// Reading order: types.go, limits.go, leaf.go, tree.go, keys.go, edit.go, hash.go,
// validate.go, path.go, treekem.go.
package tree

import (
	"bytes"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/treemath"
)

// LeafIndex numbers the leaves of a tree.
type LeafIndex = treemath.LeafIndex

// NodeIndex numbers all nodes of a tree.
type NodeIndex = treemath.NodeIndex

// Version is a protocol version (RFC 9420 §6).
type Version uint16

// MLS10 is the only protocol version.
const MLS10 Version = 1

// ExtensionType numbers extensions (RFC 9420 §17.3).
type ExtensionType uint16

// Extension types.
const (
	ExtApplicationID        ExtensionType = 1
	ExtRatchetTree          ExtensionType = 2
	ExtRequiredCapabilities ExtensionType = 3
	ExtExternalPub          ExtensionType = 4
	ExtExternalSenders      ExtensionType = 5
	ExtAppDataDictionary    ExtensionType = 6 // draft-ietf-mls-extensions
	ExtLastResort           ExtensionType = 0x000A
)

// Default reports whether every client is assumed to support the type (§7.2).
func (t ExtensionType) Default() bool { return t >= ExtApplicationID && t <= ExtExternalSenders }

// ProposalType numbers proposals (RFC 9420 §17.4).
type ProposalType uint16

// Proposal types.
const (
	ProposalAdd                    ProposalType = 1
	ProposalUpdate                 ProposalType = 2
	ProposalRemove                 ProposalType = 3
	ProposalPSK                    ProposalType = 4
	ProposalReInit                 ProposalType = 5
	ProposalExternalInit           ProposalType = 6
	ProposalGroupContextExtensions ProposalType = 7
	ProposalSelfRemove             ProposalType = 0x000A // draft-ietf-mls-extensions
)

// Default reports whether every client is assumed to support the type (§7.2).
func (t ProposalType) Default() bool {
	return t >= ProposalAdd && t <= ProposalGroupContextExtensions
}

// Extension is an extension with its undecoded contents (RFC 9420 §7.2).
type Extension struct {
	Type ExtensionType
	Data []byte
}

// AppendTo appends the wire form.
func (e Extension) AppendTo(b []byte) []byte {
	return codec.Bytes(codec.Uint16(b, uint16(e.Type)), e.Data)
}

// Extensions is a list of extensions.
type Extensions []Extension

// AppendTo appends the wire form.
func (l Extensions) AppendTo(b []byte) []byte { return codec.AppendList(b, l) }

// ReadExtensions decodes a list of extensions.
func ReadExtensions(r *codec.Reader) Extensions {
	return codec.ListUpTo(r, MaxExtensions, func(r *codec.Reader) Extension {
		return Extension{ExtensionType(r.Uint16()), r.Bytes()}
	})
}

// Get returns the contents of the extension of the given type.
func (l Extensions) Get(t ExtensionType) (data []byte, ok bool) {
	for _, e := range l {
		if e.Type == t {
			return e.Data, true
		}
	}
	return nil, false
}

// CheckUnique checks that no type appears twice.
func (l Extensions) CheckUnique() error {
	var seen Set[ExtensionType]
	for _, e := range l {
		if seen.add(e.Type) {
			return rule.Break(rule.ExtensionsUnique, "extension type 0x%04x", uint16(e.Type))
		}
	}
	return nil
}

// Equal reports whether both lists have the same wire form.
func (l Extensions) Equal(m Extensions) bool {
	return slices.EqualFunc(l, m, func(a, b Extension) bool {
		return a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	})
}

// CredentialType numbers credentials (RFC 9420 §17.5).
type CredentialType uint16

// Credential types.
const (
	CredentialBasic CredentialType = 1
	CredentialX509  CredentialType = 2
)

// Credential binds an identity to a signature key (RFC 9420 §5.3). For types other than
// X.509, including unknown ones, Identity is the opaque<V> that follows the type.
type Credential struct {
	Type         CredentialType
	Identity     []byte
	Certificates [][]byte // DER, end entity first; X.509 only
}

// BasicCredential returns a bare assertion of identity.
func BasicCredential(identity []byte) Credential {
	return Credential{Type: CredentialBasic, Identity: identity}
}

// AppendTo appends the wire form.
func (c Credential) AppendTo(b []byte) []byte {
	b = codec.Uint16(b, uint16(c.Type))
	if c.Type != CredentialX509 {
		return codec.Bytes(b, c.Identity)
	}
	return codec.Vector(b, func(b []byte) []byte {
		for _, cert := range c.Certificates {
			b = codec.Bytes(b, cert)
		}
		return b
	})
}

// ReadCredential decodes a credential.
func ReadCredential(r *codec.Reader) Credential {
	c := Credential{Type: CredentialType(r.Uint16())}
	if c.Type == CredentialX509 {
		c.Certificates = codec.ListUpTo(r, MaxCertificates, (*codec.Reader).Bytes)
	} else {
		c.Identity = r.Bytes()
	}
	return c
}

// Equal reports whether both have the same wire form.
func (c Credential) Equal(d Credential) bool {
	return c.Type == d.Type && bytes.Equal(c.Identity, d.Identity) &&
		slices.EqualFunc(c.Certificates, d.Certificates, bytes.Equal)
}

// Capabilities lists what a client supports (RFC 9420 §7.2). Values that are unknown to
// us, GREASE included, are kept and ignored.
type Capabilities struct {
	Versions    []Version
	Suites      []uint16
	Extensions  []ExtensionType
	Proposals   []ProposalType
	Credentials []CredentialType
}

// AppendTo appends the wire form.
func (c Capabilities) AppendTo(b []byte) []byte {
	b = codec.Uint16s(b, c.Versions)
	b = codec.Uint16s(b, c.Suites)
	b = codec.Uint16s(b, c.Extensions)
	b = codec.Uint16s(b, c.Proposals)
	return codec.Uint16s(b, c.Credentials)
}

// ReadCapabilities decodes capabilities.
func ReadCapabilities(r *codec.Reader) Capabilities {
	return Capabilities{
		codec.Numbers[Version](r), r.Uint16s(), codec.Numbers[ExtensionType](r),
		codec.Numbers[ProposalType](r), codec.Numbers[CredentialType](r),
	}
}

// SupportsExtension reports whether an extension type is a default or listed. Whoever
// asks more than once takes Supported.
func (c *Capabilities) SupportsExtension(t ExtensionType) bool {
	return t.Default() || slices.Contains(c.Extensions, t)
}

// SupportsProposal reports whether a proposal type is a default or listed.
func (c *Capabilities) SupportsProposal(t ProposalType) bool {
	return t.Default() || slices.Contains(c.Proposals, t)
}

// SupportsCredential reports whether a credential type is listed.
func (c *Capabilities) SupportsCredential(t CredentialType) bool {
	return slices.Contains(c.Credentials, t)
}

// RequiredCapabilities is the extension of that name (RFC 9420 §11.1).
type RequiredCapabilities struct {
	Extensions  []ExtensionType
	Proposals   []ProposalType
	Credentials []CredentialType
}

// AppendTo appends the wire form.
func (c RequiredCapabilities) AppendTo(b []byte) []byte {
	b = codec.Uint16s(b, c.Extensions)
	b = codec.Uint16s(b, c.Proposals)
	return codec.Uint16s(b, c.Credentials)
}

// ReadRequiredCapabilities decodes the extension.
func ReadRequiredCapabilities(r *codec.Reader) RequiredCapabilities {
	return RequiredCapabilities{
		codec.Numbers[ExtensionType](r), codec.Numbers[ProposalType](r), codec.Numbers[CredentialType](r),
	}
}

// SatisfiedBy reports whether by supports everything required.
func (c RequiredCapabilities) SatisfiedBy(by *Capabilities) bool {
	s := by.Supported()
	for _, t := range c.Extensions {
		if !s.Extension(t) {
			return false
		}
	}
	for _, t := range c.Proposals {
		if !s.Proposal(t) {
			return false
		}
	}
	for _, t := range c.Credentials {
		if !s.Credential(t) {
			return false
		}
	}
	return true
}

// ExternalSender may send proposals from outside the group (RFC 9420 §12.1.8.1).
type ExternalSender struct {
	SignatureKey []byte
	Credential   Credential
}

// AppendTo appends the wire form.
func (s ExternalSender) AppendTo(b []byte) []byte {
	return s.Credential.AppendTo(codec.Bytes(b, s.SignatureKey))
}

// ReadExternalSenders decodes the external_senders extension.
func ReadExternalSenders(r *codec.Reader) []ExternalSender {
	return codec.ListUpTo(r, MaxExternalSenders, func(r *codec.Reader) ExternalSender {
		return ExternalSender{r.Bytes(), ReadCredential(r)}
	})
}
