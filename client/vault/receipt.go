package vault

import "strings"

// receiptTables is migration 2: the receipts that are still to be sent.
const receiptTables = `
CREATE TABLE receipt_due (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	message BLOB NOT NULL, kind INTEGER NOT NULL,
	UNIQUE (conversation, message)
) STRICT;
`

// DueReceipt is a message whose sender is still to be told what became of it.
type DueReceipt struct {
	ID      int64
	Message [16]byte
	Kind    uint8 // content.ReceiptKind: 1 delivered, 2 read
}

// raiseReceipt makes one receipt of two for the same message: the higher kind tells
// the lower.
const raiseReceipt = ` ON CONFLICT (conversation, message) DO UPDATE SET kind = max(kind, excluded.kind)`

// AddReceipts keeps receipts for messages until they are sent.
func (tx *Tx) AddReceipts(of ConversationID, kind uint8, messages [][16]byte) error {
	for _, m := range messages {
		err := tx.run(`INSERT INTO receipt_due (conversation, message, kind) VALUES (?, ?, ?)`+raiseReceipt, of[:], m[:], int64(kind))
		if err != nil {
			return err
		}
	}
	return nil
}

// AddReceiptsBetween keeps a receipt for every message of some kinds by others behind
// a place, up to another.
func (tx *Tx) AddReceiptsBetween(of ConversationID, after, upTo uint64, receipt uint8, kinds ...uint8) error {
	marks := strings.TrimSuffix(strings.Repeat("?,", len(kinds)), ",")
	args := []any{int64(receipt), of[:], after, upTo}
	for _, k := range kinds {
		args = append(args, int64(k))
	}
	return tx.run(`INSERT INTO receipt_due (conversation, message, kind)
		SELECT conversation, id, ? FROM message WHERE conversation = ? AND seq > ? AND seq <= ? AND NOT mine
		AND kind IN (`+marks+`) ORDER BY seq`+raiseReceipt, args...)
}

// DueReceipts returns the oldest receipts of a conversation that are to be sent, all of
// one kind.
func (tx *Tx) DueReceipts(of ConversationID, limit int) (list []DueReceipt, err error) {
	err = tx.each(`SELECT id, message, kind FROM receipt_due WHERE conversation = ?1 AND kind =
		(SELECT kind FROM receipt_due WHERE conversation = ?1 ORDER BY id LIMIT 1) ORDER BY id LIMIT ?2`, func(r *row) error {
		list = append(list, DueReceipt{r.int64(0), r.id(1), uint8(r.int64(2))})
		return nil
	}, of[:], limit)
	return list, err
}

// ReceiptConversations returns the conversations of a state that have receipts to be
// sent, in the order of their ids: one step of the index for each.
func (tx *Tx) ReceiptConversations(state uint8) (list []ConversationID, err error) {
	err = tx.each(`WITH RECURSIVE due(id) AS (
		SELECT min(conversation) FROM receipt_due
		UNION ALL SELECT (SELECT min(conversation) FROM receipt_due WHERE conversation > due.id) FROM due WHERE due.id IS NOT NULL
	) SELECT due.id FROM due JOIN conversation ON conversation.id = due.id WHERE conversation.state = ?`, func(r *row) error {
		list = append(list, ConversationID(r.id(0)))
		return nil
	}, int64(state))
	return list, err
}

// DeleteReceipts forgets receipts that were sent, but for those that have become of
// another kind since.
func (tx *Tx) DeleteReceipts(sent []DueReceipt) error {
	for _, r := range sent {
		if err := tx.run(`DELETE FROM receipt_due WHERE id = ? AND kind = ?`, r.ID, int64(r.Kind)); err != nil {
			return err
		}
	}
	return nil
}

// DropReceipts forgets the receipts of a conversation.
func (tx *Tx) DropReceipts(of ConversationID) error {
	return tx.run(`DELETE FROM receipt_due WHERE conversation = ?`, of[:])
}
