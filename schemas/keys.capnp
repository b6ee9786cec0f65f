@0xe90c3f4a2b6d8177;
# Key packages and hybrid keys.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;
using Code = import "codes.capnp".Code;

struct UploadKeyPackageParams {
  identityKey @0 :Data;
  package @1 :Data;
  # MLSMessage or bare KeyPackage, at most 16 KiB.
  auth @2 :Auth;
}

struct UploadKeyPackageResults {
  fingerprint @0 :Data;
  # SHA-256 of the package as it was sent.
  remaining @1 :UInt32;
  # Packages of this device that wait to be taken, the last-resort one aside.
  low @2 :Bool;
  # So few remain that the device should upload more.
}

struct FetchKeyPackageParams {
  identityKey @0 :Data;
  # Whose package is wanted.
  auth @1 :Auth;
  deviceId @2 :Data;
  # Empty: the oldest package of any of the account's devices.
}

struct FetchKeyPackageResults {
  package @0 :Data;
  deviceId @1 :Data;
  lastResort @2 :Bool;
}

struct UploadKeyPackagesParams {
  identityKey @0 :Data;
  packages @1 :List(Data);
  # At most 100, all or none of them are taken.
  lastResort @2 :Data;
  # Empty: the present one stays.
  auth @3 :Auth;
  # In a log entry set by the node, in the order of packages, and for lastResort
  # at the end:
  expiresMs @4 :List(UInt64);
  # The end of each package's lifetime, milliseconds since 1970.
  signatureKey @5 :Data;
  # The key in the packages' leaves: must be the device's when the entry is applied.
}

struct UploadKeyPackagesResults {
  remaining @0 :UInt32;
  fingerprints @1 :List(Data);
  # In the order of packages, lastResort at the end.
  low @2 :Bool;
}

struct FetchKeyPackagesParams {
  identityKey @0 :Data;
  auth @1 :Auth;
  deviceId @2 :Data;
  # Empty: one package for each of the account's devices.
  oldestOnly @3 :Bool;
  # In a log entry set by the node for fetchKeyPackage.
}

struct ClaimedKeyPackage {
  deviceId @0 :Data;
  package @1 :Data;
  lastResort @2 :Bool;
  code @3 :Code;
  # KEY_PACKAGE_NONE if the device has none.
}

struct FetchKeyPackagesResults {
  packages @0 :List(ClaimedKeyPackage);
}

struct KeyPackageCountParams {
  auth @0 :Auth;
}

struct KeyPackageCountResults {
  remaining @0 :UInt32;
  hasLastResort @1 :Bool;
  low @2 :Bool;
  incarnation @3 :UInt64;
  # Changes when the cluster was restored from a backup: then upload anew.
}

struct UploadHybridKeyParams {
  identityKey @0 :Data;
  hybridPublicKey @1 :Data;
  # 1,216 bytes: ML-KEM-768, then X25519.
  auth @2 :Auth;
  signature @3 :Data;
  # Empty, or 64 bytes: the device key's (without a device the account key's)
  # signature over the key (docs/protocol.md gives the bytes).
}

struct UploadHybridKeyResults {
}

struct FetchHybridKeyParams {
  identityKey @0 :Data;
  auth @1 :Auth;
  deviceId @2 :Data;
  # Empty: the account's own key, else that of its first device that has one.
}

struct FetchHybridKeyResults {
  hybridPublicKey @0 :Data;
  deviceId @1 :Data;
  signature @2 :Data;
}

struct FetchHybridKeysParams {
  identityKeys @0 :List(Data);
  # At most 256 accounts.
  auth @1 :Auth;
}

struct HybridKey {
  identityKey @0 :Data;
  deviceId @1 :Data;
  # Empty: the account's own.
  hybridPublicKey @2 :Data;
  # Empty: the device has none.
  signature @3 :Data;
  deviceKey @4 :Data;
  deviceSignature @5 :Data;
  # The account's signature over the device, so that the whole chain can be checked.
}

struct FetchHybridKeysResults {
  keys @0 :List(HybridKey);
  # Every device of every account that exists, in the order of identityKeys.
}
