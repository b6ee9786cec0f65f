// Package vault is a profile's encrypted file: identity, sessions, group states,
// outbox, history. What uses a key and what comes of it are stored in one
// transaction, so that a crash loses nothing and no key is used twice.
//
// A vault is a directory that one process has at a time:
//
//	vault.db   SQLite, every 4 KiB block encrypted with Adiantum under the data key
//	vault.key  how the data key is wrapped: by a passphrase or by the keyring of the
//	           operating system
//	lock       taken for as long as the vault is open; holds the process id
//
// An Update is on disk when it returns nil and wholly absent when the process ends
// before that, or wholly there: never in part. Whoever has the files but not the key
// learns their size and which blocks changed between two copies. A block that was
// altered is reported as ErrCorrupt; older copies of files are not recognized as
// old. docs/decisions/0070-vault.md says what else is and isn't protected.
//
// The package must never put a secret into an error, or write one outside the
// encrypted files.
//
// Reading order: vault.go (Create, Open, Close), tx.go (View, Update), statement.go
// (queries), tables.go and migrations.go (the schema), database.go (SQLite and its
// cipher), wipe.go (what deleted rows leave), key.go and keyfile.go (the data key),
// rekey.go, backup.go and stream.go, check.go, log.go, lock.go, files.go, errors.go.
// Rows have a file a topic: profile.go, instance.go, contact.go, standing.go,
// conversation.go, group.go, keys.go, invitation.go, inbox.go, outbox.go, message.go,
// receipt.go, unreadable.go, event.go, search.go.
package vault
