package vault

import (
	"testing"
	"time"
)

// withConversation adds a conversation for what belongs to one.
func withConversation(t *testing.T, v *Vault, id ConversationID, state uint8) {
	t.Helper()
	now := time.UnixMilli(5)
	err := v.Update(func(tx *Tx) error {
		return tx.AddConversation(&Conversation{ID: id, Kind: 1, GroupID: id[:], State: state, Created: now, Active: now})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every message that others have sent gets its receipt, however many they are; a higher
// kind replaces a lower and is not forgotten with it.
func TestReceiptsDue(t *testing.T) {
	v := create(t)
	id := ConversationID{1}
	withConversation(t, v, id, 1)
	withConversation(t, v, ConversationID{2}, 3)
	const messages, limit = 2300, 1000
	err := v.Update(func(tx *Tx) error {
		for i := range messages + 3 {
			m := &Message{Conversation: id, ID: [16]byte{byte(i), byte(i >> 8)}, Sender: [32]byte{9}, Kind: uint8(1 + i%2), Sent: time.UnixMilli(5), Received: time.UnixMilli(5)}
			switch i {
			case messages:
				m.Mine = true
			case messages + 1:
				m.Kind = 4 // a notice
			}
			if _, err := tx.AddMessage(m); err != nil {
				return err
			}
		}
		if err := tx.AddReceipts(id, 1, [][16]byte{{0, 0}, {1, 0}}); err != nil {
			return err
		}
		if err := tx.AddReceipts(ConversationID{2}, 1, [][16]byte{{1}}); err != nil {
			return err
		}
		early, err := tx.DueReceipts(id, 1)
		if err != nil || len(early) != 1 || early[0].Kind != 1 {
			t.Fatalf("before reading %+v is due: %v; want one of kind 1", early, err)
		}
		// All but the last, which stands behind what was read.
		if err := tx.AddReceiptsBetween(id, 0, messages+2, 2, 1, 2); err != nil {
			return err
		}
		return tx.DeleteReceipts(early)
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[16]byte]bool{}
	rounds := 0
	err = v.Update(func(tx *Tx) error {
		senders, err := tx.ReceiptConversations(1)
		if err != nil || len(senders) != 1 || senders[0] != id {
			t.Errorf("receipts are due in %x: %v, want in %x, which is active, alone", senders, err, id)
		}
		for ; ; rounds++ {
			due, err := tx.DueReceipts(id, limit)
			if err != nil || len(due) == 0 {
				return err
			}
			for _, d := range due {
				if d.Kind != 2 {
					t.Errorf("the receipt for %x is of kind %d, want 2", d.Message, d.Kind)
				}
				seen[d.Message] = true
			}
			if err := tx.DeleteReceipts(due); err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != messages || rounds != 3 {
		t.Errorf("%d messages got a receipt in %d rounds, want %d in 3", len(seen), rounds, messages)
	}
}
