package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
)

// build makes the commit of an intent and keeps it. ErrMoot: there is nothing to do.
func (t *turn) build(i *vault.Intent, w *wish, p prepared) error {
	row, err := t.talk(i.Conversation)
	if err != nil {
		return err
	}
	if have, err := t.Pending(row.ID); err != nil || have != nil {
		return err // another intent's commit comes first
	}
	if w.Kind == wishRejoin || w.Kind == wishJoin {
		return t.buildReturn(row, i, w, p)
	}
	switch waits, err := t.waits(row); {
	case err != nil:
		return err
	case waits:
		return t.postpone(i, errWaits(row))
	case row.usable() != nil:
		return row.usable()
	case row.group == nil:
		return ErrNotMember
	}
	opt, err := t.options(row, w, p)
	if err != nil {
		return t.uninvitable(row, i, w, p, err)
	}
	made, err := t.makeCommit(row, opt, w, &p)
	if err != nil {
		return err
	}
	if err := t.inviteApart(row, i, w, p); err != nil {
		return err
	}
	if made == nil {
		return t.foundAlone(row, i)
	}
	if len(w.Word) > 0 { // our own history says it too, when the commit has won
		if i.Args, err = json.Marshal(w); err != nil {
			return err
		}
		if err := t.SetIntent(i); err != nil {
			return err
		}
	}
	before := row.group
	row.group = made.Current
	commit, err := t.commitCall(row, before, made)
	if err != nil {
		return err
	}
	return t.keepPending(row, i, made.Next, commit)
}

// makeCommit builds the commit that an intent wants. Whose key package does not fit
// into the group is left out, and counts as not to be added. nil: only the record of a
// group without others is to be founded.
func (t *turn) makeCommit(row *talk, opt *mls.CommitOptions, w *wish, p *prepared) (*mls.Pending, error) {
	if !row.founded && len(opt.Add) == 0 {
		return nil, nil
	}
	if data := t.tieWelcome(row, opt); data != nil {
		opt.InfoExtensions = tree.Extensions{{Type: groupstate.InfoExtensionType, Data: data}}
	}
	made, err := row.group.Commit(*opt, t.now)
	if err == nil {
		return made, nil
	}
	kept, left := t.fitting(row, opt.Add)
	if len(left) == 0 {
		return nil, because(ErrIncompatible, "build the commit: %v", err)
	}
	for account, why := range left {
		p.failed = withFailed(p.failed, account, because(ErrIncompatible, "%v", why))
	}
	p.add = kept
	if len(kept) == 0 && (w.Kind == wishInvite || row.Kind == kindDM) {
		return nil, because(ErrIncompatible, "build the commit: %v", err)
	}
	again, err := t.options(row, w, *p)
	if err != nil {
		return nil, err
	}
	*opt = *again
	return t.makeCommit(row, opt, w, p)
}

// fitting tells the key packages that the group can take from those that it can't.
func (t *turn) fitting(row *talk, list []*wire.KeyPackage) (kept []*wire.KeyPackage, left map[AccountKey]error) {
	left = map[AccountKey]error{}
	for _, kp := range list {
		if _, err := row.group.Commit(mls.CommitOptions{Add: []*wire.KeyPackage{kp}, NoStored: true, NoTree: true}, t.now); err == nil {
			kept = append(kept, kp)
		} else if c, parsed := groupstate.ParseCredential(kp.Leaf.Credential); parsed == nil {
			left[c.Account] = err
		}
	}
	return kept, left
}

func withFailed(failed map[AccountKey]error, account AccountKey, err error) map[AccountKey]error {
	if failed == nil {
		failed = map[AccountKey]error{}
	}
	failed[account] = err
	return failed
}

// uninvitable is for an invitation of which nobody can be added now.
func (t *turn) uninvitable(row *talk, i *vault.Intent, w *wish, p prepared, err error) error {
	if !errors.Is(err, ErrMoot) || len(p.failed) == 0 {
		return err
	}
	if len(w.Accounts) == 1 {
		return p.failed[w.Accounts[0]]
	}
	if err := t.inviteApart(row, i, w, p); err != nil {
		return err
	}
	return t.settle(i, because(ErrNotInvited, "%s", whoFailed(t.names(), p.failed)))
}

