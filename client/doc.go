// Package client is a person's or a program's side of quicproquo: an encrypted
// profile on disk, an account, and conversations whose messages only their members
// can read. It has two floors.
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
// (which node), limits.go; topics have a file each, named as
// in schemas, fsm and rpc: health.go, account.go, device.go, keys.go, queue.go,
// subscribe.go, channel.go, group.go.
//
// The engine: profile.go and client.go (Open, Start, Close), turn.go (a transaction),
// enroll.go (register, log in), conversation.go, open.go and send.go (what users do),
// outbox.go (what goes out), inbox.go, process.go, welcome.go and message.go (what
// comes in), difference.go (what a commit has changed), intent.go, claim.go, build.go,
// publish.go, rejoin.go and restore.go (how a wish becomes a commit), event.go and entry.go (what
// is shown), upkeep.go and stock.go (what is renewed), problem.go (what goes wrong).
// Rooms below: vault (the disk), room (what we put around MLS), content (what is said).
package client
