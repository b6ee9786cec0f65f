@0x9be3a4f05d2c6811;
# Node to node, over qpq-peer/1: calls in turn on pooled streams, as for clients.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Code = import "codes.capnp".Code;
using Settings = import "settings.capnp";

struct PeerRequest {
  timeoutMs @0 :UInt32;
  union {
    none @1 :Void;
    forward @2 :Forward;
    confirm @3 :Void;
    status @4 :Void;
    change @5 :MemberChange;
    renew @6 :Renew;
    settings @7 :Void;
    # Every cluster setting, as a linearizable read has it.
    holdKey @8 :Data;
    # Keep this cluster key (32 bytes) beside the one in force. The answer is "key", empty,
    # once it is on the disk.
    giveKey @9 :Data;
    # Give the cluster key of this name (16 bytes), to a member that lacks it.
  }
}

struct PeerResponse {
  union {
    none @0 :Void;
    forwarded @1 :Forwarded;
    confirmed @2 :Confirmed;
    status @3 :NodeStatus;
    changed @4 :Outcome;
    renewed @5 :Renewed;
    error @6 :PeerFailure;
    settings @7 :SettingList;
    key @8 :Data;
    # 32 bytes, or empty.
  }
}

struct SettingList {
  settings @0 :List(Settings.Setting);
}

struct PeerFailure {
  code @0 :Code;
  text @1 :Text;
}

struct Forward {
  entries @0 :List(Data);
  # Opaque framed Entry messages, at most 1,024 of them and 1 MiB together
  # (a single larger one travels alone).
  kept @1 :UInt64;
  # Number under which the sender keeps the entries for a while: the leader may refer
  # to them in log entries that it sends back to it. 0: the sender keeps none.
}

struct Forwarded {
  outcomes @0 :List(Outcome);
  # In the order of the entries.
}

struct Outcome {
  applied @0 :Bool;
  # True: index and result stand. False: code is unavailable (certainly not
  # applied) or unknownOutcome.
  index @1 :UInt64;
  code @2 :Code;
  result @3 :Data;
  # Framed Result message when applied.
  text @4 :Text;
}

struct Confirmed {
  # One answer of the confirm round of linearizable reads.
  term @0 :UInt64;
  leader @1 :Bool;
  ready @2 :Bool;
  # The leader's barrier of this term is done.
  commandIndex @3 :UInt64;
  # Index of the last command that its store has applied.
  voters @4 :List(Text);
  # From a leader: the voters of its latest configuration. The majority must be
  # one of these, for the reader's own configuration may be out of date.
}

struct DigestMark {
  index @0 :UInt64;
  digest @1 :UInt64;
}

struct Member {
  id @0 :Text;
  address @1 :Text;
  voter @2 :Bool;
}

struct NodeStatus {
  id @0 :Text;
  address @1 :Text;
  state @2 :Text;
  # "leader", "follower", "candidate", "shutdown".
  term @3 :UInt64;
  leaderId @4 :Text;
  appliedIndex @5 :UInt64;
  # Raft index that the store has applied, commands or not.
  commandIndex @6 :UInt64;
  lastLogIndex @7 :UInt64;
  commitIndex @8 :UInt64;
  featureLevel @9 :UInt32;
  version @10 :Text;
  members @11 :List(Member);
  marks @12 :List(DigestMark);
  # Newest digests, so that peers can compare.
  readOnly @13 :Bool;
  # The disk guard refuses writes.
  fault @14 :Text;
  # Why the node stopped serving; empty while all is well.
  startedAtMs @15 :UInt64;
  clockMs @16 :UInt64;
  # What the node's own clock says, milliseconds since 1970. 0: a build of before.
  clockOffMs @17 :Int64;
  # How far that is ahead of the clocks of a majority, as far as the node knows.
  clockWrong @18 :Bool;
  # That is more than the setting clock_error_secs allows.
  remembered @19 :UInt64;
  # The highest appliedIndex that this node has heard of the asking voter. A voter whose
  # log ends before it has lost what it had acknowledged.
  nodeKeys @20 :List(NodeKey);
  # The keys of nodes that the store knows, by node.
  deniedKeys @21 :List(NodeKey);
  # Those that it denies; node is whose it was, or empty.
  clusterKeys @22 :List(Data);
  # The names of the cluster keys that it has, 16 bytes each, first the one that it was
  # started with. Empty: a build of before.
  keyRecord @23 :Data;
  # What its store says of the cluster key; empty: there was no rotation.
  keyVersion @24 :UInt64;
  # Of the record.
}

struct NodeKey {
  node @0 :Text;
  key @1 :Data;
  # SHA-256 of a certificate's SubjectPublicKeyInfo, 32 bytes.
}

struct MemberChange {
  kind @0 :Kind;
  id @1 :Text;
  address @2 :Text;

  enum Kind {
    add @0;
    # As non-voter; promoted to voter once it has caught up.
    remove @1;
    transfer @2;
    # Leadership to id, or to the best follower when id is empty.
    demote @3;
    # A node that has lost what it had acknowledged and voted for gives its vote up
    # before it takes part again.
  }
}

struct Renew {
  # A node asks one that holds the CA key for a fresh certificate.
  certificateRequest @0 :Data;
  # DER.
}

struct Renewed {
  certificate @0 :Data;
  # DER.
}
