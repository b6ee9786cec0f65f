package groupstate

import (
	"errors"
	"fmt"

	"quicproquo/crypto/mls/message"
)

// payloadPlain says that an MLSMessage follows as it is. Numbers above are for
// payloads that are sealed to a device.
const payloadPlain = 1

// ErrPayload means that an envelope holds nothing that we can read.
var ErrPayload = errors.New("the envelope holds no message that is known here")

// Wrap makes the payload of an MLSMessage: the one place that decides what the
// cluster gets to see.
func Wrap(mlsMessage []byte) []byte {
	return append([]byte{payloadPlain}, mlsMessage...)
}

// Sort says what a payload is for.
type Sort uint8

// Sorts of payloads.
const (
	SortWelcome     Sort = iota + 1
	SortApplication      // of a group's member
	SortProposal
	SortCommit
)

// Payload is an opened envelope. Nothing of it has been checked.
type Payload struct {
	Sort    Sort
	Message []byte // the MLSMessage
	GroupID []byte // but of a welcome
	Epoch   uint64 // but of a welcome
	// KeyPackages are the references of those that a welcome is for (RFC 9420 §5.2).
	KeyPackages [][]byte
}

// Unwrap reads what Wrap made. The result aliases b.
func Unwrap(b []byte) (p Payload, err error) {
	if len(b) == 0 || b[0] != payloadPlain {
		return p, fmt.Errorf("%w: it has an unknown format; a newer client may read it", ErrPayload)
	}
	p.Message = b[1:]
	m, err := message.Parse(p.Message)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	var kind message.ContentType
	switch {
	case m.Welcome != nil:
		p.Sort = SortWelcome
		for _, s := range m.Welcome.Secrets {
			p.KeyPackages = append(p.KeyPackages, s.NewMember)
		}
		return p, nil
	case m.Private != nil:
		p.GroupID, p.Epoch, kind = m.Private.GroupID, m.Private.Epoch, m.Private.Type
	case m.Public != nil:
		p.GroupID, p.Epoch, kind = m.Public.Content.GroupID, m.Public.Content.Epoch, m.Public.Content.Type
	default:
		return p, fmt.Errorf("%w: it is a key package or a group info", ErrPayload)
	}
	switch kind {
	case message.ContentApplication:
		p.Sort = SortApplication
	case message.ContentProposal:
		p.Sort = SortProposal
	case message.ContentCommit:
		p.Sort = SortCommit
	default:
		return p, fmt.Errorf("%w: content type %d", ErrPayload, kind)
	}
	return p, nil
}
