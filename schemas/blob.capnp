@0xd61e8f4379ab20c5;
# Blobs: large attachments, beside the queues. Declared; not served yet.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;

struct UploadBlobParams {
  auth @0 :Auth;
  blobHash @1 :Data;
  # SHA-256 of the whole blob.
  chunk @2 :Data;
  offset @3 :UInt64;
  totalSize @4 :UInt64;
}

struct UploadBlobResults {
  blobId @0 :Data;
}

struct DownloadBlobParams {
  auth @0 :Auth;
  blobId @1 :Data;
  offset @2 :UInt64;
  length @3 :UInt32;
}

struct DownloadBlobResults {
  chunk @0 :Data;
  totalSize @1 :UInt64;
}
