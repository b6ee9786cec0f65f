package mls

import (
	"fmt"
	"math/rand/v2"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Identity is what a client is known by in groups of one suite.
type Identity struct {
	Signer     *suite.Signer
	Credential tree.Credential
	// Capabilities beyond version, suite and credential type, which are always listed.
	Extensions  []tree.ExtensionType
	Proposals   []tree.ProposalType
	Credentials []tree.CredentialType
	Suites      []suite.ID
	// LeafExtensions go into every leaf node; their types are listed too.
	LeafExtensions tree.Extensions
	// NoGREASE leaves out the random values of RFC 9420 §13.5.
	NoGREASE bool
}

// NewIdentity makes a fresh signature key for a basic credential.
func NewIdentity(id suite.ID, name []byte) (*Identity, error) {
	s, err := suite.Lookup(id)
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigner()
	if err != nil {
		return nil, err
	}
	return &Identity{
		Signer: signer, Credential: tree.BasicCredential(name),
		Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}, nil
}

// greaseValues are reserved in every registry (RFC 9420 §13.5).
const greaseValues = 15

// grease returns one of 0x0A0A, 0x1A1A … 0xEAEA.
func grease() uint16 { return uint16(rand.IntN(greaseValues))*0x1010 + 0x0A0A }

func with[T comparable](list []T, v T) []T {
	for _, x := range list {
		if x == v {
			return list
		}
	}
	return append(list[:len(list):len(list)], v)
}

func (id *Identity) capabilities() tree.Capabilities {
	c := tree.Capabilities{
		Versions:    []tree.Version{tree.MLS10},
		Suites:      []uint16{uint16(id.Signer.Suite().ID())},
		Extensions:  id.Extensions,
		Proposals:   id.Proposals,
		Credentials: with(id.Credentials, id.Credential.Type),
	}
	for _, s := range id.Suites {
		c.Suites = with(c.Suites, uint16(s))
	}
	for _, e := range id.LeafExtensions {
		if !e.Type.Default() {
			c.Extensions = with(c.Extensions, e.Type)
		}
	}
	if !id.NoGREASE {
		c.Suites = with(c.Suites, grease())
		c.Extensions = with(c.Extensions, tree.ExtensionType(grease()))
		c.Proposals = with(c.Proposals, tree.ProposalType(grease()))
		c.Credentials = with(c.Credentials, tree.CredentialType(grease()))
	}
	return c
}

// leaf returns an unsigned leaf node.
func (id *Identity) leaf(key suite.PublicKey, source tree.Source) *tree.LeafNode {
	return &tree.LeafNode{
		EncryptionKey: key,
		SignatureKey:  id.Signer.Public(),
		Credential:    id.Credential,
		Capabilities:  id.capabilities(),
		Source:        source,
		Extensions:    id.LeafExtensions,
	}
}

// KeyPackage is a key package together with its private keys. It is used up by the
// first Join, unless it is a last resort.
type KeyPackage struct {
	Public   *message.KeyPackage
	Identity *Identity
	initKey  *suite.PrivateKey
	leafKey  *suite.PrivateKey
}

// KeyPackageOptions say how a key package is made.
type KeyPackageOptions struct {
	Lifetime   tree.Lifetime // zero: from an hour ago to DefaultMaxLifetime later
	LastResort bool          // mark as reusable (draft-ietf-mls-extensions §5.6)
	Extensions tree.Extensions
}

// componentLastResort is last_resort_key_package (draft-ietf-mls-extensions §7.5).
const componentLastResort = 4

// NewKeyPackage makes a key package at a time.
func (id *Identity) NewKeyPackage(now time.Time, opt KeyPackageOptions) (*KeyPackage, error) {
	s := id.Signer.Suite()
	initKey, initPub, err := s.GenerateKeyPair()
	if err != nil {
		return nil, err
	}
	leafKey, leafPub, err := s.GenerateKeyPair()
	if err != nil {
		return nil, err
	}
	if opt.Lifetime == (tree.Lifetime{}) {
		from := max(0, now.Add(-time.Hour).Unix())
		opt.Lifetime = tree.Lifetime{NotBefore: uint64(from), NotAfter: uint64(from) + uint64(DefaultMaxLifetime/time.Second)}
	}
	owner := *id
	if opt.LastResort {
		owner.Extensions = with(id.Extensions, tree.ExtAppDataDictionary)
		opt.Extensions = append(opt.Extensions[:len(opt.Extensions):len(opt.Extensions)], lastResortExtension())
	}
	// No GREASE among the extensions: OpenMLS up to 0.9 refuses a key package or leaf with
	// one (openmls#2156), though not one that lists it. In a group info it is ignored.
	leaf := owner.leaf(leafPub, tree.SourceKeyPackage)
	leaf.Lifetime = opt.Lifetime
	// The types of key package extensions are listed too (RFC 9420 §10).
	for _, e := range opt.Extensions {
		if !e.Type.Default() {
			leaf.Capabilities.Extensions = with(leaf.Capabilities.Extensions, e.Type)
		}
	}
	if err := leaf.Sign(id.Signer, nil, 0); err != nil {
		return nil, err
	}
	kp := &message.KeyPackage{Version: tree.MLS10, Suite: s.ID(), InitKey: initPub, Leaf: leaf, Extensions: opt.Extensions}
	if err := kp.Sign(id.Signer); err != nil {
		return nil, err
	}
	return &KeyPackage{kp, &owner, initKey, leafKey}, nil
}

// lastResortExtension is an app_data_dictionary with the empty last-resort component.
func lastResortExtension() tree.Extension {
	data := codec.Vector(nil, func(b []byte) []byte {
		return codec.Bytes(codec.Uint16(b, componentLastResort), nil)
	})
	return tree.Extension{Type: tree.ExtAppDataDictionary, Data: data}
}

// LastResort reports whether a key package may be used more than once.
func LastResort(kp *message.KeyPackage) bool {
	data, ok := kp.Extensions.Get(tree.ExtAppDataDictionary)
	if !ok {
		return false
	}
	r := codec.NewReader(data)
	for v := r.Vector(); v.More(); {
		if v.Uint16() == componentLastResort && len(v.Bytes()) == 0 && v.Err() == nil {
			return true
		}
	}
	return false
}

// LoadKeyPackage puts a key package together from its parts, as stored or as found in
// test vectors. Keys that do not belong together show when a welcome is opened.
func LoadKeyPackage(public *message.KeyPackage, signer, initKey, leafKey suite.Secret) (*KeyPackage, error) {
	s, err := suite.Lookup(public.Suite)
	if err != nil {
		return nil, err
	}
	key, err := s.NewSigner(signer)
	if err != nil {
		return nil, err
	}
	if string(key.Public()) != string(public.Leaf.SignatureKey) {
		return nil, fmt.Errorf("load key package: the signature key is not the leaf's")
	}
	return &KeyPackage{public, identityOf(key, public.Leaf), s.NewPrivateKey(initKey), s.NewPrivateKey(leafKey)}, nil
}

// identityOf recovers an identity from a leaf of ours: it will present itself the same
// way in later epochs.
func identityOf(key *suite.Signer, l *tree.LeafNode) *Identity {
	id := &Identity{
		Signer: key, Credential: l.Credential, LeafExtensions: l.Extensions, NoGREASE: true,
		Extensions: l.Capabilities.Extensions, Proposals: l.Capabilities.Proposals, Credentials: l.Capabilities.Credentials,
	}
	for _, s := range l.Capabilities.Suites {
		id.Suites = append(id.Suites, suite.ID(s))
	}
	return id
}

// AppendTo appends the state encoding, which is secret.
func (k *KeyPackage) AppendTo(b []byte) []byte {
	b = codec.Bytes(b, k.Public.AppendTo(nil))
	b = codec.Bytes(b, k.Identity.Signer.Bytes())
	b = codec.Bytes(b, k.initKey.Bytes())
	return codec.Bytes(b, k.leafKey.Bytes())
}

// ParseKeyPackage decodes the state encoding.
func ParseKeyPackage(b []byte) (*KeyPackage, error) {
	r := codec.NewReader(b)
	raw, signer, initKey, leafKey := r.Bytes(), r.Bytes(), r.Bytes(), r.Bytes()
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("decode key package state: %w", err)
	}
	public, err := codec.Unmarshal(raw, message.ReadKeyPackage)
	if err != nil {
		return nil, fmt.Errorf("decode key package: %w", err)
	}
	return LoadKeyPackage(public, signer, initKey, leafKey)
}

// Message returns the key package as an MLSMessage, for publishing.
func (k *KeyPackage) Message() []byte {
	return codec.Marshal(&message.Message{KeyPackage: k.Public})
}

// Zero erases the private keys, for a package that is used up.
func (k *KeyPackage) Zero() {
	k.initKey.Bytes().Zero()
	k.leafKey.Bytes().Zero()
}
