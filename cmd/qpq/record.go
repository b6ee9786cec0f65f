package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"quicproquo/client"
	"quicproquo/cmd/qpq/internal/plain"
)

// entryRecord is a line of a conversation's history.
type entryRecord struct {
	header
	Conversation string           `json:"conversation"`
	Title        string           `json:"title"`
	Seq          uint64           `json:"seq"`
	ID           string           `json:"id"`
	Kind         string           `json:"kind"`
	Sender       string           `json:"sender,omitempty"`
	SenderKey    string           `json:"senderKey,omitempty"`
	Mine         bool             `json:"mine"`
	Text         string           `json:"text"`
	ReplyTo      string           `json:"replyTo,omitempty"`
	Answers      *quoteRecord     `json:"answers,omitempty"`
	Edited       bool             `json:"edited,omitempty"`
	Deleted      bool             `json:"deleted,omitempty"`
	Reactions    []reactionRecord `json:"reactions,omitempty"`
	Status       string           `json:"status,omitempty"`
	UnreadableBy []string         `json:"unreadableBy,omitempty"`
	Notice       string           `json:"notice,omitempty"`
	SentAt       string           `json:"sentAt"`
	ReceivedAt   string           `json:"receivedAt"`
	ExpiresAt    string           `json:"expiresAt,omitempty"`
	Warning      string           `json:"warning,omitempty"`
	at           time.Time
}

// quoteRecord is what a reply answers.
type quoteRecord struct {
	Seq    uint64 `json:"seq,omitempty"`
	Sender string `json:"sender,omitempty"`
	Mine   bool   `json:"mine"`
	Text   string `json:"text"`
	Gone   string `json:"gone,omitempty"` // why there is no text: deleted or missing
}

// line: "alice: “hello, how are…”".
func (q *quoteRecord) line() string {
	switch {
	case q.Gone == client.QuoteMissing:
		return "a message that is not here any more"
	case q.Gone != "":
		return plain.Line(q.Sender) + ": (deleted)"
	}
	return plain.Line(q.Sender) + ": “" + plain.Line(shortened(q.Text)) + "”"
}

// quoteLength is how many characters of a message are quoted in a line.
const quoteLength = 40

// shortened is the beginning of a text.
func shortened(text string) string {
	n := 0
	for i := range text {
		if n == quoteLength {
			return text[:i] + "…"
		}
		n++
	}
	return text
}

type reactionRecord struct {
	Emoji string `json:"emoji"`
	By    string `json:"by"`
}

func (*entryRecord) kind() string { return "entry" }

func entryOf(e *client.Entry) *entryRecord {
	r := &entryRecord{
		Conversation: e.Conversation, Title: e.Title, Seq: e.Seq, ID: hex.EncodeToString(e.ID[:]), Kind: e.Kind,
		Sender: e.Sender, Mine: e.Mine, Text: e.Text, Edited: e.Edited, Deleted: e.Deleted, Status: e.Status,
		Notice: string(e.Notice), SentAt: stamp(e.Sent), ReceivedAt: stamp(e.Received), ExpiresAt: stamp(e.Expires),
		Warning: e.Warning, at: e.Sent,
	}
	r.UnreadableBy = e.UnreadableBy
	if q := e.Answers; q != nil {
		r.Answers = &quoteRecord{q.Seq, q.Sender, q.Mine, q.Text, q.Gone}
	}
	if e.SenderKey != (client.AccountKey{}) {
		r.SenderKey = hex.EncodeToString(e.SenderKey[:])
	}
	if e.ReplyTo != nil {
		r.ReplyTo = hex.EncodeToString(e.ReplyTo[:])
	}
	for _, x := range e.Reactions {
		r.Reactions = append(r.Reactions, reactionRecord{x.Emoji, x.By})
	}
	r.head(r.kind())
	return r
}

// line: "#12 15:04 bob (answers alice: “hi”): hello (edited) [👍 carol] [⚠ …]". The
// time is when it was sent, as the sender says.
func (r *entryRecord) line() string {
	text := r.text()
	if r.Warning != "" {
		text += " [⚠ " + plain.Line(r.Warning) + "]"
	}
	return text
}

func (r *entryRecord) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s ", r.Seq, clock(r.at))
	switch {
	case r.Kind == "notice":
		fmt.Fprintf(&b, "* %s", plain.Line(r.Text))
		return b.String()
	case r.Deleted:
		fmt.Fprintf(&b, "%s: (deleted)", plain.Line(r.Sender))
		return b.String()
	case r.Kind == "unknown":
		fmt.Fprintf(&b, "%s: (a message that a newer version of this program can show)", plain.Line(r.Sender))
	default:
		b.WriteString(plain.Line(r.Sender))
		if r.Answers != nil {
			b.WriteString(" (answers " + r.Answers.line() + ")")
		}
		b.WriteString(": " + indented(r.Text))
	}
	if r.Edited {
		b.WriteString(" (edited)")
	}
	for _, x := range r.Reactions {
		fmt.Fprintf(&b, " [%s %s]", plain.Line(x.Emoji), plain.Line(x.By))
	}
	if r.Mine && r.Status != "" && r.Status != "sent" {
		fmt.Fprintf(&b, " (%s)", r.Status)
	}
	for _, name := range r.UnreadableBy {
		fmt.Fprintf(&b, " (%s's device could not read this)", plain.Line(name))
	}
	return b.String()
}

