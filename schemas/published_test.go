package schemas

import (
	"bytes"
	"errors"
	"testing"

	published "quicproquo/testcluster/vectors"
)

// The entries of docs/vectors.json: what a node proposes for a call, for those who read a
// log.
func TestVectorsPublished(t *testing.T) {
	type hex = published.Hex
	id, account := bytes.Repeat([]byte{0xab}, 16), bytes.Repeat([]byte{1}, 32)
	entry := func(by Caller, fill func(Entry_command) error) hex {
		frame, err := BuildEntry(id, by, fill)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	published.Check(t, "../docs/vectors.json", "entries", map[string]any{
		"enqueue": map[string]any{
			"requestId": hex(id), "account": hex(account), "recipientKey": hex(account), "payload": hex("hello"), "ttlSecs": 3600,
			"entry": entry(Caller{Kind: Actor_Kind_account, Account: account}, func(to Entry_command) error {
				p, err := to.NewEnqueue()
				p.SetVersion(1)
				p.SetTtlSecs(3600)
				return errors.Join(err, p.SetRecipientKey(account), p.SetPayload([]byte("hello")))
			}),
		},
		"beginLogin": map[string]any{
			"requestId": hex(id), "name": hex(account),
			"entry": entry(Caller{Kind: Actor_Kind_node}, func(to Entry_command) error {
				p, err := to.NewBeginLogin()
				return errors.Join(err, p.SetName(account))
			}),
		},
	})
}
