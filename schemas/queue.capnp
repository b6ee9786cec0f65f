@0xc1f7a6a0d4e8b322;
# Queues: ordered lists of envelopes, one per (account, device, channel).
# Fetch never deletes; ack does.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;
using Code = import "codes.capnp".Code;

struct Envelope {
  seq @0 :UInt64;
  # Position in its queue, from 1, without gaps.
  data @1 :Data;
  # The body. Shared by all recipients of one batchEnqueue.
  channelId @2 :Data;
  # Empty (inbox) or 16 bytes.
  receivedAtMs @3 :UInt64;
  # Log time of the entry, milliseconds since 1970.
  header @4 :Data;
  # Small part that is this recipient's own (batchEnqueue).
  loss @5 :Loss;
  # Set instead of data when envelopes were dropped here.
}

struct Loss {
  # Envelopes that ended before they were acknowledged, so that loss is seen, never
  # silent. What is neither in expired nor in ephemeral was dropped for want of room,
  # or before the cluster told the reasons apart.
  count @0 :UInt64;
  # All of them: lastSeq - firstSeq + 1.
  firstSeq @1 :UInt64;
  lastSeq @2 :UInt64;
  expired @3 :UInt64;
  # Of these, how many reached the end of the time that their senders gave them.
  ephemeral @4 :UInt64;
  # Of these, how many were ephemeral: nothing to tell anybody about.
  overflow @5 :UInt64;
  # Of these, how many were refused because their senders had used up what one sender,
  # or all that are no contacts, may have in the queue. Others lost nothing by it.
}

struct EnqueueParams {
  recipientKey @0 :Data;
  # 32 bytes: the recipient's account key.
  payload @1 :Data;
  # 1 byte to 1 MiB.
  channelId @2 :Data;
  version @3 :UInt16;
  auth @4 :Auth;
  ttlSecs @5 :UInt32;
  # 0: the cluster's default.
  ephemeral @6 :Bool;
  # Of use now or not at all: typing, receipts. It ends without a loss, has a small
  # quota of its own and never takes room from others. At most 64 KiB.
}

struct EnqueueResults {
  seq @0 :UInt64;
  # In the queue of the account's first device, or in its own if it has no devices.
}

struct Recipient {
  key @0 :Data;
  # 32 bytes: the recipient's account key.
  device @1 :Data;
  # Empty: every device of the account; else the 16-byte device id.
  header @2 :Data;
  # At most 4 KiB, this recipient's own.
}

struct BatchEnqueueParams {
  recipients @0 :List(Recipient);
  # 1 to 4,096, no queue twice.
  payload @1 :Data;
  # Stored once, shared by all.
  channelId @2 :Data;
  version @3 :UInt16;
  auth @4 :Auth;
  ttlSecs @5 :UInt32;
  ephemeral @6 :Bool;
  # As in EnqueueParams.
}

struct RecipientOutcome {
  code @0 :Code;
  seq @1 :UInt64;
  # As in EnqueueResults.
}

struct BatchEnqueueResults {
  outcomes @0 :List(RecipientOutcome);
  # In the order of the recipients.
}

struct AckParams {
  recipientKey @0 :Data;
  channelId @1 :Data;
  seq @2 :UInt64;
  # Removes every envelope up to and including this one. Repeating it is harmless.
  version @3 :UInt16;
  auth @4 :Auth;
  deviceId @5 :Data;
  # Empty: the queue of the session's device, the account's own for a session
  # without one; 16 zero bytes: the account's own; else one of the account's
  # devices, for sessions without one. In a log entry set by the node: empty or 16
  # zero bytes is the account's own.
}

struct AckResults {
  removed @0 :UInt64;
}

struct FetchParams {
  recipientKey @0 :Data;
  # The caller's own account key.
  channelId @1 :Data;
  version @2 :UInt16;
  auth @3 :Auth;
  limit @4 :UInt32;
  # 0: the server's default.
  drain @5 :Bool;
  # Return and remove, as one write: it removes exactly what it returns, at most
  # 1 MiB, and gives the same answer again for the same request id.
  deviceId @6 :Data;
  # As in AckParams.
}

struct FetchResults {
  payloads @0 :List(Envelope);
}

struct FetchWaitParams {
  recipientKey @0 :Data;
  channelId @1 :Data;
  version @2 :UInt16;
  timeoutMs @3 :UInt64;
  auth @4 :Auth;
  limit @5 :UInt32;
  drain @6 :Bool;
  # As in FetchParams.
  deviceId @7 :Data;
}

struct PeekParams {
  recipientKey @0 :Data;
  channelId @1 :Data;
  version @2 :UInt16;
  auth @3 :Auth;
  after @4 :UInt64;
  # Cursor: only envelopes with a higher sequence number.
  limit @5 :UInt32;
  deviceId @6 :Data;
}

struct PeekResults {
  payloads @0 :List(Envelope);
  lastSeq @1 :UInt64;
  # The highest sequence number that the queue has given out.
}

struct DrainParams {
  # A log entry only: fetch with drain.
  recipientKey @0 :Data;
  channelId @1 :Data;
  deviceId @2 :Data;
  limit @3 :UInt32;
  version @4 :UInt16;
}

struct Cursor {
  channelId @0 :Data;
  after @1 :UInt64;
}

struct SubscribeParams {
  auth @0 :Auth;
  cursors @1 :List(Cursor);
  # At most 4,096. Queues without one begin after what was acknowledged.
  deviceId @2 :Data;
  # As in AckParams.
  limit @3 :UInt32;
  # Envelopes in one response at most; 0: the server's default.
}

struct SubscribeResults {
  # One of many responses on the stream, until either side ends it.
  payloads @0 :List(Envelope);
  # Each queue's in order; channelId tells them apart. Empty: the node is there
  # and has nothing new.
  caughtUp @1 :Bool;
  # Nothing was left when this was sent.
}

struct ExpireParams {
  # Proposed by the leader: removes what is over its time at the batch's stamp,
  # at most maxRows rows, so that one entry stays small.
  maxRows @0 :UInt32;
}

struct ExpireResults {
  removed @0 :UInt64;
  more @1 :Bool;
}
