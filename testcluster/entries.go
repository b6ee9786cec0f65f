package testcluster

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Account is the account key of a test's n-th recipient.
func Account(n int) [schemas.AccountKeySize]byte {
	var key [schemas.AccountKeySize]byte
	copy(key[:], "account")
	binary.BigEndian.PutUint64(key[len(key)-8:], uint64(n))
	return key
}

// SettingEntry is a framed entry, with a fresh request id, that changes a cluster setting.
func SettingEntry(name string, value uint64) []byte {
	return nodeEntry(nil, func(c schemas.Entry_command) error {
		params, err := c.NewChangeSettings()
		if err != nil {
			return err
		}
		list, err := params.NewSettings(1)
		if err != nil {
			return err
		}
		list.At(0).SetValue(value)
		return list.At(0).SetName(name)
	})
}

// EnqueueEntry is a framed entry that puts body into a recipient's inbox.
// requestID nil means a fresh one.
func EnqueueEntry(recipient [schemas.AccountKeySize]byte, requestID, body []byte) []byte {
	return nodeEntry(requestID, func(c schemas.Entry_command) error {
		params, err := c.NewEnqueue()
		if err != nil {
			return err
		}
		params.SetVersion(schemas.WireVersion)
		if err := params.SetRecipientKey(recipient[:]); err != nil {
			return err
		}
		return params.SetPayload(body)
	})
}

// nodeEntry is a framed entry of a node's own. requestID nil means a fresh one.
func nodeEntry(requestID []byte, fill func(schemas.Entry_command) error) []byte {
	if requestID == nil {
		requestID = make([]byte, schemas.RequestIDSize)
		_, _ = rand.Read(requestID) // never fails (crypto/rand)
	}
	entry, err := schemas.BuildEntry(requestID, schemas.Caller{Kind: schemas.Actor_Kind_node}, fill)
	if err != nil {
		panic(fmt.Sprintf("build a test entry: %v", err))
	}
	return entry
}

// EnqueuedSeq reads the sequence number from an enqueue's result.
func EnqueuedSeq(result fsm.Result) (uint64, error) {
	msg, err := schemas.Unmarshal(result.Data)
	if err != nil {
		return 0, fmt.Errorf("read enqueue result: %w", err)
	}
	results, err := schemas.ReadRootEnqueueResults(msg)
	if err != nil {
		return 0, fmt.Errorf("read enqueue result: %w", err)
	}
	return results.Seq(), nil
}

// Inbox returns all bodies of a recipient's inbox as one node has them.
func Inbox(n *Node, recipient int) (bodies []string, err error) {
	view, err := n.Engine().View()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	queue := fsm.QueueID{Owner: Account(recipient)}
	for after := uint64(0); ; {
		envelopes, err := view.Peek(queue, after, schemas.MaxFetch, schemas.MaxFetchBytes)
		if err != nil || len(envelopes) == 0 {
			return bodies, err
		}
		for _, e := range envelopes {
			bodies = append(bodies, string(e.Body))
		}
		after = envelopes[len(envelopes)-1].Seq
	}
}
