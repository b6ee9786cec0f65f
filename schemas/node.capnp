@0xd5ca5648a9cc1c28;
# The contract between clients and nodes, and the messages that carry it.
#
# The interface is a table of method numbers and parameter structs. It is never
# run by the Cap'n Proto RPC runtime (docs/decisions/0002): a QUIC stream of
# ALPN qpq/1 carries calls in turn, each a Request answered by a Response, in
# Cap'n Proto's standard stream framing.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Code = import "codes.capnp".Code;
using Account = import "account.capnp";
using Blob = import "blob.capnp";
using Channel = import "channel.capnp";
using Group = import "group.capnp";
using Keys = import "keys.capnp";
using Queue = import "queue.capnp";

struct HealthParams {
}

struct HealthResults {
  status @0 :Text;
  # "ok", "no-leader", "catching-up", "draining" or "read-only".
  nodeId @1 :Text;
  leader @2 :Bool;
  featureLevel @3 :UInt32;
  members @4 :List(Text);
  # HOST:PORT of each node of the cluster, from the replicated membership; at most 16.
  # Who answers there proves by its certificate that it is one.
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
  opaqueRegisterStart @8 Account.OpaqueRegisterStartParams -> Account.OpaqueRegisterStartResults;
  opaqueRegisterFinish @9 Account.OpaqueRegisterFinishParams -> Account.OpaqueRegisterFinishResults;
  opaqueLoginStart @10 Account.OpaqueLoginStartParams -> Account.OpaqueLoginStartResults;
  opaqueLoginFinish @11 Account.OpaqueLoginFinishParams -> Account.OpaqueLoginFinishResults;
  publishEndpoint @12 Account.PublishEndpointParams -> Account.PublishEndpointResults;
  resolveEndpoint @13 Account.ResolveEndpointParams -> Account.ResolveEndpointResults;
  peek @14 Queue.PeekParams -> Queue.PeekResults;
  ack @15 Queue.AckParams -> Queue.AckResults;
  fetchHybridKeys @16 Keys.FetchHybridKeysParams -> Keys.FetchHybridKeysResults;
  batchEnqueue @17 Queue.BatchEnqueueParams -> Queue.BatchEnqueueResults;
  createChannel @18 Channel.CreateChannelParams -> Channel.CreateChannelResults;
  resolveUser @19 Account.ResolveUserParams -> Account.ResolveUserResults;
  resolveIdentity @20 Account.ResolveIdentityParams -> Account.ResolveIdentityResults;
  uploadBlob @21 Blob.UploadBlobParams -> Blob.UploadBlobResults;
  downloadBlob @22 Blob.DownloadBlobParams -> Blob.DownloadBlobResults;
  deleteAccount @23 Account.DeleteAccountParams -> Account.DeleteAccountResults;
  registerDevice @24 Account.RegisterDeviceParams -> Account.RegisterDeviceResults;
  listDevices @25 Account.ListDevicesParams -> Account.ListDevicesResults;
  revokeDevice @26 Account.RevokeDeviceParams -> Account.RevokeDeviceResults;
  bindSession @27 Account.BindSessionParams -> Account.BindSessionResults;
  whoami @28 Account.WhoamiParams -> Account.WhoamiResults;
  logout @29 Account.LogoutParams -> Account.LogoutResults;
  changePasswordStart @30 Account.ChangePasswordStartParams -> Account.ChangePasswordStartResults;
  changePasswordFinish @31 Account.ChangePasswordFinishParams -> Account.ChangePasswordFinishResults;
  listChannels @32 Channel.ListChannelsParams -> Channel.ListChannelsResults;
  subscribe @33 Queue.SubscribeParams -> Queue.SubscribeResults;
  publishCommit @34 Group.PublishCommitParams -> Group.PublishCommitResults;
  fetchGroup @35 Group.FetchGroupParams -> Group.FetchGroupResults;
  uploadKeyPackages @36 Keys.UploadKeyPackagesParams -> Keys.UploadKeyPackagesResults;
  fetchKeyPackages @37 Keys.FetchKeyPackagesParams -> Keys.FetchKeyPackagesResults;
  keyPackageCount @38 Keys.KeyPackageCountParams -> Keys.KeyPackageCountResults;
  setContacts @39 Account.SetContactsParams -> Account.SetContactsResults;
  createInvite @40 Account.CreateInviteParams -> Account.CreateInviteResults;
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
  first @6 :Bool;
  # For writes: this request id was never sent before, so the node may refuse by
  # its own state what the log would refuse. Without, every write goes to the log.
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
