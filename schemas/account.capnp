@0xb7d3c2e6508f1a94;
# Accounts, sessions and devices.
#
# A password never comes here: registration and login are OPAQUE (RFC 9807), and
# the messages of its runs are Data whose lengths docs/protocol.md gives.

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

using Auth = import "auth.capnp".Auth;
using Code = import "codes.capnp".Code;

# Registration: start, then finish, on any node each. Nothing is kept in between.

struct OpaqueRegisterStartParams {
  username @0 :Text;
  request @1 :Data;
  # RegistrationRequest, 32 bytes.
}

struct OpaqueRegisterStartResults {
  response @0 :Data;
  # RegistrationResponse, 64 bytes. The same whether the name is taken or not.
  handshake @1 :Data;
  # Name, request and response, sealed: to be given back within 60 seconds, for one
  # account.
}

struct OpaqueRegisterFinishParams {
  username @0 :Text;
  upload @1 :Data;
  # RegistrationRecord, 192 bytes.
  identityKey @2 :Data;
  # The account's identity key, Ed25519, 32 bytes. An account has one for ever.
  identityProof @3 :Data;
  # 64 bytes: identityKey's signature that it registers this name with this upload
  # (docs/protocol.md gives the bytes). So nobody else can have sent it.
  handshake @4 :Data;
  # OpaqueRegisterStartResults.handshake. Since feature level 6 it must be there.
  invite @5 :Data;
  # Empty, or an invite token, 16 bytes: who has one may register while the setting
  # registration is token, and is not held up by others' registrations.
}

struct OpaqueRegisterFinishResults {
  success @0 :Bool;
}

struct CreateInviteParams {
  # Lets somebody register with a token. An operator may make any; a member as many as
  # the setting member_invites_daily says.
  auth @0 :Auth;
  inviteHash @1 :Data;
  # SHA-256 of the token, 32 bytes. The token itself, 16 random bytes, is for whom it
  # invites.
  uses @2 :UInt32;
  # How many accounts it is good for, at most 10,000. 0: the invite, which the caller has
  # made, ends.
  ttlSecs @3 :UInt32;
  # How long it is good; 0: a week, at most what the setting invite_max_secs says.
}

struct CreateInviteResults {
  expiresAtMs @0 :UInt64;
  # Log time.
}

# Login: start, then finish, on any node each.

struct OpaqueLoginStartParams {
  username @0 :Text;
  request @1 :Data;
  # KE1, 96 bytes.
  deviceId @2 :Data;
  # With signature: the registered device that begins the login, 16 bytes; empty: the
  # account itself.
  signature @3 :Data;
  # Empty, or 64 bytes: the device key's (without a device the account key's) over this
  # start (docs/protocol.md gives the bytes). Who shows one that verifies is never behind
  # the wrong passwords of others. One that does not counts as none.
}

struct OpaqueLoginStartResults {
  response @0 :Data;
  # KE2, 320 bytes.
  handshake @1 :Data;
  # The server's state, sealed: to be given back within 60 seconds.
}

struct OpaqueLoginFinishParams {
  username @0 :Text;
  finalization @1 :Data;
  # KE3, 64 bytes.
  identityKey @2 :Data;
  # The account's, 32 bytes; or empty: the one that the name has. Who knows it names it,
  # so that no node can log him in as somebody else.
  handshake @3 :Data;
  deviceId @4 :Data;
  # Empty: a session of the account; else the 16-byte id of a registered device.
}

struct OpaqueLoginFinishResults {
  sessionToken @0 :Data;
  # 32 bytes.
  expiresAtMs @1 :UInt64;
  # Moves on while the session is used.
}

# Changing the password proves the old one by a login of its own.

struct ChangePasswordStartParams {
  auth @0 :Auth;
  loginRequest @1 :Data;
  # KE1 with the present password.
  registrationRequest @2 :Data;
  # With the new password.
}

struct ChangePasswordStartResults {
  loginResponse @0 :Data;
  handshake @1 :Data;
  registrationResponse @2 :Data;
  recordDigest @3 :Data;
  # SHA-256 of the present record, 32 bytes: part of what is signed.
}

struct ChangePasswordFinishParams {
  auth @0 :Auth;
  finalization @1 :Data;
  handshake @2 :Data;
  upload @3 :Data;
  signature @4 :Data;
  # 64 bytes: the identity key's, over recordDigest and the upload
  # (docs/protocol.md gives the bytes).
}

