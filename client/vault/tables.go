package vault

// topicTables are the tables of the topics, each with its accessors in the file
// that the comment names.
const topicTables = `
-- profile.go
CREATE TABLE profile (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	username TEXT NOT NULL, account_key BLOB NOT NULL, device BLOB NOT NULL, device_key BLOB NOT NULL,
	registered INTEGER NOT NULL, created INTEGER NOT NULL, seen INTEGER NOT NULL DEFAULT 0,
	incarnation INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE session (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	token BLOB NOT NULL, expires INTEGER NOT NULL
) STRICT;
-- keys.go
CREATE TABLE key_package (
	ref BLOB PRIMARY KEY, state BLOB NOT NULL, last_resort INTEGER NOT NULL,
	made INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT;
-- conversation.go
CREATE TABLE conversation (
	id BLOB PRIMARY KEY, kind INTEGER NOT NULL, group_id BLOB NOT NULL UNIQUE,
	channel BLOB NOT NULL, peer BLOB NOT NULL, title TEXT NOT NULL,
	state INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '', expire INTEGER NOT NULL DEFAULT 0,
	created INTEGER NOT NULL, active INTEGER NOT NULL, read_seq INTEGER NOT NULL DEFAULT 0
) STRICT;
-- group.go
CREATE TABLE mls_group (
	conversation BLOB PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE,
	epoch INTEGER NOT NULL, fixed BLOB NOT NULL, moving BLOB NOT NULL,
	founded INTEGER NOT NULL, started INTEGER NOT NULL, sent INTEGER NOT NULL
) STRICT;
CREATE TABLE pending_commit (
	conversation BLOB PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE,
	intent INTEGER NOT NULL, next BLOB NOT NULL, call BLOB NOT NULL
) STRICT;
-- outbox.go
CREATE TABLE outbox (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	message INTEGER NOT NULL, content BLOB NOT NULL, epoch INTEGER NOT NULL, payload BLOB,
	calls BLOB, tries INTEGER NOT NULL DEFAULT 0, next INTEGER, error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outbox_conversation ON outbox (conversation, id);
CREATE TABLE intent (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	kind TEXT NOT NULL, args BLOB NOT NULL, created INTEGER NOT NULL,
	tries INTEGER NOT NULL DEFAULT 0, next INTEGER, error TEXT NOT NULL DEFAULT ''
) STRICT;
-- inbox.go
CREATE TABLE inbox_cursor (
	channel BLOB PRIMARY KEY, seq INTEGER NOT NULL
) STRICT;
CREATE TABLE held (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	group_id BLOB NOT NULL, epoch INTEGER NOT NULL, channel BLOB NOT NULL,
	received INTEGER NOT NULL, payload BLOB NOT NULL
) STRICT;
CREATE INDEX held_group ON held (group_id, epoch, id);
CREATE TABLE processed (sum BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX processed_at ON processed (at);
-- message.go
CREATE TABLE message (
	seq INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	id BLOB NOT NULL, sender BLOB NOT NULL, mine INTEGER NOT NULL, kind INTEGER NOT NULL,
	sent INTEGER NOT NULL, received INTEGER NOT NULL, text TEXT NOT NULL, body BLOB NOT NULL,
	reply_to BLOB, status INTEGER NOT NULL, edited INTEGER NOT NULL DEFAULT 0,
	deleted INTEGER NOT NULL DEFAULT 0, expires INTEGER,
	UNIQUE (conversation, sender, id)
) STRICT;
CREATE INDEX message_conversation ON message (conversation, seq);
CREATE INDEX message_id ON message (conversation, id);
CREATE INDEX message_expires ON message (expires) WHERE expires > 0;
CREATE VIRTUAL TABLE message_text USING fts5(text, content='message', content_rowid='seq');
INSERT INTO message_text (message_text, rank) VALUES ('secure-delete', 1);
CREATE TRIGGER message_added AFTER INSERT ON message WHEN new.text <> '' BEGIN
	INSERT INTO message_text (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER message_removed AFTER DELETE ON message WHEN old.text <> '' BEGIN
	INSERT INTO message_text (message_text, rowid, text) VALUES ('delete', old.seq, old.text);
END;
CREATE TRIGGER message_changed AFTER UPDATE OF text ON message BEGIN
	INSERT INTO message_text (message_text, rowid, text) SELECT 'delete', old.seq, old.text WHERE old.text <> '';
	INSERT INTO message_text (rowid, text) SELECT new.seq, new.text WHERE new.text <> '';
END;
CREATE TABLE reaction (
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	message BLOB NOT NULL, sender BLOB NOT NULL, emoji TEXT NOT NULL,
	PRIMARY KEY (conversation, message, sender, emoji)
) STRICT;
-- contact.go
CREATE TABLE contact (
	account BLOB PRIMARY KEY, username TEXT NOT NULL UNIQUE, verified INTEGER NOT NULL, since INTEGER NOT NULL
) STRICT;
CREATE TABLE nameless (account BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
-- event.go
CREATE TABLE event (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL, conversation BLOB NOT NULL, kind TEXT NOT NULL,
	message INTEGER NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE TABLE consumer (name TEXT PRIMARY KEY, event INTEGER NOT NULL) STRICT;
`

// lineageTables are what lineage and requests added.
const lineageTables = `
-- conversation.go
ALTER TABLE conversation ADD COLUMN alias TEXT NOT NULL DEFAULT '';
ALTER TABLE conversation ADD COLUMN named_by BLOB NOT NULL DEFAULT x'';
ALTER TABLE conversation ADD COLUMN inviter BLOB NOT NULL DEFAULT x'';
ALTER TABLE conversation ADD COLUMN offer BLOB;
-- group.go
CREATE TABLE group_past (
	conversation BLOB PRIMARY KEY REFERENCES conversation(id) ON DELETE CASCADE, known BLOB NOT NULL
) STRICT;
-- inbox.go
CREATE TABLE held_size (group_id BLOB PRIMARY KEY, envelopes INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO held_size SELECT group_id, count(*), sum(length(payload)) FROM held GROUP BY group_id;
CREATE TRIGGER held_added AFTER INSERT ON held BEGIN
	INSERT INTO held_size (group_id, envelopes, bytes) VALUES (new.group_id, 1, length(new.payload))
		ON CONFLICT (group_id) DO UPDATE SET envelopes = envelopes + 1, bytes = bytes + length(new.payload);
END;
CREATE TRIGGER held_removed AFTER DELETE ON held BEGIN
	UPDATE held_size SET envelopes = envelopes - 1, bytes = bytes - length(old.payload) WHERE group_id = old.group_id;
	DELETE FROM held_size WHERE group_id = old.group_id AND envelopes <= 0;
END;
-- invitation.go
CREATE TABLE invitation (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation BLOB NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
	inviter BLOB NOT NULL, kind INTEGER NOT NULL, title TEXT NOT NULL, members INTEGER NOT NULL,
	channel BLOB NOT NULL, received INTEGER NOT NULL, payload BLOB NOT NULL
) STRICT;
-- contact.go
CREATE TABLE accepted (account BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO accepted SELECT account FROM contact WHERE verified <> 0 UNION SELECT peer FROM conversation WHERE kind = 1;
CREATE TABLE blocked (account BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`

// id reads an id of 16 bytes; what is shorter in a damaged file is filled up.
func (r *row) id(i int) (id [16]byte) {
	copy(id[:], r.bytes(i))
	return id
}

// key reads a key of 32 bytes.
func (r *row) key(i int) (key [32]byte) {
	copy(key[:], r.bytes(i))
	return key
}
