package message

import (
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// GroupInfo tells a joiner about a group (RFC 9420 §12.4.3).
type GroupInfo struct {
	Context         *schedule.GroupContext
	Extensions      tree.Extensions
	Tree            *tree.Tree // if set, written as one more extension; one that was read is in Extensions
	ConfirmationTag []byte
	Signer          tree.LeafIndex
	Signature       []byte
}

func (g *GroupInfo) tbs(b []byte) []byte { return g.appendTBS(b, g.size()) }

// appendTBS appends what the signature covers, about size bytes.
func (g *GroupInfo) appendTBS(b []byte, size int) []byte {
	b = g.appendExtensions(g.Context.AppendTo(slices.Grow(b, size)), size)
	return codec.Uint32(codec.Bytes(b, g.ConfirmationTag), uint32(g.Signer))
}

func (g *GroupInfo) appendExtensions(b []byte, size int) []byte {
	return codec.VectorAbout(b, size, func(b []byte) []byte {
		for _, e := range g.Extensions {
			b = e.AppendTo(b)
		}
		if g.Tree == nil {
			return b
		}
		return codec.VectorAbout(codec.Uint16(b, uint16(tree.ExtRatchetTree)), size, g.Tree.AppendTo)
	})
}

// AppendTo appends the wire form.
func (g *GroupInfo) AppendTo(b []byte) []byte { return codec.Bytes(g.tbs(b), g.Signature) }

// ReadGroupInfo decodes a group info.
func ReadGroupInfo(r *codec.Reader) *GroupInfo {
	return &GroupInfo{
		Context: schedule.ReadGroupContext(r), Extensions: tree.ReadExtensions(r), ConfirmationTag: r.Bytes(),
		Signer: tree.LeafIndex(r.Uint32()), Signature: r.Bytes(),
	}
}

const groupInfoLabel = "GroupInfoTBS"

// size estimates the encoded size, which the ratchet tree among the extensions rules.
func (g *GroupInfo) size() int {
	size := 1024
	for _, e := range g.Extensions {
		size += len(e.Data) + 8
	}
	if g.Tree != nil {
		size += g.Tree.EncodedSize()
	}
	return size
}

// Sign sets the signature and appends to the empty b the wire form, among what is signed.
func (g *GroupInfo) Sign(key *suite.Signer, b []byte) (suite.Signed, error) {
	size := g.size()
	signed, err := key.AppendSigned(b, groupInfoLabel, size, func(b []byte) []byte { return g.appendTBS(b, size) })
	if err != nil {
		return signed, fmt.Errorf("sign group info: %w", err)
	}
	g.Signature = signed.Signature
	return signed, nil
}

// VerifySignature checks the signature under a member's key.
func (g *GroupInfo) VerifySignature(s *suite.Suite, key suite.SignaturePublicKey) error {
	return rule.Because(rule.GroupInfoSignature, s.VerifyFilled(key, groupInfoLabel, g.Signature, g.tbs))
}

// GroupSecrets is what a welcome encrypts to each joiner (RFC 9420 §12.4.3.1).
type GroupSecrets struct {
	Joiner     suite.Secret
	PathSecret suite.Secret // nil where absent
	PSKs       []schedule.PSKID
}

// AppendTo appends the wire form.
func (g *GroupSecrets) AppendTo(b []byte) []byte {
	b = codec.Optional(codec.Bytes(b, g.Joiner), g.PathSecret != nil)
	if g.PathSecret != nil {
		b = codec.Bytes(b, g.PathSecret)
	}
	return codec.AppendList(b, g.PSKs)
}

// ReadGroupSecrets decodes group secrets.
func ReadGroupSecrets(r *codec.Reader) *GroupSecrets {
	g := &GroupSecrets{Joiner: r.Bytes()}
	if r.Optional() {
		g.PathSecret = r.Bytes()
	}
	g.PSKs = codec.ListUpTo(r, MaxPSKs, schedule.ReadPSKID)
	return g
}

// EncryptedGroupSecrets are the group secrets for one joiner.
type EncryptedGroupSecrets struct {
	NewMember []byte // reference of the key package
	Secrets   suite.Ciphertext
}

// AppendTo appends the wire form.
func (e EncryptedGroupSecrets) AppendTo(b []byte) []byte {
	return tree.AppendCiphertext(codec.Bytes(b, e.NewMember), e.Secrets)
}

// Welcome lets new members join (RFC 9420 §12.4.3.1).
type Welcome struct {
	Suite              suite.ID
	Secrets            []EncryptedGroupSecrets
	EncryptedGroupInfo []byte
}

// AppendTo appends the wire form.
func (w *Welcome) AppendTo(b []byte) []byte {
	const heads = 16 // of the lists, and of an entry
	size := heads + len(w.EncryptedGroupInfo)
	for _, e := range w.Secrets {
		size += heads + len(e.NewMember) + len(e.Secrets.KEMOutput) + len(e.Secrets.Ciphertext)
	}
	b = slices.Grow(b, size)
	b = codec.AppendList(codec.Uint16(b, uint16(w.Suite)), w.Secrets)
	return codec.Bytes(b, w.EncryptedGroupInfo)
}

// ReadWelcome decodes a welcome.
func ReadWelcome(r *codec.Reader) *Welcome {
	return &Welcome{
		suite.ID(r.Uint16()),
		codec.ListUpTo(r, MaxProposals, func(r *codec.Reader) EncryptedGroupSecrets {
			return EncryptedGroupSecrets{r.Bytes(), tree.ReadCiphertext(r)}
		}),
		r.Bytes(),
	}
}

const welcomeLabel = "Welcome"

// Joiner is one recipient of a welcome.
type Joiner struct {
	KeyPackage *KeyPackage
	PathSecret suite.Secret // nil without a path
}

// SealWelcome encrypts the wire form of a group info, in place, and the secrets that open
// it, on all processors.
func SealWelcome(s *suite.Suite, info []byte, joiner, psk suite.Secret, psks []schedule.PSKID, to []Joiner) (*Welcome, error) {
	welcome := schedule.Welcome(s, joiner, psk)
	key, nonce := schedule.WelcomeKeys(s, welcome)
	welcome.Zero()
	sealed, err := s.SealInPlace(key, nonce, nil, info)
	if err != nil {
		return nil, fmt.Errorf("encrypt group info: %w", err)
	}
	w := &Welcome{s.ID(), make([]EncryptedGroupSecrets, len(to)), sealed}
	errs := make([]error, len(to))
	tree.Parallel(len(to), func(i int) {
		secrets := (&GroupSecrets{joiner, to[i].PathSecret, psks}).AppendTo(nil)
		defer clear(secrets)
		w.Secrets[i].NewMember = to[i].KeyPackage.Ref(s)
		w.Secrets[i].Secrets, errs[i] = s.EncryptWithLabel(to[i].KeyPackage.InitKey, welcomeLabel, sealed, secrets)
	})
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("encrypt group secrets: %w", err)
		}
	}
	return w, nil
}