struct ChangePasswordFinishResults {
  revokedSessions @0 :UInt32;
  # All other sessions of the account end.
}

# Sessions.

struct BindSessionParams {
  sessionToken @0 :Data;
  signature @1 :Data;
  # 64 bytes: by the key of the session's device, or of the account for a session
  # without one, over the connection's TLS exporter (docs/protocol.md).
  instance @2 :UInt64;
  # Which copy of the device's keys is in use from now on: a number drawn at random
  # each time that a program begins to use them. 0: the caller has no copies to tell
  # apart; refused for a device of which the cluster remembers an instance.
  held @3 :List(UInt64);
  # The instances that this copy has had or tried to have, at most 16: one of them must
  # be the device's present one, unless the cluster remembers none.
  instanceSignature @4 :Data;
  # With instance: 64 bytes, by the key that signs the binding, over account, device,
  # instance and held (docs/protocol.md).
}

struct BindSessionResults {
  expiresAtMs @0 :UInt64;
  instance @1 :UInt64;
  # The instance that the cluster remembers of the device from now on. 0: the call
  # named none, or not every node of the cluster knows instances.
}

struct WhoamiParams {
  auth @0 :Auth;
}

struct WhoamiResults {
  username @0 :Text;
  identityKey @1 :Data;
  deviceId @2 :Data;
  # Empty for a session without a device.
  expiresAtMs @3 :UInt64;
  createdAtMs @4 :UInt64;
  # When the account was registered, log time.
}

struct LogoutParams {
  auth @0 :Auth;
  all @1 :Bool;
  # All sessions of the account, not only this one.
}

struct LogoutResults {
  revoked @0 :UInt32;
}

struct ResolveUserParams {
  username @0 :Text;
  auth @1 :Auth;
}

struct ResolveUserResults {
  identityKey @0 :Data;
}

struct ResolveIdentityParams {
  identityKey @0 :Data;
  auth @1 :Auth;
}

struct ResolveIdentityResults {
  username @0 :Text;
}

struct DeleteAccountParams {
  auth @0 :Auth;
  signedAtMs @1 :UInt64;
  # When it was signed, by the signer's clock, milliseconds since 1970.
  signature @2 :Data;
  # 64 bytes: the identity key's, that its account ends (docs/protocol.md).
}

struct DeleteAccountResults {
  success @0 :Bool;
}

# Devices.

struct RegisterDeviceParams {
  auth @0 :Auth;
  deviceId @1 :Data;
  # 16 random bytes.
  deviceName @2 :Text;
  # For the account's owner, at most 128 bytes; clients may encrypt it.
  deviceKey @3 :Data;
  # Ed25519, 32 bytes: the device's MLS signature key. Empty: the account's
  # identity key serves.
  signature @4 :Data;
  # With deviceKey: 64 bytes, identityKey's signature over the device
  # (docs/protocol.md gives the bytes).
}

struct RegisterDeviceResults {
  success @0 :Bool;
  # False if the device was there already with the same key.
}

struct Device {
  deviceId @0 :Data;
  deviceName @1 :Text;
  registeredAtMs @2 :UInt64;
  deviceKey @3 :Data;
  signature @4 :Data;
}

struct ListDevicesParams {
  auth @0 :Auth;
  identityKey @1 :Data;
  # Empty: the caller's own devices. Names are given for those only.
  statements @2 :Bool;
  # Return revoked and deletion too. Then an account that was deleted by a statement
  # is answered, and not refused.
}

struct ListDevicesResults {
  devices @0 :List(Device);
  # In the order of their registration.
  revoked @1 :List(Revocation);
  # The account's statements on devices that it revoked, by device id: the 256 that
  # were taken last.
  deletion @2 :Deletion;
  # Set for an account that was deleted; then the lists are empty.
}

struct Revocation {
  # What an account says of a device that is no longer its own. Whoever has it can
  # verify it.
  deviceId @0 :Data;
  signedAtMs @1 :UInt64;
  # By the signer's clock.
  signature @2 :Data;
  revokedAtMs @3 :UInt64;
  # Log time at which the cluster took it.
}

struct Deletion {
  # What an account says of its own end.
  signedAtMs @0 :UInt64;
  signature @1 :Data;
  deletedAtMs @2 :UInt64;
}

struct RevokeDeviceParams {
  auth @0 :Auth;
  deviceId @1 :Data;
  signedAtMs @2 :UInt64;
  # When it was signed, by the signer's clock, milliseconds since 1970.
  signature @3 :Data;
  # 64 bytes: the identity key's, that the device is revoked (docs/protocol.md).
}

