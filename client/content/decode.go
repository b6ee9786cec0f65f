package content

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// Decode reads a message. The result shares no memory with frame.
func Decode(frame []byte) (Message, error) {
	root, err := open(frame)
	if err != nil {
		return Message{}, err
	}
	id, err := root.Id()
	if err != nil || len(id) != len(ID{}) {
		return Message{}, malformed("an id of %d bytes", len(id))
	}
	if root.SentMs() > maxSent {
		return Message{}, fmt.Errorf("%w: sent after the year 9999", ErrLimit)
	}
	m := Message{ID: ID(id), Sent: time.UnixMilli(int64(root.SentMs()))}
	tag := Kind(root.Body().Which())
	if root.Version() != Version || !tag.known() {
		if root.Version() < Version {
			return Message{}, malformed("version %d", root.Version())
		}
		m.Body = Unknown{Version: root.Version(), Tag: uint16(tag), Silent: root.Silent(), Raw: bytes.Clone(frame)}
		return m, nil
	}
	if m.ExpireAfter, err = timer(root.ExpireAfterMs()); err != nil {
		return Message{}, err
	}
	if m.Body, err = decodeBody(root.Body()); err != nil {
		return Message{}, fmt.Errorf("decode %v: %w", tag, err)
	}
	return m, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// open returns the root of a frame that is in canonical form. The bytes are walked
// by the schema-less canonicalization, so what newer schemas added is walked, too.
func open(frame []byte) (schemas.Content, error) {
	if len(frame) > MaxMessage {
		return schemas.Content{}, fmt.Errorf("%w: %d bytes, at most %d", ErrLimit, len(frame), MaxMessage)
	}
	if len(frame) < frameHead || binary.LittleEndian.Uint32(frame) != 0 {
		return schemas.Content{}, malformed("not one segment")
	}
	msg, err := schemas.Unmarshal(frame)
	if err != nil {
		return schemas.Content{}, malformed("%v", err)
	}
	root, err := schemas.ReadRootContent(msg)
	if err != nil {
		return schemas.Content{}, malformed("%v", err)
	}
	again, err := canonical(capnp.Struct(root))
	if err != nil {
		return schemas.Content{}, err
	}
	if !bytes.Equal(again, frame) {
		return schemas.Content{}, malformed("its encoding is not canonical")
	}
	return root, nil
}

func decodeBody(body schemas.Content_body) (Body, error) {
	switch Kind(body.Which()) {
	case KindText:
		s, err := body.Text()
		if err != nil {
			return nil, malformed("%v", err)
		}
		text, err := textOf(s.TextBytes, MaxText)
		return Text{text}, err
	case KindReply:
		s, err := body.Reply()
		if err != nil {
			return nil, malformed("%v", err)
		}
		to, text, err := about(s.To, s.TextBytes, MaxText)
		return Reply{to, text}, err
	case KindReaction:
		s, err := body.Reaction()
		if err != nil {
			return nil, malformed("%v", err)
		}
		to, emoji, err := about(s.To, s.EmojiBytes, MaxEmoji)
		return Reaction{to, emoji, s.Remove()}, err
	case KindEdit:
		s, err := body.Edit()
		if err != nil {
			return nil, malformed("%v", err)
		}
		to, text, err := about(s.To, s.TextBytes, MaxText)
		return Edit{to, text}, err
	case KindDelete:
		s, err := body.Delete()
		if err != nil {
			return nil, malformed("%v", err)
		}
		to, err := idOf(s.To)
		return Delete{to}, err
	default:
		return decodeSignal(body)
	}
}

// decodeSignal reads the kinds that no person writes.
func decodeSignal(body schemas.Content_body) (Body, error) {
	switch Kind(body.Which()) {
	case KindReceipt:
		s, err := body.Receipt()
		if err != nil {
			return nil, malformed("%v", err)
		}
		return decodeReceipt(s)
	case KindTyping:
		s, err := body.Typing()
		if err != nil {
			return nil, malformed("%v", err)
		}
		return Typing{s.Active()}, nil
	case KindGroupInfo:
		s, err := body.GroupInfo()
		if err != nil {
			return nil, malformed("%v", err)
		}
		title, err := textOf(s.TitleBytes, MaxTitle)
		return GroupInfo{title}, err
	case KindTimer:
		s, err := body.Timer()
		if err != nil {
			return nil, malformed("%v", err)
		}
		after, err := timer(s.AfterMs())
		return Timer{after}, err
	case KindRejoined:
		s, err := body.Rejoined()
		if err != nil {
			return nil, malformed("%v", err)
		}
		authenticator, err := s.Authenticator()
		if err == nil {
			err = checkSize(len(authenticator), MaxAuthenticator)
		}
		return Rejoined{s.Epoch(), bytes.Clone(authenticator)}, err
	case KindUnreadable:
		s, err := body.Unreadable()
		if err != nil {
			return nil, malformed("%v", err)
		}
		sums, err := s.Envelopes()
		if err != nil {
			return nil, malformed("%v", err)
		}
		list, err := split(sums, MaxUnreadable)
		return Unreadable{list}, err
	default:
		panic(fmt.Sprintf("content: %v is known and is not read", Kind(body.Which())))
	}
}

func decodeReceipt(s schemas.Content_Receipt) (Body, error) {
	r := Receipt{Kind: ReceiptKind(s.Kind())}
	if err := checkReceipt(r.Kind); err != nil {
		return nil, err
	}
	ids, err := s.Ids()
	if err != nil {
		return nil, malformed("%v", err)
	}
	r.IDs, err = split(ids, MaxReceiptIDs)
	return r, err
}

// split reads 1 to limit ids that stand one after the other.
func split(ids []byte, limit int) ([]ID, error) {
	if len(ids)%len(ID{}) != 0 {
		return nil, malformed("ids of %d bytes", len(ids))
	}
	if err := checkSize(len(ids)/len(ID{}), limit); err != nil {
		return nil, err
	}
	list := make([]ID, len(ids)/len(ID{}))
	for i := range list {
		list[i] = ID(ids[i*len(ID{}):])
	}
	return list, nil
}

// about reads which message something is about, and what is said.
func about(to, text func() ([]byte, error), limit int) (ID, string, error) {
	id, err := idOf(to)
	if err != nil {
		return ID{}, "", err
	}
	said, err := textOf(text, limit)
	return id, said, err
}

func idOf(read func() ([]byte, error)) (ID, error) {
	id, err := read()
	if err != nil || len(id) != len(ID{}) {
		return ID{}, malformed("an id of %d bytes", len(id))
	}
	return ID(id), nil
}

func textOf(read func() ([]byte, error), limit int) (string, error) {
	b, err := read()
	if err != nil {
		return "", malformed("%v", err)
	}
	if err := checkSize(len(b), limit); err != nil {
		return "", err
	}
	text := string(b)
	return text, checkText(text, limit)
}

func timer(ms uint64) (time.Duration, error) {
	if ms > uint64(MaxTimer/time.Millisecond) {
		return 0, fmt.Errorf("%w: a timer of %d ms, at most %v", ErrLimit, ms, MaxTimer)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
