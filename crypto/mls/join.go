package mls

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// JoinOptions say what a joiner knows beyond the welcome.
type JoinOptions struct {
	RatchetTree []byte // where the welcome has none
	From        *Group // the old group, where the new one succeeds or branches from it
}

// Join enters a group by a welcome for one of our key packages (RFC 9420 §12.4.3.1).
// welcome is an MLSMessage or the bare struct. On success the caller deletes the key
// package, unless it is a last resort.
func Join(cfg *Config, kps []*KeyPackage, welcome []byte, opt JoinOptions, now time.Time) (*Group, error) {
	w, err := parseWelcome(bytes.Clone(welcome))
	if err != nil {
		return nil, err
	}
	j := &joining{cfg: cfg, opt: opt, now: now}
	if err := j.open(w, kps); err != nil {
		return nil, err
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	return j.enter()
}

func parseWelcome(b []byte) (*message.Welcome, error) {
	m, err := message.Parse(b)
	if err == nil && m.Welcome != nil {
		return m.Welcome, nil
	}
	w, bareErr := codec.Unmarshal(b, message.ReadWelcome)
	if bareErr != nil {
		return nil, fmt.Errorf("decode welcome: %w", bareErr)
	}
	return w, nil
}

// joining is a welcome on its way to a group.
type joining struct {
	cfg *Config
	opt JoinOptions
	now time.Time

	s       *suite.Suite
	kp      *KeyPackage
	secrets *message.GroupSecrets
	psk     suite.Secret
	info    *message.GroupInfo
	pub     *PublicGroup
}

// open finds our entry and decrypts it and the group info.
func (j *joining) open(w *message.Welcome, kps []*KeyPackage) error {
	s, err := suite.Lookup(w.Suite)
	if err != nil {
		return rule.Because(rule.WelcomeSuite, err)
	}
	j.s = s
	byRef := make(map[string]*KeyPackage, len(kps))
	for _, kp := range kps {
		byRef[string(kp.Public.Ref(s))] = kp
	}
	var entry message.EncryptedGroupSecrets
	for _, e := range w.Secrets {
		if j.kp = byRef[string(e.NewMember)]; j.kp != nil {
			entry = e
			break
		}
	}
	if j.kp == nil {
		return rule.Break(rule.WelcomeForUs, "none of %d key packages is named", len(kps))
	}
	if j.kp.Public.Suite != w.Suite {
		return rule.Break(rule.WelcomeSuite, "got 0x%04x, want 0x%04x", uint16(w.Suite), uint16(j.kp.Public.Suite))
	}
	if j.secrets, err = w.OpenSecrets(s, j.kp.initKey, entry); err != nil {
		return err
	}
	special, named := 0, map[string]bool{}
	for _, id := range j.secrets.PSKs {
		if n := len(id.Nonce); n != s.HashSize() {
			return rule.Break(rule.PSKNonce, "got %d bytes, want %d", n, s.HashSize())
		}
		if named[id.Key()] {
			return rule.Break(rule.WelcomePSKTwice, "psk %d of %d", len(named), len(j.secrets.PSKs))
		}
		named[id.Key()] = true
		if id.Type == schedule.PSKResumption && id.Usage != schedule.UsageApplication {
			special++
		}
	}
	if special > 1 {
		return rule.Break(rule.WelcomeOnePSK, "got %d", special)
	}
	if j.psk, err = pskSecret(s, j.secrets.PSKs, j.lookup, rule.WelcomePSK); err != nil {
		return err
	}
	j.info, err = w.OpenInfo(s, j.secrets.Joiner, j.psk)
	return err
}

// lookup finds PSKs, those of the old group among them.
func (j *joining) lookup(id schedule.PSKID) (suite.Secret, bool) {
	if j.opt.From != nil {
		return j.opt.From.psk(id)
	}
	if j.cfg.PSK == nil {
		return nil, false
	}
	return j.cfg.PSK(id)
}

// check verifies the group info and the tree.
func (j *joining) check() error {
	c := j.info.Context
	if c.Version != tree.MLS10 || c.Suite != j.kp.Public.Suite {
		return rule.Break(rule.GroupInfoSuite, "version %d, suite 0x%04x", c.Version, uint16(c.Suite))
	}
	if j.cfg.KnowsGroup != nil && j.cfg.KnowsGroup(c.GroupID) {
		return rule.Break(rule.GroupInfoGroup, "group id %x", clip(c.GroupID))
	}
	supported := j.kp.Public.Leaf.Capabilities.Supported()
	for _, e := range c.Extensions {
		if !supported.Extension(e.Type) {
			return rule.Break(rule.GroupInfoExtensions, "extension type 0x%04x", uint16(e.Type))
		}
	}
	var err error
	if j.pub, err = publicFromInfo(j.cfg, j.info, bytes.Clone(j.opt.RatchetTree), j.now); err != nil {
		return err
	}
	return j.checkLineage()
}

// publicFromInfo verifies a group info with its tree (RFC 9420 §12.4.3.1).
func publicFromInfo(cfg *Config, info *message.GroupInfo, ratchetTree []byte, now time.Time) (*PublicGroup, error) {
	s, err := suite.Lookup(info.Context.Suite)
	if err != nil {
		return nil, err
	}
	if data, ok := info.Extensions.Get(tree.ExtRatchetTree); ok {
		ratchetTree = data
	}
	if len(ratchetTree) == 0 {
		return nil, rule.Break(rule.TreeMissing, "give it beside the welcome")
	}
	r := codec.NewReader(ratchetTree)
	e, err := tree.Decode(s, r)
	if err != nil {
		return nil, err
	}
	if err := r.Finish(); err != nil {
		return nil, fmt.Errorf("decode ratchet tree: %w", err)
	}
	if err := checkSignatures(s, info, e.Tree()); err != nil {
		return nil, err
	}
	p := &PublicGroup{s: s, context: info.Context, tree: e.Freeze(), tag: info.ConfirmationTag}
	p.interim = schedule.InterimTranscript(s, info.Context.ConfirmedTranscriptHash, info.ConfirmationTag)
	return p, p.checkInfo(cfg, info, now)
}

// checkSignatures checks the group info's signature and all leaves' before anything that
// costs more the larger they are; the tree has no hashes yet.
func checkSignatures(s *suite.Suite, info *message.GroupInfo, t *tree.Tree) error {
	signer := t.Leaf(info.Signer)
	if signer == nil {
		return rule.Break(rule.GroupInfoSignature, "leaf %d is blank", info.Signer)
	}
	if err := info.VerifySignature(s, signer.SignatureKey); err != nil {
		return err
	}
	return t.VerifyLeaves(info.Context.GroupID)
}

func (p *PublicGroup) checkInfo(cfg *Config, info *message.GroupInfo, now time.Time) error {
	if err := info.Extensions.CheckUnique(); err != nil {
		return err
	}
	if err := checkContextForm(info.Context.Extensions); err != nil {
		return err
	}
	if err := checkContextLength(info.Context.Extensions); err != nil {
		return err
	}
	if !bytes.Equal(p.tree.Hash(), p.context.TreeHash) {
		return rule.Break(rule.TreeHash, "epoch %d", p.context.Epoch)
	}
	if err := p.tree.Validate(); err != nil {
		return err
	}
	return p.checkMembers(cfg, now)
}

// checkMembers checks every leaf against the group (RFC 9420 §7.3), signatures aside.
func (p *PublicGroup) checkMembers(cfg *Config, now time.Time) error {
	types := credentialTypes(p.tree.Members)
	for i, l := range p.tree.Members {
		if err := checkCredentials(i, l, types, rule.LeafSupportsCredentials); err != nil {
			return err
		}
	}
	for _, l := range p.tree.Members {
		if err := p.checkParameters(l, p.context.Extensions); err != nil {
			return err
		}
		// Lifetimes are not checked here: a member's key package may have expired since
		// it joined, and nobody could join any more (RFC 9420 §7.3).
		if err := cfg.validate(l, now); err != nil {
			return err
		}
	}
	return nil
}

// checkLineage checks a group that succeeds or branches from another (RFC 9420
// §12.4.3.1, last point).
func (j *joining) checkLineage() error {
	for _, id := range j.secrets.PSKs {
		if id.Type != schedule.PSKResumption || id.Usage == schedule.UsageApplication {
			continue
		}
		if j.info.Context.Epoch != 1 {
			return rule.Break(rule.JoinEpochOne, "epoch %d", j.info.Context.Epoch)
		}
		if j.opt.From == nil || !bytes.Equal(j.opt.From.pub.context.GroupID, id.GroupID) {
			return rule.Break(rule.WelcomePSK, "the old group is not given")
		}
		if id.Usage == schedule.UsageReInit {
			return j.checkReInit(id)
		}
		return j.checkBranch(id)
	}
	return nil
}

func (j *joining) checkReInit(id schedule.PSKID) error {
	old, c := j.opt.From, j.info.Context
	r := old.reinit
	if r == nil || old.Epoch() != id.Epoch {
		return rule.Break(rule.JoinReInit, "the old group was not reinitialised in epoch %d", id.Epoch)
	}
	if !bytes.Equal(r.GroupID, c.GroupID) || r.Version != c.Version || r.Suite != c.Suite || !r.Extensions.Equal(c.Extensions) {
		return rule.Break(rule.JoinReInit, "the parameters differ")
	}
	for _, m := range old.Members() {
		if !j.has(j.pub, m.Leaf.Credential) {
			return rule.Break(rule.JoinReInit, "old leaf %d is missing", m.Index)
		}
	}
	return nil
}

// checkBranch compares with the members of the epoch that the PSK names, whoever came to
// the old group or left it since.
func (j *joining) checkBranch(id schedule.PSKID) error {
	old, c := j.opt.From, j.info.Context
	if c.Version != old.pub.context.Version || c.Suite != old.pub.context.Suite {
		return rule.Break(rule.JoinBranch, "version %d, suite 0x%04x", c.Version, uint16(c.Suite))
	}
	members, known := old.history.members(old.pub, id.Epoch)
	if !known {
		return rule.Break(rule.JoinBranch, "the members of epoch %d are not known any more", id.Epoch)
	}
	for _, m := range j.pub.Members() {
		was := func(c tree.Credential) bool { return j.cfg.auth().Successor(c, m.Leaf.Credential) == nil }
		if !slices.ContainsFunc(members, was) {
			return rule.Break(rule.JoinBranch, "leaf %d was no member in epoch %d", m.Index, id.Epoch)
		}
	}
	return nil
}

func (j *joining) has(p *PublicGroup, c tree.Credential) bool {
	for _, l := range p.tree.Members {
		if j.cfg.auth().Successor(l.Credential, c) == nil {
			return true
		}
	}
	return false
}

// enter builds the group state.
func (j *joining) enter() (*Group, error) {
	own := codec.Marshal(j.kp.Public.Leaf)
	self, ok := j.pub.tree.FindKey(j.kp.Public.Leaf.SignatureKey)
	if !ok || !bytes.Equal(codec.Marshal(j.pub.tree.Leaf(self)), own) {
		return nil, rule.Break(rule.JoinLeaf, "epoch %d", j.info.Context.Epoch)
	}
	leafPub, err := j.kp.leafKey.Public()
	if err != nil || !bytes.Equal(leafPub, j.kp.Public.Leaf.EncryptionKey) {
		return nil, rule.Break(rule.JoinLeaf, "our private key does not belong to the leaf")
	}
	priv := tree.NewPrivate(self, j.kp.leafKey.Clone()) // the caller erases the package
	if j.secrets.PathSecret != nil {
		if priv, err = j.pub.tree.Implant(priv, j.info.Signer, j.secrets.PathSecret); err != nil {
			return nil, rule.Because(rule.JoinPathSecret, err)
		}
	}
	context := codec.Marshal(j.info.Context)
	epoch, roots := schedule.FromJoiner(j.s, j.secrets.Joiner, j.psk, context)
	j.secrets.Joiner.Zero()
	if !j.s.VerifyMAC(epoch.ConfirmationKey, j.info.Context.ConfirmedTranscriptHash, j.info.ConfirmationTag) {
		return nil, rule.Break(rule.GroupInfoTag, "epoch %d", j.info.Context.Epoch)
	}
	g := &Group{cfg: j.cfg, id: j.kp.Identity, priv: priv}
	joined := g.enter(j.pub, epoch, roots)
	joined.inviter = j.pub.tree.Leaf(j.info.Signer)
	for _, e := range j.info.Extensions {
		if e.Type != tree.ExtRatchetTree {
			joined.info = append(joined.info, tree.Extension{Type: e.Type, Data: bytes.Clone(e.Data)})
		}
	}
	return joined, nil
}