struct RevokeDeviceResults {
  success @0 :Bool;
}

# Endpoints: where a device may be reached directly, as it wants others to know.

struct PublishEndpointParams {
  identityKey @0 :Data;
  endpoint @1 :Data;
  # At most 512 bytes, opaque. Empty: withdraw it.
  auth @2 :Auth;
  ttlSecs @3 :UInt32;
  # 0: one hour; at most a day.
}

struct PublishEndpointResults {
}

struct Endpoint {
  deviceId @0 :Data;
  endpoint @1 :Data;
  expiresAtMs @2 :UInt64;
}

struct ResolveEndpointParams {
  identityKey @0 :Data;
  auth @1 :Auth;
}

struct ResolveEndpointResults {
  endpoints @0 :List(Endpoint);
}

# Commands of the log that no method takes as they are: what a node has found out
# about a call. They hold no secret in the clear.

struct PutSecret {
  # A secret of the cluster, wrapped by the cluster key (crypto/account).
  name @0 :Text;
  version @1 :UInt64;
  # One more than the present one: else the command is refused.
  wrapped @2 :Data;
}

struct CreateAccount {
  username @0 :Text;
  # Canonical.
  identityKey @1 :Data;
  record @2 :Data;
  server @3 :Data;
  # The OPAQUE public key that the proof names, 32 bytes.
  proof @4 :Data;
  # OpaqueRegisterFinishParams.identityProof. Since feature level 2 the log checks it.
  handshakeId @5 :Data;
  # 16 bytes, accepted once, since feature level 6.
  handshakeExpiresMs @6 :UInt64;
  inviteHash @7 :Data;
  # SHA-256 of the invite token, 32 bytes; empty: none.
}

struct BeginLogin {
  # Counts an attempt to log in, before the node answers it.
  name @0 :Data;
  # 32 bytes, a keyed hash of the name: names that strangers try are not kept.
  device @1 :Data;
  # 16 bytes: the device of the account that has signed the start, zeros for the account
  # itself; its attempts are counted apart since feature level 5. Empty: a stranger's.
}

struct OpenSession {
  name @0 :Data;
  # As in BeginLogin: a login that succeeds clears the count.
  identityKey @1 :Data;
  # As the caller says.
  username @2 :Text;
  # Canonical.
  deviceId @3 :Data;
  tokenHash @4 :Data;
  # SHA-256 of the session token.
  handshakeId @5 :Data;
  # 16 bytes, accepted once.
  handshakeExpiresMs @6 :UInt64;
  recordDigest @7 :Data;
  # Of the record that the password was proved against.
}

struct ReplaceRecord {
  # changePassword, for the actor's account.
  record @0 :Data;
  handshakeId @1 :Data;
  handshakeExpiresMs @2 :UInt64;
  recordDigest @3 :Data;
  keepTokenHash @4 :Data;
  # The caller's session, which stays.
  signature @5 :Data;
  # ChangePasswordFinishParams.signature. Since feature level 2 the log checks it.
}

struct RenewSessions {
  # Sessions that were used lately, at most 1,024.
  tokenHashes @0 :List(Data);
}

struct CloseSessions {
  # logout, for the actor's account.
  tokenHash @0 :Data;
  # Empty: all sessions of the account.
}

struct SetInstance {
  # bindSession with an instance, for the actor's device.
  instance @0 :UInt64;
  held @1 :List(UInt64);
  signature @2 :Data;
}

struct SetContactsParams {
  # What the caller's account wants of other accounts. It decides what they may put into
  # its queues, and how many of its key packages they may take.
  auth @0 :Auth;
  accounts @1 :List(Data);
  # Their account keys, 32 bytes each, at most 256 of them.
  standing @2 :Standing;

  enum Standing {
    stranger @0;
    # What every account is of which nothing was said.
    contact @1;
    blocked @2;
    # What it sends is dropped, and it is not told.
  }
}

struct SetContactsResults {
  changed @0 :UInt32;
}

struct Refuse {
  # What a node knows to be refused, in place of a large command that was perhaps sent
  # before: the outcome that its request id has, or else this refusal, which is its
  # outcome from then on.
  fingerprint @0 :UInt64;
  # Of the command, so that the id stands for that one only.
  code @1 :Code;
  value @2 :UInt64;
}

struct SetInstanceResults {
  changed @0 :Bool;
  # False if the instance was the device's already.
}