// inviteApart gives everybody who can't be added now an invitation of their own, which
// is tried again, and can be taken back, without keeping the others waiting.
func (t *turn) inviteApart(row *talk, i *vault.Intent, w *wish, p prepared) error {
	if len(p.failed) == 0 {
		return nil
	}
	if row.Kind == kindDM {
		return p.failed[row.Peer]
	}
	for _, account := range w.Accounts {
		why := p.failed[account]
		if why == nil {
			continue
		}
		args, err := json.Marshal(wish{Accounts: []AccountKey{account}})
		if err != nil {
			return err
		}
		apart := &vault.Intent{
			Conversation: row.ID, Kind: wishInvite, Args: args, Created: t.now, Tries: 1, Next: t.now.Add(backoff(1)), Error: why.Error(),
		}
		if err := t.AddIntent(apart); err != nil {
			return err
		}
		t.wait(apart.ID)
	}
	w.Accounts = slices.DeleteFunc(slices.Clone(w.Accounts), func(a AccountKey) bool { return p.failed[a] != nil })
	w.Failed = whoFailed(t.names(), p.failed)
	args, err := json.Marshal(w)
	if err != nil {
		return err
	}
	i.Args = args
	return t.SetIntent(i)
}

// whoFailed names who could not be invited, and why.
func whoFailed(names *names, failed map[AccountKey]error) string {
	var list []string
	for account, why := range failed {
		list = append(list, fmt.Sprintf("%s (%v)", names.name(account), why))
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// tieWelcome proves to those who are added, and were members before, that the group is
// the one that they knew.
func (t *turn) tieWelcome(row *talk, opt *mls.CommitOptions) []byte {
	return row.known.TieWelcome(row.GroupID, row.group.Epoch()+1, t.c.self, func(account [identity.KeySize]byte) bool {
		return slices.ContainsFunc(opt.Add, func(kp *wire.KeyPackage) bool {
			c, err := groupstate.ParseCredential(kp.Leaf.Credential)
			return err == nil && c.Account == account
		})
	})
}

// adminsOnly are the kinds of intents that only an admin's client brings about.
var adminsOnly = map[string]bool{
	wishInvite: true, wishRemove: true, wishRename: true, wishRole: true, wishTimer: true, wishLink: true, wishAttest: true,
}

// options are what an intent commits in the present epoch.
func (t *turn) options(row *talk, w *wish, p prepared) (*mls.CommitOptions, error) {
	opt := &mls.CommitOptions{}
	next := row.data().Clone()
	in := membersOf(row.group)
	for _, gone := range p.gone { // revoked devices leave with the next thing that anybody does
		if m, there := in[gone]; there {
			opt.Remove = append(opt.Remove, m.Index)
		}
	}
	w.Word = groupstate.AppendDepartures(slices.DeleteFunc(slices.Clone(p.word), func(d groupstate.Departure) bool {
		return !slices.ContainsFunc(slices.Collect(maps.Keys(in)), d.Covers)
	}))
	opt.AAD = w.Word
	if adminsOnly[w.Kind] && !isAdmin(row.group, next, t.c.account()) {
		return nil, ErrNotAdmin // no longer
	}
	always := false
	switch w.Kind {
	case wishFound, wishInvite:
		opt.Add = notIn(in, p.add)
		if row.founded && len(opt.Add) == 0 {
			return nil, ErrMoot
		}
		always = true
	case wishDevices:
		opt.Add = notIn(in, p.add)
	case wishRekey:
		if w.Due && !t.leafOld(row.renewed) && row.sent < t.c.settings.RekeyMessages {
			return nil, ErrMoot
		}
		always = true
	case wishProposals:
		if always = len(row.group.Public().Proposals()) > 0; !always {
			return nil, ErrMoot
		}
	case wishAttest:
	case wishRemove:
		for _, m := range sortedMembers(in) {
			if slices.Contains(w.Accounts, AccountKey(m.Account)) && m.Account != t.c.account() {
				opt.Remove = append(opt.Remove, in[m].Index)
				next.SetAdmin(m.Account, false)
				always = true
			}
		}
		if !always {
			return nil, ErrMoot
		}
		if len(next.Link) > 0 {
			secret, err := groupstate.NewLinkSecret()
			if err != nil {
				return nil, err
			}
			next.Link = secret
		}
	case wishRename:
		next.Title = w.Title
	case wishRole:
		for _, account := range w.Accounts {
			next.SetAdmin(account, w.On)
		}
	case wishTimer:
		next.Expire = time.Duration(w.Seconds) * time.Second
	case wishLink:
		if next.Link = nil; w.On {
			next.Link = w.Secret
		}
	}
	if err := t.settleData(row, opt, next); err != nil {
		return nil, err
	}
	return opt, mootIf(!always && opt.Extensions == nil && len(opt.Add)+len(opt.Remove) == 0)
}

// settleData has a commit carry what the group agrees on, with an admin's grant, if
// that is to be something else than it is.
func (t *turn) settleData(row *talk, opt *mls.CommitOptions, next *groupstate.Data) error {
	admin := isAdmin(row.group, row.data(), t.c.account())
	if admin {
		if on, err := t.withoutUnfit(row, opt, next); !on || err != nil {
			return err
		}
	}
	roster := rosterAfter(row.group, opt)
	if admin && next.Kind == groupstate.KindGroup && !next.Granted(row.GroupID, roster) {
		if err := next.SetGrant(row.GroupID, row.group.Epoch()+1, roster, t.c.identity); err != nil {
			return err
		}
	}
	present := row.group.Public().Context().Extensions
	is, ok := present.Get(groupstate.ExtensionType)
	want := next.AppendTo(nil)
	if ok && string(is) == string(want) || !admin { // who is no admin leaves alone what it can't read
		return nil
	}
	ext := next.Extensions(present)
	opt.Extensions = &ext
	return nil
}

// withoutUnfit has a commit of an admin remove those who can't hold the group's data, and
// reports whether it can carry them: in a conversation of two the other stays, and the
// data stay what they were.
func (t *turn) withoutUnfit(row *talk, opt *mls.CommitOptions, next *groupstate.Data) (carry bool, err error) {
	unfit := unfitLeaves(row.group, opt)
	switch {
	case len(unfit) == 0:
		return true, nil
	case next.Kind != groupstate.KindDM:
	case !bytes.Equal(next.AppendTo(nil), row.data().AppendTo(nil)):
		return false, because(ErrIncompatible, "the other's client can't take part in what is agreed on in this conversation")
	default:
		return false, nil
	}
	opt.Remove = append(opt.Remove, unfit...)
	stay := rosterAfter(row.group, opt)
	for _, leaf := range unfit {
		c, err := groupstate.ParseCredential(row.group.Public().Tree().Leaf(leaf).Credential)
		if err == nil && !slices.Contains(stay, c.Account) {
			next.SetAdmin(c.Account, false)
		}
	}
	if len(next.Link) > 0 {
		next.Link, err = groupstate.NewLinkSecret()
	}
	return true, err
}

// unfitLeaves are those of others who would stay in the group and can't hold its data,
// since their clients say that they do not know them: with one of them in it, nothing
// that changes the data can be committed (RFC 9420 §13.4), by nobody, forever. No
// client of ours makes such a leaf; a member gets there by taking the data out first.
func unfitLeaves(g *mls.Group, opt *mls.CommitOptions) (list []tree.LeafIndex) {
	for _, m := range g.Members() {
		if m.Index != g.Self() && !slices.Contains(opt.Remove, m.Index) && unfit(m) {
			list = append(list, m.Index)
		}
	}
	return list
}

func unfit(m mls.Member) bool {
	return !m.Leaf.Capabilities.SupportsExtension(groupstate.ExtensionType)
}

// rosterAfter returns the accounts, sorted, that a commit leaves in a group.
func rosterAfter(g *mls.Group, opt *mls.CommitOptions) (list [][identity.KeySize]byte) {
	removed := map[tree.LeafIndex]bool{}
	for _, leaf := range opt.Remove {
		removed[leaf] = true
	}
	for _, p := range g.Public().Proposals() {
		switch leaf, member := p.Sender.Leaf(); {
		case p.Proposal.Type == tree.ProposalSelfRemove && member:
			removed[leaf] = true
		case p.Proposal.Type == tree.ProposalRemove:
			removed[p.Proposal.Remove] = true
		}
	}
	add := func(from tree.Credential) {
		if c, err := groupstate.ParseCredential(from); err == nil {
			list = append(list, c.Account)
		}
	}
	for _, m := range g.Members() {
		if !removed[m.Index] {
			add(m.Leaf.Credential)
		}
	}
	for _, kp := range opt.Add {
		add(kp.Leaf.Credential)
	}
	slices.SortFunc(list, func(a, b [identity.KeySize]byte) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(list)
}

// attest has an admin sign the roster and data of an epoch that somebody else has
// begun, so that members who were away can come back by anybody's word. The admins
// wait for each other, by rank.
func (t *turn) attest(row *talk, data *groupstate.Data) error {
	me := t.c.account()
	if row.State != stateActive || data.Kind != groupstate.KindGroup || !isAdmin(row.group, data, me) ||
		data.Granted(row.GroupID, rosterAfter(row.group, &mls.CommitOptions{})) {
		return nil
	}
	rank := 0
	for account := range accountsOf(row.group) {
		if data.Listed(account) && bytes.Compare(account[:], me[:]) < 0 {
			rank++
		}
	}
	_, err := t.intendAt(row, wish{Kind: wishAttest}, t.now.Add(attestPause+time.Duration(rank)*rankPause))
	return err
}

// attestPause lets what an admin does next anyway sign it on the way.
const attestPause = 2 * time.Second

func mootIf(moot bool) error {
	if moot {
		return ErrMoot
	}
	return nil
}

// notIn returns the key packages of devices that are not in a group.
func notIn(in map[groupstate.Member]mls.Member, list []*wire.KeyPackage) (out []*wire.KeyPackage) {
	for _, kp := range list {
		c, err := groupstate.ParseCredential(kp.Leaf.Credential)
		if _, there := in[c.Member]; err == nil && !there {
			out = append(out, kp)
		}
	}
	return out
}

// foundAlone gives the cluster the record of a group that has us only.
func (t *turn) foundAlone(row *talk, i *vault.Intent) error {
	verifier, err := groupstate.Verifier(row.group)
	if err != nil {
		return err
	}
	back, err := t.wayBack(row.group, row.known)
	if err != nil {
		return err
	}
	id := newID()
	return t.keepPending(row, i, nil, &conn.Commit{
		GroupID: row.GroupID, Epoch: row.group.Epoch(), NextVerifier: verifier, GroupInfo: back, RequestID: id[:],
	})
}

// commitCall is how a commit is published: to all who were members, and the welcome
// to those who become it.
func (t *turn) commitCall(row *talk, before *mls.Group, made *mls.Pending) (*conn.Commit, error) {
	verifier, err := groupstate.Verifier(made.Next)
	if err != nil {
		return nil, err
	}
	back, err := t.wayBack(made.Next, row.known.Next(before, made.Next))
	if err != nil {
		return nil, err
	}
	id := newID()
	commit := &conn.Commit{
		GroupID: row.GroupID, Epoch: before.Epoch(), NextVerifier: verifier, GroupInfo: back, RequestID: id[:],
	}
	if row.founded {
		if commit.Proof, err = groupstate.Proof(before); err != nil {
			return nil, err
		}
		for _, d := range t.addressed(row, before) {
			d.Payload = groupstate.Wrap(made.Commit)
			commit.Deliveries = append(commit.Deliveries, d)
		}
	} else {
		commit.Epoch = made.Next.Epoch() // the record begins with it
	}
	if made.Welcome == nil {
		return commit, nil
	}
	added := membersOf(made.Next)
	for m := range membersOf(before) {
		delete(added, m)
	}
	for _, d := range t.addressedTo(row, added) {
		d.Payload = groupstate.Wrap(made.Welcome)
		commit.Deliveries = append(commit.Deliveries, d)
	}
	return commit, nil
}

// keepPending keeps a commit until the cluster has decided about it; next is nil for
// what begins no epoch. The past is left out: until the commit is adopted the present
// state goes on to use up keys, which must not come back from a copy.
func (t *turn) keepPending(row *talk, i *vault.Intent, next *mls.Group, commit *conn.Commit) error {
	encoded, err := json.Marshal(commit)
	if err != nil {
		return err
	}
	state := []byte{}
	if next != nil {
		state = next.ForgetPast().Marshal()
	}
	t.notable = true
	return t.SetPending(row.ID, &vault.Pending{Intent: i.ID, Next: state, Call: encoded})
}

// returnTries is how often a way back is tried before the conversation counts as
// broken. It is tried on, at longer and longer pauses.
const returnTries = 6
