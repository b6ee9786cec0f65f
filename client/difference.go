package client

import (
	"bytes"
	"slices"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// epochBegan tells what a commit by others, or our own, has changed.
func (t *turn) epochBegan(row *talk, before *mls.Group, ev *mls.EpochStarted) error {
	committer, err := groupstate.ParseCredential(ev.Credential)
	if err != nil {
		return err // our Authenticator has let it in
	}
	account := AccountKey(committer.Account)
	if _, err := groupstate.DataOf(row.group.Public().Context().Extensions); err != nil {
		// The last that could be read stays in force until an admin writes them again.
		return t.event(row, EventInvalid, 0, notice{By: &account, Note: "a change has left the group's data unreadable; what they said before still holds"})
	}
	data := row.data()
	if row.Title != data.Title {
		row.NamedBy = account
	}
	row.Title, row.Expire = data.Title, data.Expire
	t.changed(row)
	if err := t.attest(row, data); err != nil {
		return err
	}
	list, err := describe(before, row.group, committer.Account, ev)
	if err != nil {
		return err
	}
	for _, one := range list {
		for _, who := range one.Who {
			if err := t.wantName(who); err != nil {
				return err
			}
		}
		if err := t.event(row, one.kind, 0, one.notice); err != nil {
			return err
		}
	}
	return nil
}

// change is something that an epoch has brought.
type change struct {
	kind EventKind
	notice
}

// describe tells what is different between two epochs of a group. A commit that
// breaks our rules, though not those of MLS, is told as such: to refuse it would
// leave us alone in the old epoch.
func describe(before, after *mls.Group, by AccountKey, ev *mls.EpochStarted) (list []change, err error) {
	joined := ev.Joined
	was, err := groupstate.DataOf(before.Public().Context().Extensions)
	if err != nil {
		was = &groupstate.Data{}
	}
	is, err := groupstate.DataOf(after.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	old, next := accountsOf(before), accountsOf(after)
	broken := ""
	if !isAdmin(before, was, by) {
		broken = onlyAdmins
	}
	add := func(kind EventKind, broken, note string, who ...AccountKey) {
		list = append(list, change{kind, notice{By: &by, Who: who, Note: note, Broken: broken}})
	}
	if _, known := old[by]; joined && !known {
		if broken = ""; len(was.Link) == 0 {
			broken = "the group has no link"
		}
		add(EventJoined, broken, "", by)
		delete(next, by)
	} else if joined {
		add(EventRecovered, "", "It had lost the thread.", by)
		return list, nil
	}
	if came := missingFrom(next, old); len(came) > 0 {
		add(EventAdded, broken, "", came...)
	}
	left, removed := apart(missingFrom(old, next), leavers(before))
	if len(left) > 0 {
		add(EventLeft, "", "", left...)
	}
	ended, removed := apart(removed, departures(before, after, ev.AuthenticatedData))
	if len(ended) > 0 { // the rules have whoever commits next do it
		add(EventRemoved, "", endedNote, ended...)
	}
	unable, removed := apart(removed, unfitAccounts(before))
	if len(unable) > 0 {
		add(EventRemoved, broken, unfitNote, unable...)
	}
	if len(removed) > 0 {
		add(EventRemoved, broken, "", removed...)
	}
	for _, d := range dataChanges(was, is, func(a AccountKey) bool { _, still := next[a]; return still }) {
		d.By, d.Broken = &by, broken
		list = append(list, d)
	}
	if len(list) == 0 {
		add(EventRekeyed, "", "")
	}
	return list, nil
}

// lawless reports whether a commit has changed what its maker may not change.
func lawless(before, after *mls.Group, ev *mls.EpochStarted) bool {
	c, err := groupstate.ParseCredential(ev.Credential)
	if err != nil {
		return true
	}
	list, err := describe(before, after, c.Account, ev)
	return err != nil || slices.ContainsFunc(list, func(one change) bool { return one.Broken != "" })
}

// mayRemoveUs reports whether a commit that removes this device is one of who may do that.
func (t *turn) mayRemoveUs(row *talk, before *mls.Group, ev *mls.EpochStarted) bool {
	c, err := groupstate.ParseCredential(ev.Credential)
	if err != nil {
		return false
	}
	me := t.c.self
	return row.State == stateLeft || c.Account == me.Account || leavers(before)[me.Account] || isAdmin(before, row.data(), c.Account) ||
		slices.ContainsFunc(groupstate.Departures(ev.AuthenticatedData, func(m groupstate.Member) bool { return m.Account == me.Account }),
			func(d groupstate.Departure) bool { return d.Covers(me) })
}

// thrownOut keeps the conversation where a member who may not has removed this device: if
// the cluster never had that commit, nobody else has followed it. If it has, there is no
// way back, which the user is told then.
func (t *turn) thrownOut(row *talk, ev *mls.EpochStarted) error {
	n := notice{Who: []AccountKey{t.c.account()}, Broken: onlyAdmins}
	if c, err := groupstate.ParseCredential(ev.Credential); err == nil {
		by := AccountKey(c.Account)
		n.By = &by
	}
	if err := t.event(row, EventRemoved, 0, n); err != nil {
		return err
	}
	_, err := t.intend(row, wish{Kind: wishRejoin})
	return err
}

// onlyAdmins is the rule that who is none may break. It is kept in vaults: it stays.
const onlyAdmins = "only an admin may do that"

// unfitNote is why an admin's client removes a member by itself. It is kept in vaults:
// it stays.
const unfitNote = "whose client can't take part in this conversation"

// unfitAccounts are those with a leaf that can't hold what the group agrees on.
func unfitAccounts(g *mls.Group) map[AccountKey]bool {
	accounts := map[AccountKey]bool{}
	for _, m := range g.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil && unfit(m) {
			accounts[c.Account] = true
		}
	}
	return accounts
}

// missingFrom returns the accounts of a that are not in b, in order.
func missingFrom(a, b map[AccountKey][]DeviceID) (list []AccountKey) {
	for account := range a {
		if _, there := b[account]; !there {
			list = append(list, account)
		}
	}
	slices.SortFunc(list, func(x, y AccountKey) int { return bytes.Compare(x[:], y[:]) })
	return list
}

// leavers are the accounts that wanted to go.
func leavers(before *mls.Group) map[AccountKey]bool {
	wanted := map[AccountKey]bool{}
	for _, p := range before.Public().Proposals() {
		if c, err := groupstate.ParseCredential(p.Credential); err == nil && ofSelf(p) {
			wanted[c.Account] = true
		}
	}
	return wanted
}

// departures are the accounts of which a commit has removed only devices that they say
// themselves are no longer theirs.
func departures(before, after *mls.Group, said []byte) map[AccountKey]bool {
	removed := membersOf(before)
	for m := range membersOf(after) {
		delete(removed, m)
	}
	ended := map[AccountKey]bool{}
	for m := range removed {
		ended[m.Account] = true
	}
	words := groupstate.Departures(said, func(m groupstate.Member) bool { return ended[m.Account] })
	for m := range removed {
		if !slices.ContainsFunc(words, func(d groupstate.Departure) bool { return d.Covers(m) }) {
			ended[m.Account] = false
		}
	}
	return ended
}

// apart tells the accounts that are in a set from the others.
func apart(list []AccountKey, set map[AccountKey]bool) (in, out []AccountKey) {
	for _, account := range list {
		if set[account] {
			in = append(in, account)
		} else {
			out = append(out, account)
		}
	}
	return in, out
}

// endedNote is kept in vaults: it stays.
const endedNote = "whose account has ended, or whose devices are revoked"

// ofSelf reports whether a proposal removes its own sender.
func ofSelf(p *mls.ProposalStored) bool {
	leaf, member := p.Sender.Leaf()
	return member && (p.Proposal.Type == tree.ProposalSelfRemove ||
		p.Proposal.Type == tree.ProposalRemove && p.Proposal.Remove == leaf)
}

// Notes of EventRoles, kept in vaults: they stay.
const (
	roleGiven = "made an admin"
	roleTaken = "no longer an admin"
)

func dataChanges(was, is *groupstate.Data, still func(AccountKey) bool) (list []change) {
	add := func(kind EventKind, note string, who ...AccountKey) {
		list = append(list, change{kind, notice{Note: note, Who: who}})
	}
	if was.Title != is.Title {
		add(EventRenamed, is.Title)
	}
	for _, a := range is.Admins {
		if !was.Listed(a) {
			add(EventRoles, roleGiven, a)
		}
	}
	for _, a := range was.Admins {
		if !is.Listed(a) && still(a) {
			add(EventRoles, roleTaken, a)
		}
	}
	if was.Expire != is.Expire {
		note := "messages are kept"
		if is.Expire > 0 {
			note = "messages disappear after " + is.Expire.String()
		}
		add(EventTimer, note)
	}
	switch {
	case len(was.Link) == 0 && len(is.Link) > 0:
		add(EventLink, "the group can be joined by a link")
	case len(was.Link) > 0 && len(is.Link) == 0:
		add(EventLink, "the group's link is off")
	}
	return list
}
