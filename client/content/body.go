package content

import (
	"strconv"
	"time"

	"quicproquo/schemas"
)

// Body is what a message says: one of the types of this file.
type Body interface{ kind() Kind }

// Kind is the sort of a body: its number in the union of schemas/content.capnp.
type Kind uint16

// Kinds of messages that this version knows.
const (
	KindText      = Kind(schemas.Content_body_Which_text)
	KindReply     = Kind(schemas.Content_body_Which_reply)
	KindReaction  = Kind(schemas.Content_body_Which_reaction)
	KindEdit      = Kind(schemas.Content_body_Which_edit)
	KindDelete    = Kind(schemas.Content_body_Which_delete)
	KindReceipt   = Kind(schemas.Content_body_Which_receipt)
	KindTyping    = Kind(schemas.Content_body_Which_typing)
	KindGroupInfo = Kind(schemas.Content_body_Which_groupInfo)
	KindTimer     = Kind(schemas.Content_body_Which_timer)
	KindRejoined  = Kind(schemas.Content_body_Which_rejoined)

	KindUnreadable = Kind(schemas.Content_body_Which_unreadable)
)

// KindOf returns the kind of a body. That of an Unknown may have no name here.
func KindOf(b Body) Kind { return b.kind() }

// known reports whether this version can read a kind.
func (k Kind) known() bool { return k <= KindUnreadable }

// String is the kind's name in the schema, or its number.
func (k Kind) String() string {
	if !k.known() {
		return "kind " + strconv.Itoa(int(k))
	}
	return schemas.Content_body_Which(k).String()
}

// silent reports whether a client that does not know the kind has nothing to show.
func (k Kind) silent() bool { return k != KindText && k != KindReply }

// Text says something.
type Text struct{ Text string }

// Reply says something about an earlier message.
type Reply struct {
	To   ID
	Text string
}

// Reaction marks a message, or takes the mark back.
type Reaction struct {
	To     ID
	Emoji  string
	Remove bool
}

// Edit replaces the text of the sender's own message.
type Edit struct {
	To   ID
	Text string
}

// Delete takes back the sender's own message.
type Delete struct{ To ID }

// ReceiptKind says what became of messages.
type ReceiptKind uint8

// Kinds of receipts. There will be no others: more would be messages of a new kind.
const (
	Delivered ReceiptKind = 1 // they are on the recipient's device
	Read      ReceiptKind = 2 // the recipient has seen them
)

// Receipt tells the sender of messages what became of them.
type Receipt struct {
	Kind ReceiptKind
	IDs  []ID
}

// Typing says that the sender types, or has stopped.
type Typing struct{ Active bool }

// GroupInfo tells what the group is called.
type GroupInfo struct{ Title string }

// Timer tells how long messages are kept from now on, 0: forever.
type Timer struct{ After time.Duration }

// Rejoined tells that the sender lost the thread and came back in this epoch.
type Rejoined struct {
	Epoch         uint64
	Authenticator []byte
}

// Unreadable tells that the sender's device got envelopes that it will never be able to
// read, each by the first 16 bytes of the SHA-256 of its payload. Whoever has sent one of
// them knows which message it was.
type Unreadable struct{ Envelopes []ID }

// Unknown is a body that only newer clients understand. It can be kept, shown as
// something unknown, and encoded again to the same bytes.
type Unknown struct {
	Version uint16
	Tag     uint16 // the kind's number; that of a known kind in a version to come
	Silent  bool   // nothing is to be shown
	Raw     []byte // the whole message
}

func (Text) kind() Kind       { return KindText }
func (Reply) kind() Kind      { return KindReply }
func (Reaction) kind() Kind   { return KindReaction }
func (Edit) kind() Kind       { return KindEdit }
func (Delete) kind() Kind     { return KindDelete }
func (Receipt) kind() Kind    { return KindReceipt }
func (Typing) kind() Kind     { return KindTyping }
func (GroupInfo) kind() Kind  { return KindGroupInfo }
func (Timer) kind() Kind      { return KindTimer }
func (Rejoined) kind() Kind   { return KindRejoined }
func (Unreadable) kind() Kind { return KindUnreadable }
func (u Unknown) kind() Kind  { return Kind(u.Tag) }
