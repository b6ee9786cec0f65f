package client

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"quicproquo/client/content"
	"quicproquo/client/room"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
)

// welcome enters a group that we were invited to.
func (t *turn) welcome(in *incoming, p *room.Payload) error {
	kp, ref, err := t.ownKeyPackage(p.KeyPackages)
	if err != nil {
		return err
	}
	if kp == nil {
		return t.strange(in, errors.New("the welcome is for none of our key packages"))
	}
	defer kp.Zero()
	group, err := mls.Join(t.c.config(), []*mls.KeyPackage{kp}, p.Message, mls.JoinOptions{}, t.now)
	if err != nil {
		return t.strange(in, fmt.Errorf("join by welcome: %w", err))
	}
	row, err := t.welcomed(in, group)
	if err != nil || row == nil {
		return err
	}
	if !mls.LastResort(kp.Public) {
		if err := t.DeleteKeyPackage(ref); err != nil {
			return err
		}
	}
	t.c.stockLow.Store(true)
	note := notice{}
	if row.Kind == kindDM {
		peer := AccountKey(row.Peer)
		note.By = &peer
	}
	if err := t.event(row, EventInvited, 0, note); err != nil {
		return err
	}
	return t.releaseHeld(row)
}

// ownKeyPackage returns the first of our key packages that a welcome is for.
func (t *turn) ownKeyPackage(refs [][]byte) (*mls.KeyPackage, []byte, error) {
	for _, ref := range refs {
		row, err := t.KeyPackage(ref)
		if err != nil {
			return nil, nil, err
		}
		if row == nil {
			continue
		}
		kp, err := mls.ParseKeyPackage(row.State)
		return kp, ref, err
	}
	return nil, nil, nil
}

// welcomed makes a group that we have joined a conversation, if it may be one.
func (t *turn) welcomed(in *incoming, group *mls.Group) (*talk, error) {
	data, err := room.DataOf(group.Public().Context().Extensions)
	if err != nil {
		return nil, t.strange(in, err)
	}
	peer, err := t.checkRoom(in, group, data)
	if err != nil {
		return nil, t.strange(in, err)
	}
	row, err := t.talkOf(group.ID())
	if err != nil {
		return nil, err
	}
	switch {
	case row == nil:
		row = &talk{Conversation: vault.Conversation{
			ID: newID(), Kind: uint8(data.Kind), GroupID: group.ID(), Peer: peer, Created: t.now, Active: t.now,
		}}
		if row.Kind == kindDM {
			copy(row.Channel[:], group.ID())
		}
		if err := t.add(row); err != nil {
			return nil, err
		}
	case row.Kind != uint8(data.Kind) || row.Kind == kindDM && row.Peer != peer:
		return nil, t.strange(in, errors.New("the welcome is to a group that poses as another conversation"))
	case row.group != nil && row.founded && row.State == stateActive && row.group.Epoch() >= group.Epoch():
		return nil, nil // we are further
	}
	if err := t.enterBy(row, group, data); err != nil {
		return nil, err
	}
	for account := range accountsOf(group) {
		if err := t.wantName(account); err != nil {
			return nil, err
		}
	}
	return row, nil
}

