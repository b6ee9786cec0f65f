@0xb4a1d0c3a5f27e11;
# The one table of error codes. Append only: a code that was released keeps its
# number, its name and its meaning for ever. E001 is number 1, and so on.
#
# To add a code: append an enumerant to Code and a row to codeTable, run
# `make gen`. fsm, rpc and client share the numbers; people read the rows
# (`qpq errors E022`, docs/errors.md).

using Go = import "go.capnp";
$Go.package("schemas");
$Go.import("quicproquo/schemas");

enum Code {
  ok @0;
  authVersionUnsupported @1;
  tokenMissing @2;
  tokenInvalid @3;
  tokenExpired @4;
  identityRequired @5;
  identityMismatch @6;
  keyLength @7;
  payloadEmpty @8;
  payloadTooLarge @9;
  wireVersionUnsupported @10;
  channelIdLength @11;
  queueFull @12;
  rateLimited @13;
  usernameInvalid @14;
  usernameTaken @15;
  opaqueStartFailed @16;
  opaqueFinishFailed @17;
  noPendingLogin @18;
  storage @19;
  hybridKeyLength @20;
  timeoutTooLarge @21;
  channelAccessDenied @22;
  channelNotFound @23;
  blobTooLarge @24;
  blobNotFound @25;
  blobHashMismatch @26;
  blobQuota @27;
  reserved28 @28;
  deviceLimit @29;
  deviceNotFound @30;
  unavailable @31;
  unknownOutcome @32;
  malformed @33;
  messageTooLarge @34;
  unknownMethod @35;
  requestIdLength @36;
  deadlineExceeded @37;
  lagging @38;
  diskFull @39;
  settingUnknown @40;
  settingRange @41;
  featureLevel @42;
  tooManyRecipients @43;
  recipientsEmpty @44;
  ttlTooLarge @45;
  ackBeyondEnd @46;
  notPermitted @47;
  internal @48;
  seenTooFarAhead @49;
  memberUnknown @50;
  memberExists @51;
  duplicateRecipient @52;
  accountNotFound @53;
  identityTaken @54;
  signatureInvalid @55;
  bindingRequired @56;
  bindingConflict @57;
  deviceExists @58;
  keyPackageNone @59;
  keyPackageInvalid @60;
  keyPackageUsed @61;
  keyPackageLimit @62;
  epochConflict @63;
  groupProofInvalid @64;
  groupNotFound @65;
  groupIdLength @66;
  accountQueueFull @67;
  channelWithSelf @68;
  secretVersion @69;
  notServed @70;
  listTooLong @71;
  textTooLong @72;
  hybridKeyNone @73;
  statementRequired @74;
  usernameMixed @75;
  usernameConfusable @76;
  instanceReplaced @77;
  requestIdReused @78;
  senderShareFull @79;
  contactLimit @80;
  registrationClosed @81;
  inviteRequired @82;
  inviteInvalid @83;
  inviteTerms @84;
  groupQuota @85;
  nodeKeyBound @86;
  nodeKeyDenied @87;
  nodeKeyMajority @88;
}

enum Retry {
  never @0;
  # The same call will fail again: mend the call.
  elsewhere @1;
  # Certainly not applied: repeat at once, on another node if there is one.
  later @2;
  # Not applied: repeat after a pause (Failure.retryAfterMs when it is set).
  sameRequestId @3;
  # May have been applied: repeat only with the same request id.
}

struct CodeInfo {
  code @0 :Code;
  name @1 :Text;
  # SCREAMING_SNAKE name that logs and people use.
  retry @2 :Retry;
  meaning @3 :Text;
  # What happened, in one sentence.
  hint @4 :Text;
  # What to do about it.
}

