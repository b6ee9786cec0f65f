@0xf2b86e0d9a714c35;
# Cluster settings: replicated, so that every node applies the same limits.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

struct Setting {
  name @0 :Text;
  value @1 :UInt64;
  # In the setting's unit; booleans are 0 and 1.
}

struct ChangeSettingsParams {
  settings @0 :List(Setting);
  # All or none of them.
}

struct ChangeSettingsResults {
  changed @0 :UInt32;
}