// enterBy continues a conversation with a group that we came into anew.
func (t *turn) enterBy(row *talk, group *mls.Group, data *room.Data) error {
	row.enter(group, t.now)
	row.saved, row.founded, row.State, row.Reason = nil, true, stateActive, ""
	row.Title, row.Expire = data.Title, data.Expire
	t.changed(row)
	if err := t.SetPending(row.ID, nil); err != nil {
		return err
	}
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Kind == wishFound || i.Kind == wishRejoin || i.Kind == wishJoin {
			if err := t.settle(i, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRoom tells whether a group is what its data say, and returns the other
// account of a DM.
func (t *turn) checkRoom(in *incoming, group *mls.Group, data *room.Data) (peer AccountKey, err error) {
	if data.Kind != room.KindDM {
		return peer, nil
	}
	accounts := accountsOf(group)
	delete(accounts, t.c.account())
	for peer = range accounts {
	}
	if len(accounts) != 1 {
		return peer, fmt.Errorf("a conversation of two has %d accounts", len(accounts)+1)
	}
	if len(group.ID()) != len(ChannelID{}) || in.channel != (ChannelID{}) && in.channel != ChannelID(group.ID()) {
		return peer, errors.New("the group is not that of the channel")
	}
	return peer, nil
}

// message processes a message to a group. done: it needs nothing any more.
func (t *turn) message(in *incoming, p *room.Payload) (done bool, err error) {
	row, err := t.talkOf(p.GroupID)
	if err != nil {
		return false, err
	}
	switch {
	case row != nil && (row.State == stateLeft && row.group == nil || row.State == stateRemoved):
		return true, nil
	case row == nil || row.group == nil || !row.founded || p.Epoch > row.group.Epoch():
		return false, t.hold(in, p)
	case p.Sort != room.SortApplication && p.Epoch < row.group.Epoch():
		return true, nil // of an epoch that is over
	}
	before := row.group
	group, ev, err := row.group.Process(p.Message, t.now)
	if err != nil {
		return true, t.refusedMessage(row, p, err)
	}
	switch ev := ev.(type) {
	case *mls.ApplicationMessage:
		row.group = group
		if row.State == stateLeft {
			return true, nil
		}
		return true, t.application(row, ev)
	case *mls.ProposalStored:
		return true, t.proposed(row, group, ev)
	case *mls.EpochStarted:
		if err := t.SetPending(row.ID, nil); err != nil { // another commit has won
			return false, err
		}
		if ev.RemovedUs {
			return true, t.removedUs(row, ev)
		}
		row.enter(group, t.now)
		if row.State == stateLeft { // our proposal was of the epoch before
			return true, t.proposeLeave(row)
		}
		if err := t.epochBegan(row, before, ev.Credential, ev.Joined); err != nil {
			return false, err
		}
		return true, t.releaseHeld(row)
	}
	return true, nil
}

// refusedMessage notes a message of a group that can't be read, once per epoch. If
// it was to begin the next epoch we may be the only ones who can't follow: the
// group's record will tell.
func (t *turn) refusedMessage(row *talk, p *room.Payload, reason error) error {
	t.c.log.Warn("a message was refused", "conversation", idText(row.ID), "epoch", p.Epoch, "error", reason)
	if p.Sort == room.SortCommit {
		if _, err := t.intend(row, wish{Kind: wishRejoin}); err != nil {
			return err
		}
	}
	if t.c.flagged == nil {
		t.c.flagged = map[vault.ConversationID]uint64{}
	}
	mark := row.group.Epoch() + 1
	if t.c.flagged[row.ID] == mark {
		return nil
	}
	t.c.flagged[row.ID] = mark
	note := "a message could not be read: it is damaged, or not for this device"
	if p.Sort == room.SortApplication && p.Epoch+uint64(t.c.settings.PastEpochs) < row.group.Epoch() {
		return t.event(row, EventLoss, 0, notice{Note: "a message came too late: its keys are deleted"})
	}
	return t.event(row, EventInvalid, 0, notice{Note: note})
}

// strange notes an envelope that belongs to no conversation. There is nobody to be
// told: anybody can send one.
func (t *turn) strange(in *incoming, reason error) error {
	t.c.log.Warn("an envelope was dropped", "channel", fmt.Sprintf("%x", in.channel), "bytes", len(in.payload), "error", reason)
	return nil
}

// removedUs ends a conversation that we are no longer in.
func (t *turn) removedUs(row *talk, ev *mls.EpochStarted) error {
	kind, n := EventRemoved, notice{Who: []AccountKey{t.c.account()}}
	if c, err := room.ParseCredential(ev.Credential); err == nil {
		by := AccountKey(c.Account)
		n.By = &by
	}
	state := uint8(stateRemoved)
	if row.State == stateLeft {
		kind, state = EventLeft, stateLeft
	}
	return t.end(row, state, kind, n)
}

// end drops the keys of a conversation that we are out of, and what we still wanted
// there.
func (t *turn) end(row *talk, state uint8, kind EventKind, n notice) error {
	told := row.State == state
	row.State = state
	t.changed(row)
	if err := t.giveUpIntents(row); err != nil {
		return err
	}
	if err := t.forget(row); err != nil || told {
		return err
	}
	return t.event(row, kind, 0, n)
}

// giveUpIntents ends all that we still wanted of a conversation.
func (t *turn) giveUpIntents(row *talk) error {
	if err := t.SetPending(row.ID, nil); err != nil {
		return err
	}
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if err := t.settle(i, ErrNotMember); err != nil {
			return err
		}
	}
	return nil
}

// epochBegan tells what a commit by others, or our own, has changed.
func (t *turn) epochBegan(row *talk, before *mls.Group, by tree.Credential, joined bool) error {
	data, err := row.data()
	if err != nil {
		// Nobody can read the group's data any more; the keys are good.
		return t.event(row, EventInvalid, 0, notice{Note: err.Error()})
	}
	committer, err := room.ParseCredential(by)
	if err != nil {
		return err // our Authenticator has let it in
	}
	row.Title, row.Expire = data.Title, data.Expire
	t.changed(row)
	list, err := describe(before, row.group, committer.Account, joined)
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
func describe(before, after *mls.Group, by AccountKey, joined bool) (list []change, err error) {
	was, err := room.DataOf(before.Public().Context().Extensions)
	if err != nil {
		was = &room.Data{}
	}
	is, err := room.DataOf(after.Public().Context().Extensions)
	if err != nil {
		return nil, err
	}
	old, next := accountsOf(before), accountsOf(after)
	broken := ""
	if !isAdmin(before, was, by) {
		broken = "only an admin may do that"
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
	left, removed := departed(before, missingFrom(old, next))
	if len(left) > 0 {
		add(EventLeft, "", "", left...)
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

// departed tells those who wanted to go from those who were removed.
func departed(before *mls.Group, gone []AccountKey) (left, removed []AccountKey) {
	wanted := map[AccountKey]bool{}
	for _, p := range before.Public().Proposals() {
		if c, err := room.ParseCredential(p.Credential); err == nil && ofSelf(p) {
			wanted[c.Account] = true
		}
	}
	for _, account := range gone {
		if wanted[account] {
			left = append(left, account)
		} else {
			removed = append(removed, account)
		}
	}
	return left, removed
}

// ofSelf tells whether a proposal removes its own sender.
func ofSelf(p *mls.ProposalStored) bool {
	leaf, member := p.Sender.Leaf()
	return member && (p.Proposal.Type == tree.ProposalSelfRemove ||
		p.Proposal.Type == tree.ProposalRemove && p.Proposal.Remove == leaf)
}

func dataChanges(was, is *room.Data, still func(AccountKey) bool) (list []change) {
	add := func(kind EventKind, note string, who ...AccountKey) {
		list = append(list, change{kind, notice{Note: note, Who: who}})
	}
	if was.Title != is.Title {
		add(EventRenamed, is.Title)
	}
	for _, a := range is.Admins {
		if !was.Listed(a) {
			add(EventRoles, "made an admin", a)
		}
	}
	for _, a := range was.Admins {
		if !is.Listed(a) && still(a) {
			add(EventRoles, "no longer an admin", a)
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

// Times until members commit what others proposed: by rank, so that rarely two do.
const (
	proposalPause = 50 * time.Millisecond
	rankPause     = 1500 * time.Millisecond
)

// proposed keeps a proposal that may be made, and intends to commit it.
func (t *turn) proposed(row *talk, next *mls.Group, p *mls.ProposalStored) error {
	data, err := row.data()
	if err != nil {
		return err
	}
	c, err := room.ParseCredential(p.Credential)
	if err != nil {
		return err
	}
	if !ofSelf(p) && p.Proposal.Type != tree.ProposalUpdate && !isAdmin(row.group, data, c.Account) {
		by := AccountKey(c.Account)
		return t.event(row, EventInvalid, 0, notice{By: &by, Note: "a proposal by a member who is no admin was ignored"})
	}
	row.group = next
	if row.State == stateLeft {
		return nil
	}
	rank := 0
	for _, m := range sortedMembers(membersOf(next)) {
		if m == t.c.self {
			break
		}
		if m.Account != c.Account {
			rank++
		}
	}
	_, err = t.intendAt(row, wish{Kind: wishProposals}, t.now.Add(proposalPause+time.Duration(rank)*rankPause))
	return err
}

func sortedMembers(members map[room.Member]mls.Member) []room.Member {
	return slices.SortedFunc(maps.Keys(members), room.Compare)
}

// application takes what a member says.
func (t *turn) application(row *talk, ev *mls.ApplicationMessage) error {
	c, err := room.ParseCredential(ev.Credential)
	if err != nil {
		return err
	}
	sender := AccountKey(c.Account)
	m, err := content.Decode(ev.Data)
	if err != nil {
		return t.event(row, EventInvalid, 0, notice{By: &sender, Note: "a message has no content that can be read: " + err.Error()})
	}
	switch body := m.Body.(type) {
	case content.Edit:
		return t.evented(row, EventEdit, sender)(t.edit(row, sender, m.ID, body))
	case content.Delete:
		return t.evented(row, EventDelete, sender)(t.erase(row, sender, body))
	case content.Reaction:
		return t.evented(row, EventReaction, sender)(t.react(row, sender, body))
	case content.Receipt:
		return t.receipted(row, sender, body)
	case content.Typing:
		t.signal(Signal{Kind: SignalTyping, Conversation: idText(row.ID), Who: t.names().name(sender), Active: body.Active})
		return nil
	case content.Rejoined:
		return t.compare(row, sender, body)
	case content.GroupInfo, content.Timer:
		return nil // the group's data say it already
	}
	return t.newMessage(row, sender, &m, ev.Data)
}

// newMessage adds a message to the history, unless it is there.
func (t *turn) newMessage(row *talk, sender AccountKey, m *content.Message, raw []byte) error {
	entry := t.newEntry(row, m, raw, sender)
	if entry.Mine = sender == t.c.account(); entry.Mine {
		entry.Status = statusSent // by another device of ours
	}
	added, err := t.AddMessage(entry)
	if err != nil || !added {
		return err
	}
	row.Active = t.now
	t.changed(row)
	if row.Kind == kindDM && !entry.Mine {
		if t.delivered == nil {
			t.delivered = map[vault.ConversationID][][16]byte{}
		}
		t.delivered[row.ID] = append(t.delivered[row.ID], m.ID)
	}
	return t.event(row, EventMessage, entry.Seq, notice{By: &sender})
}

// deliveredAll tells the senders of DMs what has come in this turn.
func (t *turn) deliveredAll() error {
	for id, ids := range t.delivered {
		row, err := t.talk(id)
		if err != nil {
			return err
		}
		for part := range slices.Chunk(ids, content.MaxReceiptIDs) {
			if err := t.receipt(row, content.Delivered, part); err != nil {
				return err
			}
		}
	}
	t.delivered = nil
	return nil
}

// evented makes an event of what a message did to an entry, if it did something.
func (t *turn) evented(row *talk, kind EventKind, by AccountKey) func(uint64, error) error {
	return func(entry uint64, err error) error {
		if err != nil || entry == 0 {
			return err
		}
		return t.event(row, kind, entry, notice{By: &by})
	}
}

// edit replaces the text of a sender's own message. It returns the entry, 0 if
// there is none.
func (t *turn) edit(row *talk, sender AccountKey, _ content.ID, body content.Edit) (uint64, error) {
	m, err := t.MessageFrom(row.ID, sender, body.To)
	if err != nil || m == nil || m.Deleted || m.Kind != entryText && m.Kind != entryReply {
		return 0, err
	}
	m.Text, m.Edited = body.Text, true
	return m.Seq, t.SetMessage(m)
}

// erase removes what a sender's own message says.
func (t *turn) erase(row *talk, sender AccountKey, body content.Delete) (uint64, error) {
	m, err := t.MessageFrom(row.ID, sender, body.To)
	if err != nil || m == nil || m.Deleted {
		return 0, err
	}
	m.Text, m.Body, m.Deleted = "", nil, true
	return m.Seq, t.SetMessage(m)
}

func (t *turn) react(row *talk, sender AccountKey, body content.Reaction) (uint64, error) {
	m, err := t.MessageOf(row.ID, body.To)
	if err != nil || m == nil || m.Deleted {
		return 0, err
	}
	return m.Seq, t.SetReaction(row.ID, body.To, vault.Reaction{Sender: sender, Emoji: body.Emoji}, body.Remove)
}

// receipted notes what became of our own messages.
func (t *turn) receipted(row *talk, by AccountKey, body content.Receipt) error {
	status := uint8(statusDelivered)
	if body.Kind == content.Read {
		status = statusRead
	}
	for _, id := range body.IDs {
		m, err := t.MessageFrom(row.ID, t.c.account(), id)
		if err != nil {
			return err
		}
		if m == nil || m.Status >= status {
			continue
		}
		if err := t.RaiseStatus(m.Seq, status); err != nil {
			return err
		}
		if err := t.event(row, EventReceipt, m.Seq, notice{By: &by, Note: statusNames[status]}); err != nil {
			return err
		}
	}
	return nil
}

// compare checks that a member who came back is in the same epoch as we are.
func (t *turn) compare(row *talk, by AccountKey, body content.Rejoined) error {
	if body.Epoch != row.group.Epoch() || bytes.Equal(body.Authenticator, row.group.EpochAuthenticator()) {
		return nil
	}
	return t.event(row, EventInvalid, 0, notice{By: &by, Note: "the epoch's authenticators differ: somebody is between you"})
}

// lost notes that envelopes of a queue are gone, and checks the conversations that
// they may have been of.
func (t *turn) lost(channel ChannelID, count uint64) error {
	rows, err := t.Conversations()
	if err != nil {
		return err
	}
	for _, one := range rows {
		inChannel := one.Kind == kindDM && one.Channel == [16]byte(channel)
		if one.State != stateActive || channel != (ChannelID{}) && !inChannel || channel == (ChannelID{}) && one.Kind == kindDM {
			continue
		}
		row, err := t.talk(one.ID)
		if err != nil {
			return err
		}
		note := fmt.Sprintf("%d envelopes were lost before they reached this device; messages may be missing", count)
		if err := t.event(row, EventLoss, 0, notice{Note: note}); err != nil {
			return err
		}
		if _, err := t.intend(row, wish{Kind: wishRejoin}); err != nil {
			return err
		}
	}
	return nil
}

// rejoinPause lets a commit come that is only late.
const rejoinPause = time.Second

// missing is called when nothing more comes: for what is held, something is missing.
func (t *turn) missing(held map[string]int64) error {
	for groupID := range held {
		row, err := t.talkOf([]byte(groupID))
		if err != nil {
			return err
		}
		if row == nil || row.group == nil || row.State != stateActive {
			continue
		}
		if _, err := t.intendAt(row, wish{Kind: wishRejoin}, t.now.Add(rejoinPause)); err != nil {
			return err
		}
	}
	return nil
}
