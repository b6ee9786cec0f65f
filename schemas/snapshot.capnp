@0xd84f2e6a91b35c0d;
# The head of a snapshot stream: what a node that fell behind receives.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

struct SnapshotHeader {
  formatVersion @0 :UInt16;
  # 1.
  commandIndex @1 :UInt64;
  # Last command in the snapshot; may be above raft's snapshot index, never below.
  digest @2 :UInt64;
  stampMs @3 :UInt64;
  files @4 :List(File);

  struct File {
    name @0 :Text;
    # Base name, no path.
    size @1 :UInt64;
    # Bytes.
  }
}
