package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"quicproquo/client/content"
	"quicproquo/client/vault"
)

// Kinds of history entries as they are kept. Numbers are forever.
const (
	entryText    = 1
	entryReply   = 2
	entryUnknown = 3 // a kind of message that only newer clients know
	entryNotice  = 4
)

// Statuses of our own messages as they are kept. Numbers are forever.
const (
	statusNone      = 0
	statusWaiting   = 1
	statusFailed    = 2
	statusSent      = 3
	statusDelivered = 4
	statusRead      = 5
)

var statusNames = map[uint8]string{
	statusWaiting: "waiting", statusFailed: "failed", statusSent: "sent", statusDelivered: "delivered", statusRead: "read",
}

var entryNames = map[uint8]string{
	entryText: "text", entryReply: "reply", entryUnknown: "unknown", entryNotice: "notice",
}

// Entry is a line of a conversation's history.
type Entry struct {
	Seq          uint64 // its place, over all conversations
	Conversation string
	Title        string
	ID           content.ID
	Sender       string // username, or the beginning of the account's key
	SenderKey    AccountKey
	Mine         bool
	Sent         time.Time // by the sender's clock
	Received     time.Time
	Kind         string // text, reply, notice or unknown
	Text         string // of a notice a sentence
	Body         content.Body
	ReplyTo      *content.ID
	Answers      *Quote // of a reply
	Edited       bool
	Deleted      bool
	Reactions    []Reaction
	// Status of our own: waiting, sent, delivered, read or failed.
	Status string
	// UnreadableBy are those whose device could not read this message of ours.
	UnreadableBy []string
	// Notice is what a notice tells.
	Notice EventKind
	// Expires is when the entry goes, zero: never.
	Expires time.Time
	// Warning says that the sender's name or the text looks like another's, "" if not.
	Warning string
}

// Reaction is somebody's mark on a message.
type Reaction struct {
	Emoji string
	By    string
	Mine  bool
}

func newID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

func idText(id vault.ConversationID) string { return hex.EncodeToString(id[:]) }

// names finds what accounts and conversations are called, once per turn.
type names struct {
	t        *turn
	accounts map[AccountKey]string
	titles   map[vault.ConversationID]string
	warnings map[vault.ConversationID]string
}

func (t *turn) names() *names {
	return &names{t, map[AccountKey]string{}, map[vault.ConversationID]string{}, map[vault.ConversationID]string{}}
}

// name returns an account's username; while it is not known, the beginning of its
// key.
func (n *names) name(account AccountKey) string {
	if name, ok := n.accounts[account]; ok {
		return name
	}
	name := hex.EncodeToString(account[:4]) + "…"
	if n.t.c.who != nil && account == n.t.c.account() {
		name = n.t.c.who.Username
	} else if contact, err := n.t.Contact(account); err == nil && contact != nil {
		name = contact.Username
	}
	n.accounts[account] = name
	return name
}

func (n *names) title(of vault.ConversationID) (string, error) {
	if title, ok := n.titles[of]; ok {
		return title, nil
	}
	row, err := n.t.Conversation(of)
	if err != nil || row == nil {
		return "", err
	}
	n.titles[of] = n.titleOf(row)
	return n.titles[of], nil
}

// titleOf is what a conversation is called: a DM by the other's name.
func (n *names) titleOf(row *vault.Conversation) string {
	if row.Kind == kindDM {
		return n.name(row.Peer)
	}
	return row.Title
}

// entry returns a history row for people.
func (t *turn) entry(m *vault.Message, names *names) (*Entry, error) {
	e := &Entry{
		Seq: m.Seq, Conversation: idText(m.Conversation), ID: m.ID, SenderKey: m.Sender, Mine: m.Mine,
		Sent: m.Sent, Received: m.Received, Kind: entryNames[m.Kind], Text: m.Text,
		Edited: m.Edited, Deleted: m.Deleted, Status: statusNames[m.Status], Expires: m.Expires,
	}
	var err error
	if e.Title, err = names.title(m.Conversation); err != nil {
		return nil, err
	}
	if m.Kind == entryNotice {
		return e, readNotice(e, m, names)
	}
	e.Sender = names.name(m.Sender)
	if len(m.ReplyTo) == len(content.ID{}) {
		id := content.ID(m.ReplyTo)
		e.ReplyTo = &id
		if e.Answers, err = t.quote(m.Conversation, id, names); err != nil {
			return nil, err
		}
	}
	if e.Warning, err = names.entryWarning(e); err != nil {
		return nil, err
	}
	if len(m.Body) > 0 {
		message, err := content.Decode(m.Body)
		if err != nil {
			return nil, fmt.Errorf("read entry %d: %w", m.Seq, err)
		}
		e.Body = message.Body
	}
	if m.Mine {
		accounts, err := t.UnreadableBy(m.Seq)
		if err != nil {
			return nil, err
		}
		for _, account := range accounts {
			e.UnreadableBy = append(e.UnreadableBy, names.name(account))
		}
	}
	reactions, err := t.Reactions(m.Conversation, m.ID)
	for _, r := range reactions {
		e.Reactions = append(e.Reactions, Reaction{r.Emoji, names.name(r.Sender), AccountKey(r.Sender) == t.c.account()})
	}
	return e, err
}

