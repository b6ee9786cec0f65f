package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// hexString is a byte string as lower-case hex.
type hexString []byte

func (h hexString) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }

func (h *hexString) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// settings are what init sets and save keeps beside the group.
type settings struct {
	Suite          uint16                `json:"suite"`
	Identity       hexString             `json:"identity"`
	Signer         hexString             `json:"signer"`
	Wire           string                `json:"wire"`
	Credentials    []tree.CredentialType `json:"credentials,omitempty"`
	IgnoreLifetime bool                  `json:"ignoreLifetime,omitempty"`
	GREASE         *bool                 `json:"grease,omitempty"` // nil and true: as RFC 9420 §13.5 wants it
}

// peer is one client with at most one group.
type peer struct {
	set      settings
	id       *mls.Identity
	cfg      *mls.Config
	packages []*mls.KeyPackage
	psks     map[string]suite.Secret
	group    *mls.Group
}

func newPeer() *peer { return &peer{psks: map[string]suite.Secret{}} }

// reply is an answer's fields.
type reply map[string]any

var (
	errNoInit  = errors.New("send init or load first")
	errNoGroup = errors.New("not in a group: create, join, externalJoin or load first")
)

// answer runs one request. A panic in the library is answered too, so that a test sees it.
func (p *peer) answer(line []byte) (out reply) {
	defer func() {
		if r := recover(); r != nil {
			out = reply{"ok": false, "error": fmt.Sprintf("panic: %v", r)}
		}
	}()
	var op struct{ Op string }
	if err := json.Unmarshal(line, &op); err != nil {
		return reply{"ok": false, "error": fmt.Sprintf("decode request: %v", err)}
	}
	out, err := p.run(op.Op, line)
	if err != nil {
		return reply{"ok": false, "error": err.Error()}
	}
	if out == nil {
		out = reply{}
	}
	out["ok"] = true
	return out
}

func (p *peer) run(op string, line []byte) (reply, error) {
	switch op {
	case "init":
		return with(line, p.init)
	case "load":
		return with(line, p.load)
	}
	if p.id == nil {
		return nil, errNoInit
	}
	switch op {
	case "keyPackage":
		return p.keyPackage()
	case "create":
		return with(line, p.create)
	case "join":
		return with(line, p.join)
	case "externalJoin":
		return with(line, p.externalJoin)
	case "save":
		return p.save()
	}
	if p.group == nil {
		return nil, errNoGroup
	}
	switch op {
	case "commit":
		return with(line, p.commit)
	case "propose":
		return with(line, p.propose)
	case "process":
		return with(line, p.process)
	case "encrypt":
		return with(line, p.encrypt)
	case "export":
		return with(line, p.export)
	case "state":
		return p.state()
	default:
		return nil, fmt.Errorf("unknown op %q", op)
	}
}

// with decodes a request's arguments.
func with[A any](line []byte, f func(A) (reply, error)) (reply, error) {
	var args A
	if err := json.Unmarshal(line, &args); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	return f(args)
}

func (p *peer) init(set settings) (reply, error) {
	if set.Wire != "" && set.Wire != "public" && set.Wire != "private" {
		return nil, fmt.Errorf("wire %q is neither public nor private", set.Wire)
	}
	*p = *newPeer()
	s, err := suite.Lookup(suite.ID(set.Suite))
	if err != nil {
		return nil, err
	}
	signer, err := s.GenerateSigner()
	if err != nil {
		return nil, err
	}
	set.Signer = hexString(signer.Bytes())
	return nil, p.configure(set)
}

// lateMessages is how many reordered messages a test may need.
const lateMessages = 256

func (p *peer) configure(set settings) error {
	s, err := suite.Lookup(suite.ID(set.Suite))
	if err != nil {
		return err
	}
	signer, err := s.NewSigner(suite.Secret(set.Signer))
	if err != nil {
		return err
	}
	p.set = set
	p.id = &mls.Identity{
		Signer: signer, Credential: tree.BasicCredential(set.Identity),
		Proposals: []tree.ProposalType{tree.ProposalSelfRemove}, Credentials: set.Credentials,
		NoGREASE: set.GREASE != nil && !*set.GREASE,
	}
	p.cfg = &mls.Config{
		PrivateHandshake: set.Wire == "private",
		IgnoreLifetime:   set.IgnoreLifetime,
		SendWithPending:  true,
		Limits:           schedule.Limits{OutOfOrder: lateMessages, Forward: 1000},
		PSK: func(id schedule.PSKID) (suite.Secret, bool) {
			secret, ok := p.psks[string(id.ID)]
			return secret, ok && id.Type == schedule.PSKExternal
		},
	}
	return nil
}

// keyPackageArg decodes a key package: an MLSMessage or the bare struct.
func keyPackageArg(raw []byte) (*message.KeyPackage, error) {
	if m, err := message.Parse(raw); err == nil && m.KeyPackage != nil {
		return m.KeyPackage, nil
	}
	kp, err := codec.Unmarshal(raw, message.ReadKeyPackage)
	if err != nil {
		return nil, fmt.Errorf("decode key package: %w", err)
	}
	return kp, nil
}

// saved is the state of save and load.
type saved struct {
	Settings settings             `json:"settings"`
	Packages []hexString          `json:"packages,omitempty"`
	PSKs     map[string]hexString `json:"psks,omitempty"` // by hex id
	Group    hexString            `json:"group,omitempty"`
}

func (p *peer) save() (reply, error) {
	st := saved{Settings: p.set, PSKs: map[string]hexString{}}
	for _, kp := range p.packages {
		st.Packages = append(st.Packages, kp.AppendTo(nil))
	}
	for id, secret := range p.psks {
		st.PSKs[hex.EncodeToString([]byte(id))] = hexString(secret)
	}
	if p.group != nil {
		st.Group = p.group.Marshal()
	}
	raw, err := json.Marshal(st)
	return reply{"state": hexString(raw)}, err
}

func (p *peer) load(args struct{ State hexString }) (reply, error) {
	var st saved
	if err := json.Unmarshal(args.State, &st); err != nil {
		return nil, fmt.Errorf("decode state: %w", err)
	}
	next := newPeer()
	if err := next.configure(st.Settings); err != nil {
		return nil, err
	}
	for _, raw := range st.Packages {
		kp, err := mls.ParseKeyPackage(raw)
		if err != nil {
			return nil, err
		}
		next.packages = append(next.packages, kp)
	}
	for id, secret := range st.PSKs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			return nil, fmt.Errorf("decode psk id: %w", err)
		}
		next.psks[string(raw)] = suite.Secret(secret)
	}
	if len(st.Group) > 0 {
		g, err := mls.Unmarshal(next.cfg, st.Group)
		if err != nil {
			return nil, err
		}
		next.group, next.id = g, g.Identity()
	}
	// The configuration looks PSKs up in the peer it was made for.
	psks := next.psks
	next.cfg.PSK = func(id schedule.PSKID) (suite.Secret, bool) {
		secret, ok := psks[string(id.ID)]
		return secret, ok && id.Type == schedule.PSKExternal
	}
	*p = *next
	return nil, nil
}

// now is the one clock of the peer.
func now() time.Time { return time.Now() }
