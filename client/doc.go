// Package client is a person's or a program's side of quicproquo: an encrypted
// profile on disk, an account, and conversations whose messages only their members
// can read.
//
// A Client is the engine above a connection (package conn), which is the protocol, the
// calls and the failover between nodes. Everything it knows is in the vault, and every
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
// Reading order: profile.go and client.go (Open, Start, Close), turn.go (a transaction),
// enroll.go (register, log in), instance.go (copies of a device's keys); what users do:
// conversation.go, open.go, send.go and subject.go (what a message may speak of),
// group_change.go, invite.go, contact.go, standing.go (contacts, blocked), lookalike.go
// (names that look alike), request.go (invitations by strangers); what goes out:
// outbox.go, sent.go; what comes in: inbox.go, recount.go (a queue that has gone back),
// process.go, welcome.go, message.go,
// unreadable.go, report.go (receipts, typing), difference.go (what a commit has changed);
// how an intent becomes a commit: intent.go, claim.go, build.go, publish.go, rejoin.go,
// restore.go; what is shown: event.go, entry.go, status.go; what is renewed and removed:
// upkeep.go, stock.go, scrub.go; problem.go (what goes wrong); connection.go (what of
// package conn is part of this one).
// Packages below: conn (the connection and the calls), vault (the disk), groupstate
// (what we put around MLS), content (what is said).
package client
