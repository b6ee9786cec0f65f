package content

import (
	"encoding/json"
	"time"
)

type ID [16]byte
type Body interface{ kind() string }
type Message struct {
	ID          ID
	Sent        time.Time
	ExpireAfter time.Duration
	Body        Body
}
type Text struct{ Text string }
type Reply struct {
	To   ID
	Text string
}
type Reaction struct {
	To     ID
	Emoji  string
	Remove bool
}
type Edit struct {
	To   ID
	Text string
}
type Delete struct{ To ID }
type ReceiptKind uint8

const (
	Delivered     ReceiptKind = 1
	Read          ReceiptKind = 2
	MaxReceiptIDs             = 1000
)

type Receipt struct {
	Kind ReceiptKind
	IDs  []ID
}
type Typing struct{ Active bool }
type GroupInfo struct{ Title string }
type Timer struct{ After time.Duration }
type Rejoined struct {
	Epoch         uint64
	Authenticator []byte
}
type Unknown struct {
	Tag uint16
	Raw []byte
}

func (Text) kind() string      { return "text" }
func (Reply) kind() string     { return "reply" }
func (Reaction) kind() string  { return "reaction" }
func (Edit) kind() string      { return "edit" }
func (Delete) kind() string    { return "delete" }
func (Receipt) kind() string   { return "receipt" }
func (Typing) kind() string    { return "typing" }
func (GroupInfo) kind() string { return "groupinfo" }
func (Timer) kind() string     { return "timer" }
func (Rejoined) kind() string  { return "rejoined" }
func (Unknown) kind() string   { return "unknown" }

type wire struct {
	ID   ID
	Sent time.Time
	E    time.Duration
	K    string
	B    json.RawMessage
}

func Encode(m Message) ([]byte, error) {
	b, _ := json.Marshal(m.Body)
	return json.Marshal(wire{m.ID, m.Sent, m.ExpireAfter, m.Body.kind(), b})
}
func Decode(b []byte) (m Message, err error) {
	var w wire
	if err = json.Unmarshal(b, &w); err != nil {
		return
	}
	m = Message{ID: w.ID, Sent: w.Sent, ExpireAfter: w.E}
	switch w.K {
	case "text":
		var x Text
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "reply":
		var x Reply
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "reaction":
		var x Reaction
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "edit":
		var x Edit
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "delete":
		var x Delete
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "receipt":
		var x Receipt
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "typing":
		var x Typing
		json.Unmarshal(w.B, &x)
		m.Body = x
	case "rejoined":
		var x Rejoined
		json.Unmarshal(w.B, &x)
		m.Body = x
	}
	return
}
