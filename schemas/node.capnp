@0xd5ca5648a9cc1c28;
# The contract between clients and nodes, and the messages that carry it.
#
# The interface is a table of method numbers and parameter structs. It is never
# run by the Cap'n Proto RPC runtime (docs/decisions/0002): a QUIC stream of
# ALPN qpq/1 carries calls in turn, each a Request answered by a Response, in
# Cap'n Proto's standard stream framing.

using Go = import "/go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Code = import "codes.capnp".Code;
using Queue = import "queue.capnp";
using Keys = import "keys.capnp";

struct HealthParams {
}

struct HealthResults {
  status @0 :Text;
  # "ok", "no-leader", "catching-up", "draining" or "read-only".
  nodeId @1 :Text;
  leader @2 :Bool;
  featureLevel @3 :UInt32;
}

interface NodeService {
  uploadKeyPackage @0 Keys.UploadKeyPackageParams -> Keys.UploadKeyPackageResults;
  fetchKeyPackage @1 Keys.FetchKeyPackageParams -> Keys.FetchKeyPackageResults;
  enqueue @2 Queue.EnqueueParams -> Queue.EnqueueResults;
  fetch @3 Queue.FetchParams -> Queue.FetchResults;
  fetchWait @4 Queue.FetchWaitParams -> Queue.FetchResults;
  health @5 HealthParams -> HealthResults;
  uploadHybridKey @6 Keys.UploadHybridKeyParams -> Keys.UploadHybridKeyResults;
  fetchHybridKey @7 Keys.FetchHybridKeyParams -> Keys.FetchHybridKeyResults;
}

struct Request {
  method @0 :UInt16;
  # Ordinal in NodeService.
  requestId @1 :Data;
  # Empty, or 16 random bytes: repeating a write with the same id applies it once.
  seen @2 :UInt64;
  # Highest index that the caller has seen; the node waits until it has applied it.
  params @3 :AnyPointer;
  timeoutMs @4 :UInt32;
  # How long the caller waits; 0: the method's default.
  linearizable @5 :Bool;
  # For reads: confirm with the leader that nothing acknowledged is missing.
}

struct Response {
  index @0 :UInt64;
  # Log index that the answer reflects.
  union {
    results @1 :AnyPointer;
    error @2 :Failure;
  }
}

struct Failure {
  code @0 :Code;
  message @1 :Text;
  # For people; programs look at the code.
  retryAfterMs @2 :UInt32;
  value @3 :UInt64;
  # The number that the code speaks of: a limit, an epoch, an index.
}
