@0xe4a0c7d51f3b9268;
# What people say to each other: the application message that MLS encrypts. The
# cluster never sees one. docs/content.md says what each kind means.
#
# It grows in two ways. A kind gets new fields at its end: who does not know them
# ignores them. The union gets new kinds at its end: who does not know one keeps
# its bytes and says that something came. Nothing is ever renumbered or removed.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

struct Content {
  # The first four fields stay where they are in every version.
  version @0 :UInt16;
  # 1. A higher one means that the body can't be read by who knows only 1.
  id @1 :Data;
  # 16 random bytes. The same id from the same sender is the same message.
  sentMs @2 :UInt64;
  # By the sender's clock, milliseconds since 1970.
  silent @3 :Bool;
  # Who does not know the kind has nothing to show.
  expireAfterMs @4 :UInt64;
  # Every client removes the message this long after it has got it. 0: never.

  body :union {
    text @5 :Plain;
    reply @6 :Reply;
    reaction @7 :Reaction;
    edit @8 :Edit;
    delete @9 :Delete;
    receipt @10 :Receipt;
    typing @11 :Typing;
    groupInfo @12 :GroupInfo;
    timer @13 :Timer;
    rejoined @14 :Rejoined;
    unreadable @15 :Unreadable;
  }

  struct Plain {
    text @0 :Text;
    # 1 to 65,536 bytes of UTF-8, as in every text below.
  }

  struct Reply {
    to @0 :Data;
    # The id of a message of this conversation, 16 bytes, as in every "to" below.
    text @1 :Text;
  }

  struct Reaction {
    to @0 :Data;
    emoji @1 :Text;
    # 1 to 64 bytes.
    remove @2 :Bool;
    # Takes the same reaction back.
  }

  struct Edit {
    to @0 :Data;
    # A message of the same sender: others' are left alone.
    text @1 :Text;
  }

  struct Delete {
    to @0 :Data;
    # A message of the same sender.
  }

  struct Receipt {
    kind @0 :UInt8;
    # 1: delivered, 2: read.
    ids @1 :Data;
    # 1 to 1,000 ids, one after the other.
  }

  struct Typing {
    active @0 :Bool;
  }

  struct GroupInfo {
    title @0 :Text;
    # At most 256 bytes.
  }

  struct Timer {
    afterMs @0 :UInt64;
    # What expireAfterMs is from now on.
  }

  struct Rejoined {
    # The sender lost the thread and came back by an external commit.
    epoch @0 :UInt64;
    authenticator @1 :Data;
    # The sender's epoch authenticator (RFC 9420 §8.7), at most 64 bytes: members
    # whose own is another are told.
  }

  struct Unreadable {
    # The sender's device got envelopes that it can't read, now or later.
    envelopes @0 :Data;
    # 1 to 64 of them, one after the other: the first 16 bytes of the SHA-256 of each
    # envelope's payload. Who has sent one of them knows which message it was.
  }
}