// readNotice makes a sentence of a notice.
func readNotice(e *Entry, m *vault.Message, names *names) error {
	kind, data, _ := bytes.Cut(m.Body, []byte{0})
	e.Notice = EventKind(kind)
	var n notice
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("read notice %d: %w", m.Seq, err)
	}
	by := nobody
	if n.By != nil {
		by = names.name(*n.By)
		e.Sender, e.SenderKey = by, *n.By
	}
	var who []string
	for _, account := range n.Who {
		who = append(who, names.name(account))
	}
	e.Text = sentence(e.Notice, by, strings.Join(who, ", "), n.Note)
	if n.Broken != "" {
		e.Text += " (against the rules: " + n.Broken + ")"
	}
	var err error
	e.Warning, err = names.noticeWarning(e, n.Note)
	return err
}

// nobody stands where it is not known who did something.
const nobody = "somebody"

func sentence(kind EventKind, by, who, note string) string {
	switch kind {
	case EventInvited:
		return by + " has invited you"
	case EventRequest:
		if note != "" {
			return by + " " + note
		}
		return by + ", who is not among your contacts, asks you into this conversation"
	case EventJoined:
		return who + " joined by the group's link"
	case EventAdded:
		return by + " added " + who
	case EventRemoved:
		if note != "" {
			return by + " removed " + who + ", " + note
		}
		return by + " removed " + who
	case EventLeft:
		return who + " left"
	case EventRenamed:
		return by + " named the group “" + note + "”"
	case EventRoles:
		if note == roleGiven {
			return by + " made " + who + " an admin"
		}
		return by + ": " + who + " is " + note
	case EventTimer, EventLink:
		return by + ": " + note
	case EventRekeyed:
		return by + " renewed the keys"
	case EventRecovered:
		return by + " came back into the conversation. " + note
	case EventInvalid:
		if by != nobody {
			return by + ": " + note
		}
		return note
	default:
		return note
	}
}

// History returns the last entries before a place (0: the end), the oldest first.
func (v *Conversation) History(before uint64, limit int) (list []Entry, err error) {
	err = v.c.look(func(t *turn) error {
		rows, err := t.History(v.id, before, limit)
		if err != nil {
			return err
		}
		list, err = t.entries(rows)
		return err
	})
	return list, err
}

// Search returns the latest entries whose text has all the words of a query, or
// words that begin so; see [vault.Tx.Search]. The first search in a vault of an
// earlier version takes longer.
func (c *Client) Search(query string, limit int) (list []Entry, err error) {
	if len(strings.Fields(query)) > vault.MaxSearchWords {
		return nil, &Problem{fmt.Sprintf("a search takes %d words at most", vault.MaxSearchWords), "Leave some out."}
	}
	for more := true; more; {
		if more, err = c.index(); err != nil {
			return nil, err
		}
	}
	err = c.look(func(t *turn) error {
		rows, err := t.Search(query, limit)
		if err != nil {
			return err
		}
		list, err = t.entries(rows)
		return err
	})
	return list, err
}

func (t *turn) entries(rows []*vault.Message) (list []Entry, err error) {
	names := t.names()
	for _, row := range rows {
		e, err := t.entry(row, names)
		if err != nil {
			return nil, err
		}
		list = append(list, *e)
	}
	return list, nil
}

// messageKinds are the entries that others have sent for people to read.
var messageKinds = []uint8{entryText, entryReply, entryUnknown}

// MarkRead notes that the user has seen everything up to a place, where the
// conversation has an entry (else ErrNoMessage; 0 does nothing), and has the
// senders told, unless the profile's settings forbid it.
func (v *Conversation) MarkRead(_ context.Context, upTo uint64) error {
	return v.c.turn(func(t *turn) error {
		row, err := t.talk(v.id)
		if err != nil || upTo == 0 {
			return err
		}
		if err := t.checkPlace(row, upTo); err != nil || upTo <= row.ReadSeq {
			return err
		}
		if t.wantsReceipts(&row.Conversation) {
			err := t.AddReceiptsBetween(v.id, row.ReadSeq, upTo, uint8(content.Read), messageKinds...)
			if err != nil {
				return err
			}
		}
		row.ReadSeq = upTo
		t.changed(row)
		return nil
	})
}
