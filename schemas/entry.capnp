@0x8c6d1b9fe2a35740;
# The replicated log. A raft log entry is an envelope (schemas/envelope.go) around
# a Batch; a Batch holds entries; an Entry is one command.
#
# Append only: a tag that was released keeps its number and its meaning for ever,
# because old logs and snapshots are replayed.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Code = import "codes.capnp".Code;
using Account = import "account.capnp";
using Channel = import "channel.capnp";
using Group = import "group.capnp";
using Keys = import "keys.capnp";
using Queue = import "queue.capnp";
using Settings = import "settings.capnp";

struct Actor {
  # On whose behalf a command runs. Set by the node that took the call, after it
  # authenticated the caller.
  kind @0 :Kind;
  account @1 :Data;
  # 32 bytes for kind account.
  device @2 :Data;
  # 16 bytes for kind account.

  enum Kind {
    nobody @0;
    node @1;
    # A node of the cluster, or its operator.
    account @2;
  }
}

struct Entry {
  version @0 :UInt16;
  # 1.
  requestId @1 :Data;
  # 16 bytes, or empty for node commands that are harmless to repeat.
  actor @2 :Actor;
  command :union {
    none @3 :Void;
    # Never valid: an all-zero message must not mean a command.
    enqueue @4 :Queue.EnqueueParams;
    batchEnqueue @5 :Queue.BatchEnqueueParams;
    ack @6 :Queue.AckParams;
    expire @7 :Queue.ExpireParams;
    changeSettings @8 :Settings.ChangeSettingsParams;
    putSecret @9 :Account.PutSecret;
    createAccount @10 :Account.CreateAccount;
    deleteAccount @11 :Account.DeleteAccountParams;
    replaceRecord @12 :Account.ReplaceRecord;
    beginLogin @13 :Account.BeginLogin;
    openSession @14 :Account.OpenSession;
    renewSessions @15 :Account.RenewSessions;
    closeSessions @16 :Account.CloseSessions;
    registerDevice @17 :Account.RegisterDeviceParams;
    revokeDevice @18 :Account.RevokeDeviceParams;
    publishEndpoint @19 :Account.PublishEndpointParams;
    uploadKeyPackages @20 :Keys.UploadKeyPackagesParams;
    claimKeyPackages @21 :Keys.FetchKeyPackagesParams;
    uploadHybridKey @22 :Keys.UploadHybridKeyParams;
    createChannel @23 :Channel.CreateChannelParams;
    drain @24 :Queue.DrainParams;
    publishCommit @25 :Group.PublishCommitParams;
    setInstance @26 :Account.SetInstance;
    setContacts @27 :Account.SetContactsParams;
    createInvite @28 :Account.CreateInviteParams;
    refuse @29 :Account.Refuse;
    changeNodeKey @30 :ChangeNodeKey;
  }
}

struct ChangeNodeKey {
  # Which key a node of the cluster proves to have in handshakes, and which keys no node
  # may have.
  node @0 :Text;
  # Its id; empty with deny and allow, which may name a key alone.
  key @1 :Data;
  # SHA-256 of the SubjectPublicKeyInfo of its certificate, 32 bytes; empty with deny: the
  # key that the node has.
  change @2 :Change;

  enum Change {
    bind @0;
    # A member's first key, which the leader has met. Refused if another is bound.
    replace @1;
    # By an operator: the node has another key from here on, or will have this one when it
    # becomes a member.
    forget @2;
    # The node is no member any more.
    deny @3;
    # By an operator: nobody lets the key in from here on.
    allow @4;
    # By an operator: takes a denial back.
  }
}

struct Batch {
  stampMs @0 :UInt64;
  # The leader's time, milliseconds since 1970, never below the last stamp it wrote.
  entries @1 :List(Data);
  # Each a framed Entry message.
}

struct Result {
  # What applying an entry gave. Replicated data: the same on every node.
  code @0 :Code;
  value @1 :UInt64;
  # See Failure.value.
  results @2 :AnyPointer;
  # The method's results struct when code is ok.
}