// Find returns the entry for a key package reference.
func (w *Welcome) Find(ref []byte) (EncryptedGroupSecrets, bool) {
	for _, e := range w.Secrets {
		if string(e.NewMember) == string(ref) {
			return e, true
		}
	}
	return EncryptedGroupSecrets{}, false
}

// OpenSecrets decrypts an entry with the init key.
func (w *Welcome) OpenSecrets(s *suite.Suite, init *suite.PrivateKey, e EncryptedGroupSecrets) (*GroupSecrets, error) {
	plain, err := s.DecryptWithLabel(init, welcomeLabel, w.EncryptedGroupInfo, e.Secrets)
	if err != nil {
		return nil, rule.Because(rule.WelcomeSecrets, err)
	}
	g, err := codec.Unmarshal(plain, ReadGroupSecrets)
	return g, rule.Because(rule.WelcomeSecrets, err)
}

// OpenInfo decrypts the group info, which is still unverified.
func (w *Welcome) OpenInfo(s *suite.Suite, joiner, psk suite.Secret) (*GroupInfo, error) {
	welcome := schedule.Welcome(s, joiner, psk)
	key, nonce := schedule.WelcomeKeys(s, welcome)
	welcome.Zero()
	plain, err := s.Open(key, nonce, nil, w.EncryptedGroupInfo)
	if err != nil {
		return nil, rule.Because(rule.WelcomeSecrets, err)
	}
	info, err := codec.Unmarshal(plain, ReadGroupInfo)
	if err != nil {
		return nil, fmt.Errorf("decode group info: %w", err)
	}
	return info, nil
}
