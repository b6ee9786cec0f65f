package client

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"

	"quicproquo/client/vault"
	"quicproquo/crypto/confusable"
)

// namesake is a name that the user knows: an account's or a conversation's.
type namesake struct {
	name         string
	account      AccountKey           // zero for a group's title
	conversation vault.ConversationID // of a title
	since        int64                // ms; what was here first is not a copy
	verified     bool
	accepted     bool // the user talks to them
}

// before reports whether a name counts as the one that another looks like: that of
// somebody whom the user has verified, then of one who was accepted, then the older.
func (k namesake) before(other namesake) bool {
	switch {
	case other.name == "":
		return true
	case k.verified != other.verified:
		return k.verified
	case k.accepted != other.accepted:
		return k.accepted
	}
	return k.since < other.since
}

// namesakes are the known names by what they look like.
type namesakes map[string][]namesake

// likenesses are what names are compared by: what looks alike is one, and case does
// not count. A capital may look like another letter than the small one does ("В" and
// "B"), so there are two: of the name as it is written, and in small letters.
func likenesses(name string) []string {
	fold := cases.Fold()
	name = strings.TrimSpace(name)
	written, small := fold.String(confusable.Skeleton(name)), fold.String(confusable.Skeleton(fold.String(name)))
	switch {
	case small == "":
		return nil
	case written == small:
		return []string{small}
	}
	return []string{small, written}
}

// like returns the known names that a name looks like, or is.
func (all namesakes) like(name string) (list []namesake) {
	for _, key := range likenesses(name) {
		list = append(list, all[key]...)
	}
	return list
}

// known returns the names that the user knows. They are gathered once between two
// turns: a list of conversations asks for each of them.
func (t *turn) known() (namesakes, error) {
	if t.c.namesakes != nil {
		return t.c.namesakes, nil
	}
	all := namesakes{}
	add := func(n namesake) {
		for _, key := range likenesses(n.name) {
			all[key] = append(all[key], n)
		}
	}
	contacts, err := t.Contacts()
	if err != nil {
		return nil, err
	}
	for _, c := range contacts {
		accepted, err := t.Accepted(c.Account)
		if err != nil {
			return nil, err
		}
		add(namesake{name: c.Username, account: c.Account, since: c.Since.UnixMilli(), verified: c.Verified, accepted: accepted})
	}
	if t.c.who != nil {
		add(namesake{name: t.c.who.Username, account: t.c.account(), verified: true})
	}
	rows, err := t.Conversations()
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Kind == kindGroup && row.State != stateJoining && row.State != stateRequested && row.State != stateUnproven {
			add(namesake{name: row.Title, conversation: row.ID, since: row.Created.UnixMilli()})
		}
	}
	t.c.namesakes = all
	return all, nil
}

// titleLike returns the name that a group's title looks like: a person's, or the
// title of a group that was here before. "" if it is like none.
func (n *names) titleLike(row *vault.Conversation) (string, error) {
	all, err := n.t.known()
	if err != nil {
		return "", err
	}
	for _, k := range all.like(row.Title) {
		if k.conversation != row.ID && (k.conversation == vault.ConversationID{} || k.since < row.Created.UnixMilli()) {
			return k.name, nil
		}
	}
	return "", nil
}

// accountLike returns the name of another account that the user knew first, or has
// verified, and that an account's name looks like. A verified account's is its own.
func (n *names) accountLike(account AccountKey, name string) (like string, verified bool, err error) {
	all, err := n.t.known()
	if err != nil {
		return "", false, err
	}
	same := all.like(name)
	var own namesake
	for _, k := range same {
		if k.account == account && k.conversation == (vault.ConversationID{}) {
			own = k
		}
	}
	if own.verified {
		return "", true, nil
	}
	for _, k := range same {
		if k.conversation != (vault.ConversationID{}) || k.account == account {
			continue
		}
		if k.before(own) {
			return k.name, false, nil
		}
	}
	return "", false, nil
}

// textLike returns the first word of a text that looks like a known person's name or
// like our own, and is written in another way.
func (n *names) textLike(text string) (word, like string, err error) {
	all, err := n.t.known()
	if err != nil {
		return "", "", err
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsPunct(r) && r != '_' && r != '-' && r != '.'
	}) {
		word = strings.Trim(word, ".-")
		if len(word) < 2 || len(word) > 256 {
			continue
		}
		if like := all.imitated(word); like != "" {
			return word, like, nil
		}
	}
	return "", "", nil
}