// indented keeps the lines of a text from looking like lines of others.
func indented(text string) string { return strings.ReplaceAll(plain.Text(text), "\n", "\n    ") }

// eventRecord is something that happened.
type eventRecord struct {
	header
	ID           uint64       `json:"id"`
	At           string       `json:"at"`
	Event        string       `json:"event"`
	Conversation string       `json:"conversation,omitempty"`
	Title        string       `json:"title,omitempty"`
	By           string       `json:"by,omitempty"`
	Who          []string     `json:"who,omitempty"`
	Note         string       `json:"note,omitempty"`
	Warning      string       `json:"warning,omitempty"`
	Entry        *entryRecord `json:"entry,omitempty"`
}

func (*eventRecord) kind() string { return "event" }

func eventOf(e *client.Event) *eventRecord {
	r := &eventRecord{
		ID: e.ID, At: stamp(e.At), Event: string(e.Kind), Conversation: e.Conversation, Title: e.Title,
		By: e.By, Who: e.Who, Note: e.Note, Warning: e.Warning,
	}
	if e.Entry != nil {
		r.Entry = entryOf(e.Entry)
	}
	return r
}

func (r *eventRecord) line() string {
	title := plain.Line(marked(r.Title, r.Warning))
	switch {
	case r.Entry == nil:
		parts := []string{"[" + title + "]", r.Event + ":"}
		for _, part := range []string{r.By, strings.Join(r.Who, ", "), r.Note} {
			if part != "" {
				parts = append(parts, plain.Line(part))
			}
		}
		return strings.Join(parts, " ")
	case r.Event == string(client.EventMessage) || r.Entry.Kind == "notice":
		return fmt.Sprintf("[%s] %s", title, r.Entry.line())
	case r.Event == string(client.EventUnreadable):
		return fmt.Sprintf("[%s] %s's device could not read #%d", title, plain.Line(r.By), r.Entry.Seq)
	case r.Event == string(client.EventReceipt):
		return fmt.Sprintf("[%s] #%d was %s", title, r.Entry.Seq, r.Entry.Status)
	}
	return fmt.Sprintf("[%s] %s by %s: %s", title, r.Event, plain.Line(r.By), r.Entry.line())
}

// conversationRecord is a conversation in the list.
type conversationRecord struct {
	header
	ID      string `json:"id"`
	Kind    string `json:"kind"` // dm or group
	Title   string `json:"title"`
	Alias   string `json:"alias,omitempty"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Epoch   uint64 `json:"epoch"`
	Suite   string `json:"suite,omitempty"`
	Members int    `json:"members"`
	Unread  int    `json:"unread"`
	Admin   bool   `json:"admin"`
	Link    bool   `json:"link"`
	Timer   int64  `json:"timerSeconds"`
	Waiting int    `json:"waiting"`
	LastAt  string `json:"lastAt,omitempty"`
	Last    string `json:"last,omitempty"`
	Warning string `json:"warning,omitempty"`
	at      time.Time
}

const conversationHeads = "ID\tKIND\tTITLE\tSTATE\tMEMBERS\tUNREAD\tLAST"

func (r *conversationRecord) kind() string { return "conversation" }

func conversationOf(v *client.Conversation) (*conversationRecord, error) {
	info, err := v.Info()
	if err != nil {
		return nil, err
	}
	title := info.Title
	if info.Kind == "dm" {
		title = info.Peer
	}
	return &conversationRecord{
		ID: info.ID, Kind: info.Kind, Title: title, Alias: info.Alias, State: info.State, Reason: info.Reason, Epoch: info.Epoch,
		Suite: info.Suite, Members: info.Members, Unread: info.Unread, Admin: info.Admin, Link: info.Link,
		Timer: int64(info.Timer / time.Second), Waiting: info.Waiting, LastAt: stamp(info.LastAt), Last: info.Last, Warning: info.Warning, at: info.LastAt,
	}, nil
}

// marked is a name with the sentence that warns of it.
func marked(name, warning string) string {
	if warning == "" {
		return name
	}
	return name + " ⚠ " + warning
}

// shortID is what a conversation's id is shortened to for people.
const shortID = 8

func (r *conversationRecord) cells() []any {
	return []any{r.ID[:shortID], r.Kind, marked(r.Title, r.Warning), r.State, r.Members, r.Unread, clock(r.at)}
}

func (r *conversationRecord) line() string {
	text := fmt.Sprintf("%s %s %s (%s)", r.ID[:shortID], r.Kind, plain.Line(marked(r.Title, r.Warning)), r.State)
	if r.Reason != "" {
		text += ": " + plain.Line(r.Reason)
	}
	return text
}

// doneRecord says that something was done.
type doneRecord struct {
	header
	Done         string `json:"done"`
	Conversation string `json:"conversation,omitempty"`
	Count        int    `json:"count,omitempty"`
	text         string
}

func (*doneRecord) kind() string   { return "done" }
func (r *doneRecord) line() string { return r.text }

// done reports that something was done.
func (a *app) done(what, format string, args ...any) error {
	return a.print(&doneRecord{Done: what, text: plain.Line(fmt.Sprintf(format, args...))})
}
