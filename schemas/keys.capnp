@0xe90c3f4a2b6d8177;
# Key packages and hybrid keys.

using Go = import "/go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;

struct UploadKeyPackageParams {
  identityKey @0 :Data;
  package @1 :Data;
  auth @2 :Auth;
}

struct UploadKeyPackageResults {
  fingerprint @0 :Data;
}

struct FetchKeyPackageParams {
  identityKey @0 :Data;
  auth @1 :Auth;
}

struct FetchKeyPackageResults {
  package @0 :Data;
}

struct UploadHybridKeyParams {
  identityKey @0 :Data;
  hybridPublicKey @1 :Data;
  auth @2 :Auth;
}

struct UploadHybridKeyResults {
}

struct FetchHybridKeyParams {
  identityKey @0 :Data;
  auth @1 :Auth;
}

struct FetchHybridKeyResults {
  hybridPublicKey @0 :Data;
}