// imitated returns the account's name that a word looks like without being any.
func (all namesakes) imitated(word string) (like string) {
	fold := cases.Fold()
	for _, k := range all.like(word) {
		if fold.String(k.name) == fold.String(word) {
			return ""
		}
		if k.conversation == (vault.ConversationID{}) {
			like = k.name
		}
	}
	return like
}

// warning is the sentence about a name that looks like another, "" for none.
func warning(name, like string) string {
	switch {
	case like != "":
		return "looks like " + like
	case mixed(name):
		return "mixes scripts"
	}
	return ""
}

// mixed reports whether a word of a name mixes scripts as nobody writes them.
func mixed(name string) bool {
	for word := range strings.FieldsSeq(name) {
		if !confusable.HighlyRestrictive(word) {
			return true
		}
	}
	return false
}

// textWarning is the sentence about a text that names somebody by a name that only
// looks like theirs, "" for none.
func (n *names) textWarning(text string) (string, error) {
	word, like, err := n.textLike(text)
	if err != nil || like == "" {
		return "", err
	}
	return "“" + word + "” looks like " + like, nil
}

// titleWarning is the sentence about what a conversation is called.
func (n *names) titleWarning(row *vault.Conversation) (string, error) {
	if row.Kind == kindDM {
		return n.accountWarning(row.Peer, n.name(row.Peer))
	}
	like, err := n.titleLike(row)
	return warning(n.titleOf(row), like), err
}

// titleWarningOf is titleWarning by id; "" for a conversation that is gone. It is
// found out once for a batch of events.
func (n *names) titleWarningOf(of vault.ConversationID) (text string, err error) {
	if text, ok := n.warnings[of]; ok {
		return text, nil
	}
	row, err := n.t.Conversation(of)
	if err == nil && row != nil {
		text, err = n.titleWarning(row)
	}
	if err == nil {
		n.warnings[of] = text
	}
	return text, err
}

// accountWarning is the sentence about what an account is called.
func (n *names) accountWarning(account AccountKey, name string) (string, error) {
	like, verified, err := n.accountLike(account, name)
	if err != nil || verified {
		return "", err
	}
	return warning(name, like), nil
}

// requestWarning is what is to be said of who asks, and of the title.
func (n *names) requestWarning(r *RequestInfo) (string, error) {
	var parts []string
	by, err := n.accountWarning(r.ByKey, r.By)
	if err != nil {
		return "", err
	}
	if by != "" {
		parts = append(parts, "“"+r.By+"” "+by)
	}
	if r.Title != "" {
		title, err := n.titleText(r.Title)
		if err != nil {
			return "", err
		}
		if title != "" {
			parts = append(parts, "“"+r.Title+"” "+title)
		}
	}
	return strings.Join(parts, "; "), nil
}

// entryWarning is what is to be said of a message's sender and text.
func (n *names) entryWarning(e *Entry) (string, error) {
	var parts []string
	if !e.Mine {
		sender, err := n.accountWarning(e.SenderKey, e.Sender)
		if err != nil {
			return "", err
		}
		if sender != "" {
			parts = append(parts, "“"+e.Sender+"” "+sender)
		}
		text, err := n.textWarning(e.Text)
		if err != nil {
			return "", err
		}
		if text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "; "), nil
}

// noticeWarning is what is to be said of who did something, and of a new title.
func (n *names) noticeWarning(e *Entry, note string) (string, error) {
	var parts []string
	if e.Sender != "" && !e.Mine {
		by, err := n.accountWarning(e.SenderKey, e.Sender)
		if err != nil {
			return "", err
		}
		if by != "" {
			parts = append(parts, "“"+e.Sender+"” "+by)
		}
	}
	if e.Notice == EventRenamed {
		text, err := n.titleText(note)
		if err != nil {
			return "", err
		}
		if text != "" {
			parts = append(parts, "“"+note+"” "+text)
		}
	}
	return strings.Join(parts, "; "), nil
}

// titleText is the sentence about a title that is, or was, a group's: it looks like
// a person's name.
func (n *names) titleText(title string) (string, error) {
	all, err := n.t.known()
	if err != nil {
		return "", err
	}
	for _, k := range all.like(title) {
		if k.conversation == (vault.ConversationID{}) {
			return warning(title, k.name), nil
		}
	}
	return warning(title, ""), nil
}
