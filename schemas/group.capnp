@0x8f2d6a91c3b7e045;
# Groups: a record for each MLS group that has one, so that exactly one commit wins
# an epoch. The server learns neither the members nor the group's content.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;
using Queue = import "queue.capnp";

struct Delivery {
  recipients @0 :List(Queue.Recipient);
  payload @1 :Data;
  # Stored once, shared by the recipients.
  channelId @2 :Data;
  # Empty (inbox) or a channel of the caller and each recipient.
}

struct PublishCommitParams {
  auth @0 :Auth;
  groupId @1 :Data;
  # 16 to 64 bytes, random.
  epoch @2 :UInt64;
  # The epoch that the commit ends. For a group without a record: the epoch that
  # its founder is in, and proof is empty.
  proof @3 :Data;
  # 32 bytes, exported from that epoch: its SHA-256 is the record's verifier.
  nextVerifier @4 :Data;
  # 32 bytes: SHA-256 of the same export of the next epoch.
  deliveries @5 :List(Delivery);
  # At most 16, with 4,096 recipients in all: the commit, the welcomes.
  groupInfo @6 :Data;
  # At most 1 MiB, opaque: encrypted by the client for those who may join.
  # Empty: the record keeps none.
  version @7 :UInt16;
  # 1.
  ttlSecs @8 :UInt32;
}

struct PublishCommitResults {
  epoch @0 :UInt64;
  # The group's epoch now: epoch + 1; for a new record epoch itself.
  outcomes @1 :List(Queue.RecipientOutcome);
  # In the order of deliveries and their recipients. A full queue does not stop
  # the commit: QUEUE_FULL or SENDER_SHARE_FULL here, and a loss marker there.
}

struct FetchGroupParams {
  auth @0 :Auth;
  groupId @1 :Data;
}

struct FetchGroupResults {
  epoch @0 :UInt64;
  groupInfo @1 :Data;
  changedAtMs @2 :UInt64;
}