const codeTable :List(CodeInfo) = [
  (code = ok, name = "OK", retry = never, meaning = "The call succeeded.", hint = "Nothing to do."),
  (code = authVersionUnsupported, name = "AUTH_VERSION_UNSUPPORTED", retry = never, meaning = "The auth structure has a version that this server does not know.", hint = "Send auth version 1, or update the client."),
  (code = tokenMissing, name = "TOKEN_MISSING", retry = never, meaning = "The method needs a session and the call carried none.", hint = "Log in, then bind the session to the connection or send its token."),
  (code = tokenInvalid, name = "TOKEN_INVALID", retry = never, meaning = "The session token is unknown or revoked.", hint = "Log in again."),
  (code = tokenExpired, name = "TOKEN_EXPIRED", retry = never, meaning = "The session has expired.", hint = "Log in again."),
  (code = identityRequired, name = "IDENTITY_REQUIRED", retry = never, meaning = "The call needs an identity key and carried none.", hint = "Send the account's 32-byte Ed25519 identity key."),
  (code = identityMismatch, name = "IDENTITY_MISMATCH", retry = never, meaning = "The identity key is not the one of the session's account.", hint = "Use the identity key that the account was registered with."),
  (code = keyLength, name = "KEY_LENGTH", retry = never, meaning = "A key has the wrong length.", hint = "Account and device keys are 32 bytes, device ids 16 bytes."),
  (code = payloadEmpty, name = "PAYLOAD_EMPTY", retry = never, meaning = "The payload is empty.", hint = "Send at least one byte."),
  (code = payloadTooLarge, name = "PAYLOAD_TOO_LARGE", retry = never, meaning = "The payload is over the body limit.", hint = "Send at most 1 MiB in one envelope; split it or send a blob."),
  (code = wireVersionUnsupported, name = "WIRE_VERSION_UNSUPPORTED", retry = never, meaning = "The call has a wire version that this server does not know.", hint = "Send wire version 1, or update the client."),
  (code = channelIdLength, name = "CHANNEL_ID_LENGTH", retry = never, meaning = "A channel id is neither empty nor 16 bytes.", hint = "Send the 16-byte id that createChannel returned, or none for the inbox."),
  (code = queueFull, name = "QUEUE_FULL", retry = later, meaning = "The recipient's queue has reached its limit of envelopes or bytes.", hint = "Nothing was dropped: send again when the recipient has fetched."),
  (code = rateLimited, name = "RATE_LIMITED", retry = later, meaning = "Too many calls of this kind in a short time.", hint = "Wait for the time in retryAfterMs, then send again."),
  (code = usernameInvalid, name = "USERNAME_INVALID", retry = never, meaning = "The username is not allowed (PRECIS UsernameCaseMapped).", hint = "Use letters and digits, without spaces; see the message for the character that is refused."),
  (code = usernameTaken, name = "USERNAME_TAKEN", retry = never, meaning = "Another account has this username.", hint = "Choose another username."),
  (code = opaqueStartFailed, name = "OPAQUE_START_FAILED", retry = never, meaning = "The first OPAQUE message could not be used.", hint = "Check that both sides use the suite and context of docs/protocol.md."),
  (code = opaqueFinishFailed, name = "OPAQUE_FINISH_FAILED", retry = never, meaning = "The login failed.", hint = "Check the username and the password."),
  (code = noPendingLogin, name = "NO_PENDING_LOGIN", retry = never, meaning = "The handshake is unknown, used or expired.", hint = "Start the login again; a handshake is good for 60 seconds."),
  (code = storage, name = "STORAGE", retry = elsewhere, meaning = "This node could not read its store.", hint = "Try another node; the operator finds the reason in this node's log."),
  (code = hybridKeyLength, name = "HYBRID_KEY_LENGTH", retry = never, meaning = "The hybrid public key has the wrong length.", hint = "Send 1,216 bytes: ML-KEM-768 then X25519."),
  (code = timeoutTooLarge, name = "TIMEOUT_TOO_LARGE", retry = never, meaning = "The wait is longer than the server allows.", hint = "Wait at most 60,000 ms in one call and call again."),
  (code = channelAccessDenied, name = "CHANNEL_ACCESS_DENIED", retry = never, meaning = "The caller is not a member of the channel, or the recipient is not its other member.", hint = "Use a channel of your own; createChannel with the peer returns its id."),
  (code = channelNotFound, name = "CHANNEL_NOT_FOUND", retry = never, meaning = "There is no channel with this id.", hint = "Create the channel with createChannel."),
  (code = blobTooLarge, name = "BLOB_TOO_LARGE", retry = never, meaning = "The blob is over the size limit.", hint = "Send a smaller blob."),
  (code = blobNotFound, name = "BLOB_NOT_FOUND", retry = never, meaning = "There is no blob with this id.", hint = "The blob may have expired: ask its sender to upload it again."),
  (code = blobHashMismatch, name = "BLOB_HASH_MISMATCH", retry = never, meaning = "The uploaded bytes do not match the announced hash.", hint = "Upload the blob again."),
  (code = blobQuota, name = "BLOB_QUOTA", retry = later, meaning = "The account's blob quota is used up.", hint = "Delete blobs, or wait until old ones expire."),
  (code = reserved28, name = "RESERVED_28", retry = never, meaning = "Not in use.", hint = "Nothing to do."),
  (code = deviceLimit, name = "DEVICE_LIMIT", retry = never, meaning = "The account has as many devices as are allowed.", hint = "Revoke a device first."),
  (code = deviceNotFound, name = "DEVICE_NOT_FOUND", retry = never, meaning = "The account has no such device.", hint = "List the devices with listDevices."),
  (code = unavailable, name = "UNAVAILABLE", retry = elsewhere, meaning = "The write was certainly not applied: no leader could take it in time.", hint = "Send it again, to any node."),
  (code = unknownOutcome, name = "UNKNOWN_OUTCOME", retry = sameRequestId, meaning = "The write may or may not have been applied.", hint = "Send it again with the same request id: it is applied once at most."),
  (code = malformed, name = "MALFORMED", retry = never, meaning = "The message is not a readable Cap'n Proto message of the expected kind.", hint = "Check the framing and the schema version of the client."),
  (code = messageTooLarge, name = "MESSAGE_TOO_LARGE", retry = never, meaning = "The message is over the limit of its method.", hint = "Send less in one call; docs/limits.md lists the limits."),
  (code = unknownMethod, name = "UNKNOWN_METHOD", retry = never, meaning = "The server does not know this method number.", hint = "Update the server, or call a method that it has."),
  (code = requestIdLength, name = "REQUEST_ID_LENGTH", retry = never, meaning = "The request id is neither empty nor 16 bytes.", hint = "Send 16 random bytes, and the same ones when you repeat the call."),
  (code = deadlineExceeded, name = "DEADLINE_EXCEEDED", retry = elsewhere, meaning = "The call did not finish in its time and changed nothing.", hint = "Call again, perhaps on another node."),
  (code = lagging, name = "LAGGING", retry = elsewhere, meaning = "This node has not applied yet what the caller has already seen.", hint = "Call another node, or this one again a little later."),
  (code = diskFull, name = "DISK_FULL", retry = elsewhere, meaning = "The node refuses writes because its disk is nearly full.", hint = "The operator frees disk space; nothing acknowledged is lost."),
  (code = settingUnknown, name = "SETTING_UNKNOWN", retry = never, meaning = "There is no cluster setting of this name.", hint = "docs/settings.md lists the settings."),
  (code = settingRange, name = "SETTING_RANGE", retry = never, meaning = "The value is outside the range of the setting.", hint = "docs/settings.md lists the range and unit of each setting."),
  (code = featureLevel, name = "FEATURE_LEVEL", retry = later, meaning = "Not every node of the cluster knows this command yet.", hint = "Finish the upgrade of all nodes, then send again."),
  (code = tooManyRecipients, name = "TOO_MANY_RECIPIENTS", retry = never, meaning = "The call names more recipients than one entry may have.", hint = "Send to at most 4,096 recipients in one call."),
  (code = recipientsEmpty, name = "RECIPIENTS_EMPTY", retry = never, meaning = "The call names no recipient.", hint = "Name at least one recipient."),
  (code = ttlTooLarge, name = "TTL_TOO_LARGE", retry = never, meaning = "The time to live is over the cluster's limit.", hint = "Ask for a shorter time, or none for the cluster's default."),
  (code = ackBeyondEnd, name = "ACK_BEYOND_END", retry = never, meaning = "The acknowledged sequence number was never given out in this queue.", hint = "Acknowledge the highest sequence number that was received."),
  (code = notPermitted, name = "NOT_PERMITTED", retry = never, meaning = "The caller may not use this command.", hint = "Use an account or a node that may."),
  (code = internal, name = "INTERNAL", retry = elsewhere, meaning = "The server met a condition that it should not meet.", hint = "Report it with the time and the node; the node's log has the details."),
  (code = seenTooFarAhead, name = "SEEN_TOO_FAR_AHEAD", retry = never, meaning = "The seen index is beyond anything that this cluster has written.", hint = "The client knows another cluster, or this one was restored from a backup: forget the seen index."),
  (code = memberUnknown, name = "MEMBER_UNKNOWN", retry = never, meaning = "The cluster has no node with this id.", hint = "`qpqd status` lists the members."),
  (code = memberExists, name = "MEMBER_EXISTS", retry = never, meaning = "Another node of the cluster has this address.", hint = "Give each node an address of its own; a node that is gone is removed first."),
  (code = duplicateRecipient, name = "DUPLICATE_RECIPIENT", retry = never, meaning = "The call names one queue twice.", hint = "Name each recipient once."),
  (code = accountNotFound, name = "ACCOUNT_NOT_FOUND", retry = never, meaning = "There is no account with this name or identity key.", hint = "Check the name or the key; the account may have been deleted."),
  (code = identityTaken, name = "IDENTITY_TAKEN", retry = never, meaning = "Another account has this identity key.", hint = "Register with a new key pair, or log in to the account that has this one."),
  (code = signatureInvalid, name = "SIGNATURE_INVALID", retry = never, meaning = "A signature in the call does not verify.", hint = "Sign exactly the bytes that docs/protocol.md gives, with the key that it names."),
  (code = bindingRequired, name = "BINDING_REQUIRED", retry = never, meaning = "The session may not be used by its token alone.", hint = "Bind it to the connection with bindSession; the cluster setting bearer_tokens says which sessions need that."),
  (code = bindingConflict, name = "BINDING_CONFLICT", retry = never, meaning = "The connection is bound to another session.", hint = "Open a connection of its own for each session."),
  (code = deviceExists, name = "DEVICE_EXISTS", retry = never, meaning = "The account has a device with this id and another key.", hint = "Draw a new device id: ids are never used again."),
  (code = keyPackageNone, name = "KEY_PACKAGE_NONE", retry = later, meaning = "The device has no key package left, and no last-resort one.", hint = "Its owner uploads more when the device is online: try again later."),
  (code = keyPackageInvalid, name = "KEY_PACKAGE_INVALID", retry = never, meaning = "The key package is not acceptable.", hint = "The message says why: format, suite, signature, lifetime or signature key."),
  (code = keyPackageUsed, name = "KEY_PACKAGE_USED", retry = never, meaning = "The key package was uploaded before.", hint = "Generate new ones: each is used once."),
  (code = keyPackageLimit, name = "KEY_PACKAGE_LIMIT", retry = never, meaning = "The device has as many key packages as are kept.", hint = "Upload more when some have been taken; keyPackageCount tells."),
  (code = epochConflict, name = "EPOCH_CONFLICT", retry = never, meaning = "The group is in another epoch.", hint = "value is the group's epoch: process the commit that won, then build a new one."),
  (code = groupProofInvalid, name = "GROUP_PROOF_INVALID", retry = never, meaning = "The proof does not fit the group's epoch.", hint = "Export it from the epoch that the commit ends (docs/protocol.md)."),
  (code = groupNotFound, name = "GROUP_NOT_FOUND", retry = never, meaning = "There is no record of this group.", hint = "It was never published, or was idle for too long: publish it anew."),
  (code = groupIdLength, name = "GROUP_ID_LENGTH", retry = never, meaning = "A group id has fewer than 16 or more than 64 bytes.", hint = "Use the MLS group id, 16 to 64 random bytes."),
  (code = accountQueueFull, name = "ACCOUNT_QUEUE_FULL", retry = later, meaning = "All queues of the recipient's account together have reached their limit of bytes.", hint = "Nothing was dropped: send again when the recipient has fetched."),
  (code = channelWithSelf, name = "CHANNEL_WITH_SELF", retry = never, meaning = "A channel needs two accounts.", hint = "Send to your own devices through the inbox."),
  (code = secretVersion, name = "SECRET_VERSION", retry = never, meaning = "The secret has another version by now.", hint = "Read it again."),
  (code = notServed, name = "NOT_SERVED", retry = never, meaning = "The method is declared and this version does not serve it yet.", hint = "Update the server when a version serves it."),
  (code = listTooLong, name = "LIST_TOO_LONG", retry = never, meaning = "A list in the call has more members than are allowed.", hint = "value is the limit: send the rest in further calls."),
  (code = textTooLong, name = "TEXT_TOO_LONG", retry = never, meaning = "A name or other small field in the call is too long.", hint = "value is the limit in bytes."),
  (code = hybridKeyNone, name = "HYBRID_KEY_NONE", retry = later, meaning = "The device has uploaded no hybrid key.", hint = "Its owner uploads one with uploadHybridKey: try again later."),
  (code = statementRequired, name = "STATEMENT_REQUIRED", retry = never, meaning = "This needs a statement that is signed by the account's identity key.", hint = "Update this program: docs/protocol.md gives the bytes to sign. A session or a node alone can't do it."),
  (code = usernameMixed, name = "USERNAME_MIXED", retry = never, meaning = "The username mixes scripts, so that it may look like another one.", hint = "Use the letters of one script, such as only Latin or only Cyrillic ones."),
  (code = usernameConfusable, name = "USERNAME_CONFUSABLE", retry = never, meaning = "The username looks like that of another account.", hint = "Choose a username that can be told from others at a glance."),
  (code = instanceReplaced, name = "INSTANCE_REPLACED", retry = never, meaning = "Another copy of this device's keys is in use: the profile was copied, or restored from a backup.", hint = "Use one copy only. To go on with this one, take the device over (`qpq take-over`); value is the instance in use."),
  (code = requestIdReused, name = "REQUEST_ID_REUSED", retry = never, meaning = "The request id was used before, for another command: nothing was done now.", hint = "Draw a new request id for each command; repeat one only with exactly what it was sent with."),
  (code = senderShareFull, name = "SENDER_SHARE_FULL", retry = later, meaning = "The sender has used up its share of the recipient's queue.", hint = "Nothing was dropped: send again when the recipient has fetched. The share of who is no contact of the recipient is small; it grows once the recipient accepts or answers."),
  (code = contactLimit, name = "CONTACT_LIMIT", retry = never, meaning = "The account has told the cluster of as many contacts, or of as many blocked accounts, as are kept.", hint = "value is the limit: take some back first."),
  (code = registrationClosed, name = "REGISTRATION_CLOSED", retry = never, meaning = "This cluster takes no new accounts.", hint = "Ask its operator, who opens registration with `qpqd set registration=open`."),
  (code = inviteRequired, name = "INVITE_REQUIRED", retry = never, meaning = "This cluster takes new accounts by invitation only, and the registration carried no invite token.", hint = "Ask an operator or a member for a token and pass it: `qpq register NAME --invite TOKEN`."),
  (code = inviteInvalid, name = "INVITE_INVALID", retry = never, meaning = "The invite token is unknown, used up or expired.", hint = "Check that it was copied whole, or ask for a new one."),
  (code = inviteTerms, name = "INVITE_TERMS", retry = never, meaning = "The invite has more uses or a longer life than is allowed, or there is one with this token.", hint = "value is the limit; docs/settings.md says who may invite how many."),
  (code = groupQuota, name = "GROUP_QUOTA", retry = later, meaning = "The account keeps as many group records, or as many bytes in them, as are allowed.", hint = "value is the limit. A record ends when nobody commits in its group for long; the bytes of one count for the account that has committed last."),
  (code = nodeKeyBound, name = "NODE_KEY_BOUND", retry = never, meaning = "The cluster knows another key of this node, or knows this key as another node's.", hint = "If the node was given a new key, say so from another node's directory: `qpqd trust NODE KEY`."),
  (code = nodeKeyDenied, name = "NODE_KEY_DENIED", retry = never, meaning = "The key is one that the cluster has been told to deny.", hint = "Give the node a new key (`qpqd replace`), or take the denial back: `qpqd deny --undo KEY`."),
  (code = nodeKeyMajority, name = "NODE_KEY_MAJORITY", retry = never, meaning = "With this key denied, too few members would be left to elect a leader.", hint = "value is how many members there are: give those that are denied new keys (`qpqd replace`, `qpqd trust`) first."),
];
