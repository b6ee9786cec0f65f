// Package client is a person's or a program's side of quicproquo: an encrypted
// profile on disk, an account, and conversations whose messages only their members
// can read. It has two layers.
//
// A Conn speaks the protocol (docs/protocol.md): it keeps a connection to one of the
// cluster's nodes, moves to another when that one fails, and repeats what may be
// repeated. The rules of repeating come from the code table (package schemas): a read
// is free to repeat; a write carries a request id, made once for the logical call,
// and is applied once at most however often it is sent. What the package reports is
// never vaguer or surer than what it knows: an error with schemas.Code_unknownOutcome
// means that the write may have been applied, any other that it was not. A Conn
// remembers the highest log index it has seen and sends it with every call, so a
// program that moves between nodes reads its own writes and never goes back in time.
//
// A Client is the engine above it. Everything it knows is in the vault, and every
// step that uses a key is one transaction with what comes of it (a turn), so a
// program that is killed at any point continues from there. What the user wants of a
// group is kept as an intent and built for whatever epoch the group is in, until it
// holds or is moot (decision 0071). Programs get events once, in order, by the name
// of a consumer.
//
//	c, err := client.Open(client.Profile{Dir: dir, Key: vault.Passphrase(p), Options: options})
//	v, err := c.DM(ctx, "bob")
//	_, err = v.Send(ctx, content.Text{Text: "hello"})
//	for e, err := range c.Events(ctx, "bot") { … }
//
// The package must never import a package of the server, and never run the Cap'n
// Proto RPC runtime.
//
// Reading order, the connection: conn.go (Conn, Dial, Options), call.go (one logical
// call), retry.go (what happens after an attempt), errors.go, attempt.go (one request,
// one response), link.go (a connection and its streams), dial.go, endpoints.go
// (which node), seen.go (how fresh answers must be), session.go (who calls), limits.go;
// topics have a file each, named as in schemas, fsm and rpc: health.go, account.go,
// device.go, keys.go, queue.go, fetch.go, subscribe.go, channel.go, group.go.
//
// The engine: profile.go and client.go (Open, Start, Close), turn.go (a transaction),
// enroll.go (register, log in), instance.go (copies of a device's keys); what users do:
// conversation.go, open.go, send.go and subject.go (what a message may speak of),
// group_change.go, invite.go, contact.go, standing.go (contacts, blocked), lookalike.go
// (names that look alike), request.go (invitations by strangers); what goes out:
// outbox.go, sent.go; what comes in: inbox.go, process.go, welcome.go, message.go,
// unreadable.go, report.go (receipts, typing), difference.go (what a commit has changed);
// how an intent becomes a commit: intent.go, claim.go, build.go, publish.go, rejoin.go,
// restore.go; what is shown: event.go, entry.go, status.go; what is renewed and removed:
// upkeep.go, stock.go, scrub.go; problem.go (what goes wrong).
// Packages below: vault (the disk), room (what we put around MLS), content (what is said).
package client
