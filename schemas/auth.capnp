@0xa3d95f6b7c1e4d08;
# Who is calling.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

struct Auth {
  version @0 :UInt16;
  # 1.
  accessToken @1 :Data;
  # 32 bytes, given by login. Never part of a log entry.
  deviceId @2 :Data;
  # 16 bytes.
}
