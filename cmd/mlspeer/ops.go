package main

import (
	"errors"
	"fmt"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

func (p *peer) keyPackage() (reply, error) {
	kp, err := p.id.NewKeyPackage(now(), mls.KeyPackageOptions{})
	if err != nil {
		return nil, err
	}
	p.packages = append(p.packages, kp)
	return reply{"keyPackage": hexString(kp.Message())}, nil
}

// senderArg is an external sender.
type senderArg struct {
	SignatureKey hexString `json:"signatureKey"`
	Identity     hexString `json:"identity"`
}

// extensionArg is an extension as {type, data}.
type extensionArg struct {
	Type tree.ExtensionType `json:"type"`
	Data hexString          `json:"data"`
}

func extensions(list []extensionArg) tree.Extensions {
	out := make(tree.Extensions, 0, len(list))
	for _, e := range list {
		out = append(out, tree.Extension{Type: e.Type, Data: e.Data})
	}
	return out
}

func (p *peer) create(args struct {
	GroupID         hexString `json:"groupId"`
	ExternalSenders []senderArg
	Extensions      []extensionArg
},
) (reply, error) {
	ext := extensions(args.Extensions)
	if len(args.ExternalSenders) > 0 {
		var senders []tree.ExternalSender
		for _, s := range args.ExternalSenders {
			senders = append(senders, tree.ExternalSender{SignatureKey: s.SignatureKey, Credential: tree.BasicCredential(s.Identity)})
		}
		ext = append(ext, tree.Extension{Type: tree.ExtExternalSenders, Data: codec.AppendList(nil, senders)})
	}
	g, err := mls.Create(p.cfg, p.id, args.GroupID, ext, now())
	if err != nil {
		return nil, err
	}
	p.group = g
	return reply{"groupId": hexString(g.ID()), "epoch": g.Epoch()}, nil
}

// pskArg is an external PSK.
type pskArg struct {
	ID     hexString `json:"id"`
	Secret hexString `json:"secret"`
}

// know remembers external PSKs and returns their names.
func (p *peer) know(list []pskArg) []schedule.PSKID {
	var ids []schedule.PSKID
	for _, a := range list {
		if len(a.Secret) > 0 {
			p.psks[string(a.ID)] = suite.Secret(a.Secret)
		}
		ids = append(ids, schedule.PSKID{Type: schedule.PSKExternal, ID: a.ID})
	}
	return ids
}

func (p *peer) commit(args struct {
	Add        []hexString      `json:"add"`
	Remove     []tree.LeafIndex `json:"remove"`
	Update     bool             `json:"update"`
	PSK        []pskArg         `json:"psk"`
	Extensions *[]extensionArg  `json:"groupContextExtensions"`
},
) (reply, error) {
	opt := mls.CommitOptions{Remove: args.Remove, NoPath: !args.Update, PSKs: p.know(args.PSK)}
	for _, raw := range args.Add {
		kp, err := keyPackageArg(raw)
		if err != nil {
			return nil, err
		}
		opt.Add = append(opt.Add, kp)
	}
	if args.Extensions != nil {
		ext := extensions(*args.Extensions)
		opt.Extensions = &ext
	}
	pending, err := p.group.Commit(opt, now())
	if err != nil {
		return nil, err
	}
	out := reply{"commit": hexString(pending.Commit), "epoch": pending.Next.Epoch()}
	if pending.Welcome != nil {
		out["welcome"] = hexString(pending.Welcome)
	}
	if pending.Next.Status() == mls.Active {
		info, err := pending.Next.GroupInfo(mls.GroupInfoOptions{})
		if err != nil {
			return nil, err
		}
		out["groupInfo"] = hexString(info)
	}
	p.group = pending.Next
	return out, nil
}

func (p *peer) join(args struct {
	Welcome     hexString
	RatchetTree hexString
	PSK         []pskArg `json:"psk"`
},
) (reply, error) {
	p.know(args.PSK)
	g, err := mls.Join(p.cfg, p.packages, args.Welcome, mls.JoinOptions{RatchetTree: args.RatchetTree, From: p.group}, now())
	if err != nil {
		return nil, err
	}
	p.group, p.id = g, g.Identity()
	return reply{"groupId": hexString(g.ID()), "epoch": g.Epoch()}, nil
}

func (p *peer) externalJoin(args struct {
	GroupInfo   hexString
	RatchetTree hexString
	Resync      bool
	PSK         []pskArg `json:"psk"`
},
) (reply, error) {
	opt := mls.ExternalOptions{RatchetTree: args.RatchetTree, Resync: args.Resync, PSKs: p.know(args.PSK)}
	pending, err := mls.ExternalJoin(p.cfg, p.id, args.GroupInfo, opt, now())
	if r, _ := rule.Of(err); r == rule.LeafSignatureKeyUnique && !opt.Resync {
		opt.Resync = true // we are in the group already: replace our old leaf
		pending, err = mls.ExternalJoin(p.cfg, p.id, args.GroupInfo, opt, now())
	}
	if err != nil {
		return nil, err
	}
	p.group = pending.Next
	return reply{"commit": hexString(pending.Commit), "epoch": pending.Next.Epoch(), "groupId": hexString(pending.Next.ID())}, nil
}

// proposalArgs covers all kinds of propose.
type proposalArgs struct {
	Kind       string
	KeyPackage hexString
	Removed    *tree.LeafIndex
	Index      *tree.LeafIndex
	Leaf       *tree.LeafIndex
	LeafIndex  *tree.LeafIndex
	Remove     *tree.LeafIndex
	ID         hexString
	Secret     hexString
	PSK        *pskArg
	Extensions []extensionArg
	GCE        []extensionArg `json:"groupContextExtensions"`
	GroupID    hexString
	Suite      uint16
}

func (a *proposalArgs) removed() (tree.LeafIndex, error) {
	for _, l := range []*tree.LeafIndex{a.Removed, a.Remove, a.Index, a.LeafIndex, a.Leaf} {
		if l != nil {
			return *l, nil
		}
	}
	return 0, errors.New("remove needs the leaf index in removed")
}

func (p *peer) propose(args proposalArgs) (reply, error) {
	g, msg, err := p.proposal(args)
	if err != nil {
		return nil, err
	}
	p.group = g
	return reply{"proposal": hexString(msg), "epoch": g.Epoch()}, nil
}

func (p *peer) proposal(args proposalArgs) (*mls.Group, []byte, error) {
	switch args.Kind {
	case "add":
		kp, err := keyPackageArg(args.KeyPackage)
		if err != nil {
			return nil, nil, err
		}
		return p.group.ProposeAdd(kp, nil, now())
	case "update":
		return p.group.ProposeUpdate(nil, now())
	case "remove":
		l, err := args.removed()
		if err != nil {
			return nil, nil, err
		}
		return p.group.ProposeRemove(l, nil, now())
	case "psk":
		psk := pskArg{args.ID, args.Secret}
		if args.PSK != nil {
			psk = *args.PSK
		}
		return p.group.ProposePSK(p.know([]pskArg{psk})[0], nil, now())
	case "groupContextExtensions":
		return p.group.ProposeExtensions(extensions(append(args.Extensions, args.GCE...)), nil, now())
	case "reinit", "reInit":
		id := suite.ID(args.Suite)
		if id == 0 {
			id = p.id.Signer.Suite().ID()
		}
		groupID := args.GroupID
		if len(groupID) == 0 {
			groupID = hexString(suite.Random(32))
		}
		return p.group.ProposeReInit(&message.ReInit{GroupID: groupID, Version: tree.MLS10, Suite: id, Extensions: extensions(args.Extensions)}, nil, now())
	case "selfRemove", "leave":
		return p.group.ProposeLeave(nil, now())
	default:
		return nil, nil, fmt.Errorf("unknown proposal kind %q", args.Kind)
	}
}

func (p *peer) process(args struct{ Message hexString }) (reply, error) {
	g, ev, err := p.group.Process(args.Message, now())
	if err != nil {
		return nil, err
	}
	p.group = g
	switch ev := ev.(type) {
	case *mls.ApplicationMessage:
		return reply{
			"kind": "application", "plaintext": hexString(ev.Data), "sender": ev.Sender.Index,
			"epoch": ev.Epoch, "aad": hexString(ev.AuthenticatedData), "generation": ev.Generation,
		}, nil
	case *mls.ProposalStored:
		return reply{"kind": "proposal", "sender": ev.Sender.Index, "epoch": ev.Epoch}, nil
	case *mls.EpochStarted:
		return reply{"kind": "commit", "sender": ev.Committer, "epoch": ev.Epoch, "removed": ev.RemovedUs}, nil
	default:
		return reply{"kind": "echo", "epoch": g.Epoch()}, nil
	}
}

func (p *peer) encrypt(args struct {
	Plaintext hexString
	AAD       hexString `json:"aad"`
},
) (reply, error) {
	g, msg, err := p.group.Encrypt(args.Plaintext, args.AAD)
	if err != nil {
		return nil, err
	}
	p.group = g
	return reply{"message": hexString(msg), "epoch": g.Epoch()}, nil
}

func (p *peer) export(args struct {
	Label   string
	Context hexString
	Length  int
},
) (reply, error) {
	secret, err := p.group.Export(args.Label, args.Context, args.Length)
	if err != nil {
		return nil, err
	}
	return reply{"secret": hexString(secret)}, nil
}

func (p *peer) state() (reply, error) {
	info, err := p.group.GroupInfo(mls.GroupInfoOptions{})
	if err != nil && p.group.Status() != mls.ReInited { // a closed group can still be looked at
		return nil, err
	}
	type member struct {
		Index        tree.LeafIndex `json:"index"`
		Identity     hexString      `json:"identity"`
		SignatureKey hexString      `json:"signatureKey"`
	}
	members := []member{}
	for _, m := range p.group.Members() {
		members = append(members, member{m.Index, m.Leaf.Credential.Identity, hexString(m.Leaf.SignatureKey)})
	}
	return reply{
		"epoch": p.group.Epoch(), "groupInfo": hexString(info), "members": members,
		"epochAuthenticator": hexString(p.group.EpochAuthenticator()), "self": p.group.Self(),
	}, nil
}
