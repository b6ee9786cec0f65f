package rpc

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"

	"capnproto.org/go/capnp/v3"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/schemas"
)

// hostileRows has a line for each method: a call that is good, what each of its
// parameters is, and what is particular to it. To add a method, add a line.
var hostileRows = map[string]hostileRow{
	"health": {good: nothing[schemas.HealthParams]},

	"opaqueRegisterStart": {
		good: good(func(w *world, p schemas.OpaqueRegisterStartParams) error {
			_, request, err := account.StartRegistration(mustName(w.tb, "dora"), []byte("secret"))
			return errors.Join(err, p.SetUsername("dora"), p.SetRequest(request))
		}),
		fields: "username:name request:start", params: schemas.Code_usernameInvalid,
	},
	"opaqueRegisterFinish": {
		good: good(func(w *world, p schemas.OpaqueRegisterFinishParams) error {
			return w.registration(p, "dora", newKey(w.tb))
		}),
		fields: "username:name upload:finish identityKey:saidKey identityProof:said handshake:handshake invite:any", params: schemas.Code_usernameInvalid,
		more: []hostileCase{
			{"a taken name", func(w *world, p capnp.Struct) {
				_ = w.registration(schemas.OpaqueRegisterFinishParams(p), "ALICE", newKey(w.tb))
			}, schemas.Code_usernameTaken},
			{"a taken key", func(w *world, p capnp.Struct) {
				_ = w.registration(schemas.OpaqueRegisterFinishParams(p), "dora", w.bob.private)
			}, schemas.Code_identityTaken},
			{"a proof of another name", func(_ *world, p capnp.Struct) { _ = schemas.OpaqueRegisterFinishParams(p).SetUsername("dana") }, schemas.Code_noPendingLogin},
			{"an invite of 15 bytes", func(_ *world, p capnp.Struct) { _ = schemas.OpaqueRegisterFinishParams(p).SetInvite(make([]byte, 15)) }, schemas.Code_inviteInvalid},
		},
	},
	"opaqueLoginStart": {
		good: good(func(w *world, p schemas.OpaqueLoginStartParams) error {
			return errors.Join(p.SetUsername("alice"), p.SetRequest(ke1(w.tb, "alice")))
		}),
		fields: "username:name request:start deviceId:any signature:any", params: schemas.Code_usernameInvalid,
	},
	"opaqueLoginFinish": {
		// Nobody here has a password: bytes of the right length fail as a wrong
		// password does. Good ones are login_test.go's.
		good: good(func(w *world, p schemas.OpaqueLoginFinishParams) error {
			return errors.Join(p.SetUsername("alice"), p.SetFinalization(make([]byte, 64)), p.SetIdentityKey(w.alice.key[:]), p.SetHandshake(w.login))
		}),
		want:   schemas.Code_opaqueFinishFailed,
		fields: "username:name finalization:finish identityKey:keyAfterProof handshake:handshake deviceId:any", params: schemas.Code_usernameInvalid,
	},
	"bindSession": {
		good: good(func(w *world, p schemas.BindSessionParams) error {
			signature, err := identity.Bind(worldExporter, sha256.Sum256(w.alice.token)).Sign(w.alice.private)
			return errors.Join(err, p.SetSessionToken(w.alice.token), p.SetSignature(signature))
		}),
		fields: "sessionToken:token signature:signature instance:saidInstance held:any instanceSignature:any", params: schemas.Code_tokenMissing,
		more: []hostileCase{
			{"an expired session", func(w *world, p capnp.Struct) { _ = schemas.BindSessionParams(p).SetSessionToken(w.expired) }, schemas.Code_tokenExpired},
			{"a revoked session", func(w *world, p capnp.Struct) { _ = schemas.BindSessionParams(p).SetSessionToken(w.revoked) }, schemas.Code_tokenInvalid},
			{"another's session", func(w *world, p capnp.Struct) { _ = schemas.BindSessionParams(p).SetSessionToken(w.bob.token) }, schemas.Code_signatureInvalid},
			{"signed by the account for a device with a key", func(w *world, p capnp.Struct) {
				signature, err := identity.Bind(worldExporter, sha256.Sum256(w.onDesk)).Sign(w.alice.private)
				must(w.tb, errors.Join(err, schemas.BindSessionParams(p).SetSessionToken(w.onDesk), schemas.BindSessionParams(p).SetSignature(signature)))
			}, schemas.Code_signatureInvalid},
			{"signed on another connection", func(w *world, p capnp.Struct) {
				signature, err := identity.Bind([32]byte{1}, sha256.Sum256(w.alice.token)).Sign(w.alice.private)
				must(w.tb, errors.Join(err, schemas.BindSessionParams(p).SetSignature(signature)))
			}, schemas.Code_signatureInvalid},
		},
	},

	"whoami": {good: nothing[schemas.WhoamiParams]},
	"setContacts": {
		good: good(func(w *world, p schemas.SetContactsParams) error {
			list, err := p.NewAccounts(1)
			return errors.Join(err, list.Set(0, w.bob.key[:]))
		}),
		fields: "accounts:any standing:any",
		more: []hostileCase{
			{"257 accounts", func(_ *world, p capnp.Struct) { _, _ = schemas.SetContactsParams(p).NewAccounts(257) }, schemas.Code_listTooLong},
			{"a short key", func(_ *world, p capnp.Struct) { _, _ = schemas.SetContactsParams(p).NewAccounts(1) }, schemas.Code_keyLength},
			{"a standing that there is not", func(_ *world, p capnp.Struct) { schemas.SetContactsParams(p).SetStanding(3) }, schemas.Code_malformed},
			{"itself", func(w *world, p capnp.Struct) {
				list, _ := schemas.SetContactsParams(p).NewAccounts(1)
				_ = list.Set(0, w.alice.key[:])
			}, schemas.Code_channelWithSelf},
		},
	},
	"createInvite": {
		good: good(func(_ *world, p schemas.CreateInviteParams) error {
			p.SetUses(1)
			return p.SetInviteHash(bytes.Repeat([]byte{9}, schemas.InviteHashSize))
		}),
		fields: "inviteHash:verifier uses:any ttlSecs:any",
		more: []hostileCase{
			{"for too many", func(_ *world, p capnp.Struct) { schemas.CreateInviteParams(p).SetUses(schemas.MaxInviteUses + 1) }, schemas.Code_inviteTerms},
			{"for too long", func(_ *world, p capnp.Struct) { schemas.CreateInviteParams(p).SetTtlSecs(1 << 31) }, schemas.Code_inviteTerms},
			{"more than a day has", func(_ *world, p capnp.Struct) { schemas.CreateInviteParams(p).SetUses(11) }, schemas.Code_inviteTerms},
			{"to end one that there is not", func(_ *world, p capnp.Struct) { schemas.CreateInviteParams(p).SetUses(0) }, schemas.Code_inviteInvalid},
		},
	},
	"logout": {good: nothing[schemas.LogoutParams], fields: "all:any"},
	"resolveUser": {
		good:   good(func(_ *world, p schemas.ResolveUserParams) error { return p.SetUsername("bob") }),
		fields: "username:knownName", params: schemas.Code_usernameInvalid,
	},
	"resolveIdentity": {
		good:   good(func(w *world, p schemas.ResolveIdentityParams) error { return p.SetIdentityKey(w.bob.key[:]) }),
		fields: "identityKey:otherKey", params: schemas.Code_identityRequired,
	},
	"deleteAccount": {
		good: good(func(w *world, p schemas.DeleteAccountParams) error {
			p.SetSignedAtMs(7)
			return p.SetSignature(w.alice.says(w.tb, identity.DeleteAccount(w.alice.key, 7)))
		}),
		fields: "signedAtMs:saidTime signature:said", params: schemas.Code_statementRequired,
		more: []hostileCase{
			{"signed by another", func(w *world, p capnp.Struct) {
				_ = schemas.DeleteAccountParams(p).SetSignature(w.bob.says(w.tb, identity.DeleteAccount(w.alice.key, 7)))
			}, schemas.Code_signatureInvalid},
			{"another's end", func(w *world, p capnp.Struct) {
				_ = schemas.DeleteAccountParams(p).SetSignature(w.bob.says(w.tb, identity.DeleteAccount(w.bob.key, 7)))
			}, schemas.Code_signatureInvalid},
		},
	},
	"changePasswordStart": {
		good: good(func(w *world, p schemas.ChangePasswordStartParams) error {
			_, request, err := account.StartRegistration(mustName(w.tb, "alice"), []byte("secret"))
			return errors.Join(err, p.SetLoginRequest(ke1(w.tb, "alice")), p.SetRegistrationRequest(request))
		}),
		fields: "loginRequest:start registrationRequest:start", params: schemas.Code_opaqueStartFailed,
	},
	"changePasswordFinish": {
		good: good(func(w *world, p schemas.ChangePasswordFinishParams) error {
			return errors.Join(p.SetFinalization(make([]byte, 64)), p.SetHandshake(w.login), p.SetUpload(bogusUpload(w.tb)))
		}),
		want:   schemas.Code_opaqueFinishFailed,
		fields: "finalization:finish handshake:handshake upload:finish signature:any", params: schemas.Code_opaqueFinishFailed,
	},

	"registerDevice": {
		good: good(func(_ *world, p schemas.RegisterDeviceParams) error {
			return errors.Join(p.SetDeviceId([]byte("a device, new id")), p.SetDeviceName("phone"))
		}),
		fields: "deviceId:thisDevice deviceName:label deviceKey:deviceKey signature:proof", params: schemas.Code_keyLength,
		more: []hostileCase{
			{"a device of zeros", func(_ *world, p capnp.Struct) { _ = schemas.RegisterDeviceParams(p).SetDeviceId(make([]byte, 16)) }, schemas.Code_keyLength},
			{"a name of 129 bytes", func(_ *world, p capnp.Struct) {
				_ = schemas.RegisterDeviceParams(p).SetDeviceName(string(make([]byte, 129)))
			}, schemas.Code_textTooLong},
			{"an id that has a key", func(w *world, p capnp.Struct) { _ = schemas.RegisterDeviceParams(p).SetDeviceId(w.desk[:]) }, schemas.Code_deviceExists},
			{"a key that nobody signed", func(w *world, p capnp.Struct) { _ = schemas.RegisterDeviceParams(p).SetDeviceKey(newKey(w.tb)[32:]) }, schemas.Code_signatureInvalid},
		},
	},
	"listDevices": {good: nothing[schemas.ListDevicesParams], fields: "identityKey:maybeKey statements:any"},
	"revokeDevice": {
		good: good(func(w *world, p schemas.RevokeDeviceParams) error {
			p.SetSignedAtMs(7)
			return errors.Join(p.SetDeviceId(w.phone[:]), p.SetSignature(w.alice.says(w.tb, identity.RevokeDevice(w.alice.key, w.phone, 7))))
		}),
		fields: "deviceId:saidDevice signedAtMs:saidTime signature:said", params: schemas.Code_keyLength,
		more: []hostileCase{
			{"a device that is not there", func(w *world, params capnp.Struct) {
				p, id := schemas.RevokeDeviceParams(params), [16]byte{9}
				_ = errors.Join(p.SetDeviceId(id[:]), p.SetSignature(w.alice.says(w.tb, identity.RevokeDevice(w.alice.key, id, 7))))
			}, schemas.Code_deviceNotFound},
			{"signed by another", func(w *world, p capnp.Struct) {
				_ = schemas.RevokeDeviceParams(p).SetSignature(w.bob.says(w.tb, identity.RevokeDevice(w.alice.key, w.phone, 7)))
			}, schemas.Code_signatureInvalid},
			{"of another's device", func(w *world, p capnp.Struct) {
				_ = schemas.RevokeDeviceParams(p).SetSignature(w.bob.says(w.tb, identity.RevokeDevice(w.bob.key, w.phone, 7)))
			}, schemas.Code_signatureInvalid},
			{"signed by the device", func(w *world, p capnp.Struct) {
				_ = schemas.RevokeDeviceParams(p).SetSignature(w.bob.says(w.tb, identity.Device(w.alice.key, w.phone, [32]byte{})))
			}, schemas.Code_signatureInvalid},
		},
	},
	"publishEndpoint": {
		good: good(func(w *world, p schemas.PublishEndpointParams) error {
			return errors.Join(p.SetIdentityKey(w.alice.key[:]), p.SetEndpoint([]byte("here")))
		}),
		fields: "identityKey:ownKey endpoint:endpoint ttlSecs:ttl", params: schemas.Code_identityRequired,
		more: []hostileCase{
			{"an endpoint of 513 bytes", func(_ *world, p capnp.Struct) { _ = schemas.PublishEndpointParams(p).SetEndpoint(make([]byte, 513)) }, schemas.Code_textTooLong},
		},
	},
	"resolveEndpoint": {
		good:   good(func(w *world, p schemas.ResolveEndpointParams) error { return p.SetIdentityKey(w.bob.key[:]) }),
		fields: "identityKey:otherKey", params: schemas.Code_identityRequired,
	},

	"enqueue": {
		good: good(func(w *world, p schemas.EnqueueParams) error {
			p.SetVersion(1)
			return errors.Join(p.SetRecipientKey(w.bob.key[:]), p.SetPayload([]byte("hello")))
		}),
		fields: "recipientKey:queueKey payload:body channelId:channel ttlSecs:ttl ephemeral:any", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"a body over 1 MiB", func(_ *world, p capnp.Struct) {
				_ = schemas.EnqueueParams(p).SetPayload(make([]byte, schemas.MaxBody+1))
			}, schemas.Code_payloadTooLarge},
			{"wire version 0", func(_ *world, p capnp.Struct) { schemas.EnqueueParams(p).SetVersion(0) }, schemas.Code_wireVersionUnsupported},
			{"a channel of others", func(w *world, p capnp.Struct) { _ = schemas.EnqueueParams(p).SetChannelId(w.foreignChannel[:]) }, schemas.Code_channelAccessDenied},
			{"an own channel to its sender", func(w *world, p capnp.Struct) {
				_ = errors.Join(schemas.EnqueueParams(p).SetChannelId(w.channel[:]), schemas.EnqueueParams(p).SetRecipientKey(w.alice.key[:]))
			}, schemas.Code_channelAccessDenied},
		},
	},
	"batchEnqueue": {
		good: good(func(w *world, p schemas.BatchEnqueueParams) error {
			p.SetVersion(1)
			return errors.Join(recipients(p.NewRecipients, w.bob.key[:]), p.SetPayload([]byte("hello")))
		}),
		fields: "recipients:recipients payload:body channelId:channel ttlSecs:ttl ephemeral:any", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"4,097 recipients", func(_ *world, p capnp.Struct) { _, _ = schemas.BatchEnqueueParams(p).NewRecipients(4097) }, schemas.Code_tooManyRecipients},
			{"500 million recipients of no size", func(_ *world, p capnp.Struct) { setEmptyStructs(p, 0, 1<<29-1) }, schemas.Code_malformed},
			{"one recipient twice", func(w *world, p capnp.Struct) {
				_ = recipients(schemas.BatchEnqueueParams(p).NewRecipients, w.bob.key[:], w.bob.key[:])
			}, schemas.Code_duplicateRecipient},
			{"a short key", func(w *world, p capnp.Struct) {
				_ = recipients(schemas.BatchEnqueueParams(p).NewRecipients, w.bob.key[:31])
			}, schemas.Code_keyLength},
			{"a short device", func(_ *world, p capnp.Struct) {
				list, _ := schemas.BatchEnqueueParams(p).Recipients()
				_ = list.At(0).SetDevice(make([]byte, 15))
			}, schemas.Code_keyLength},
			{"a header over 4 KiB", func(_ *world, p capnp.Struct) {
				list, _ := schemas.BatchEnqueueParams(p).Recipients()
				_ = list.At(0).SetHeader(make([]byte, schemas.MaxHeader+1))
			}, schemas.Code_payloadTooLarge},
		},
	},
	"ack": {
		good: good(func(w *world, p schemas.AckParams) error {
			p.SetVersion(1)
			return p.SetRecipientKey(w.alice.key[:])
		}),
		fields: "recipientKey:ownQueue channelId:channel seq:seq deviceId:device", params: schemas.Code_wireVersionUnsupported,
	},

	"createChannel": {
		good:   good(func(w *world, p schemas.CreateChannelParams) error { return p.SetPeerKey(w.bob.key[:]) }),
		fields: "peerKey:otherKey channelId:any", params: schemas.Code_identityRequired,
		more: []hostileCase{
			{"with oneself", func(w *world, p capnp.Struct) { _ = schemas.CreateChannelParams(p).SetPeerKey(w.alice.key[:]) }, schemas.Code_channelWithSelf},
		},
	},
	"listChannels": {good: nothing[schemas.ListChannelsParams], fields: "after:cursor limit:any"},

	"uploadBlob":   {pending: schemas.Code_notServed},
	"downloadBlob": {pending: schemas.Code_notServed},

	"uploadKeyPackage": {
		good: good(func(w *world, p schemas.UploadKeyPackageParams) error {
			return errors.Join(p.SetIdentityKey(w.alice.key[:]), p.SetPackage(w.keyPackage(w.alice, mls.KeyPackageOptions{})))
		}),
		fields: "identityKey:ownKey package:package", params: schemas.Code_identityRequired,
		more: []hostileCase{
			{"a package of 16 KiB and a byte", func(_ *world, p capnp.Struct) {
				_ = schemas.UploadKeyPackageParams(p).SetPackage(make([]byte, schemas.MaxKeyPackage+1))
			}, schemas.Code_payloadTooLarge},
			{"another's package", func(w *world, p capnp.Struct) {
				_ = schemas.UploadKeyPackageParams(p).SetPackage(w.keyPackage(w.bob, mls.KeyPackageOptions{}))
			}, schemas.Code_keyPackageInvalid},
			{"a package that has expired", func(w *world, p capnp.Struct) {
				_ = schemas.UploadKeyPackageParams(p).SetPackage(w.keyPackage(w.alice, mls.KeyPackageOptions{Lifetime: tree.Lifetime{NotBefore: 1, NotAfter: 2}}))
			}, schemas.Code_keyPackageInvalid},
			// The bytes of an MLSMessage: version, wire format, version, suite.
			{"a suite that nobody knows", spoiledPackage(func(data []byte) []byte { data[6] = 0x77; return data }), schemas.Code_keyPackageInvalid},
			{"a message of another kind", spoiledPackage(func(data []byte) []byte { data[3] = 3; return data }), schemas.Code_keyPackageInvalid},
			{"a message in a message", spoiledPackage(func(data []byte) []byte { return append(bytes.Clone(data[:4]), data...) }), schemas.Code_keyPackageInvalid},
			{"the account's package for a device with a key", func(w *world, p capnp.Struct) {
				auth, err := schemas.UploadKeyPackageParams(p).Auth()
				must(w.tb, errors.Join(err, auth.SetDeviceId(w.desk[:])))
			}, schemas.Code_keyPackageInvalid},
		},
	},
	"uploadKeyPackages": {
		good: good(func(w *world, p schemas.UploadKeyPackagesParams) error {
			return errors.Join(p.SetIdentityKey(w.alice.key[:]), packages(p, w.keyPackage(w.alice, mls.KeyPackageOptions{})),
				p.SetLastResort(w.keyPackage(w.alice, mls.KeyPackageOptions{LastResort: true})))
		}),
		fields: "identityKey:ownKey packages:any lastResort:lastResort expiresMs:any signatureKey:any", params: schemas.Code_identityRequired,
		more: []hostileCase{
			{"101 packages", func(_ *world, p capnp.Struct) {
				_ = packages(schemas.UploadKeyPackagesParams(p), make([][]byte, 101)...)
			}, schemas.Code_listTooLong},
			{"no package at all", func(_ *world, p capnp.Struct) {
				_ = errors.Join(packages(schemas.UploadKeyPackagesParams(p)), schemas.UploadKeyPackagesParams(p).SetLastResort(nil))
			}, schemas.Code_payloadEmpty},
			{"a bad one after a good one", func(w *world, p capnp.Struct) {
				_ = packages(schemas.UploadKeyPackagesParams(p), w.keyPackage(w.alice, mls.KeyPackageOptions{}), []byte("bad"))
			}, schemas.Code_keyPackageInvalid},
			{"one package twice", func(w *world, p capnp.Struct) {
				one := w.keyPackage(w.alice, mls.KeyPackageOptions{})
				_ = packages(schemas.UploadKeyPackagesParams(p), one, one)
			}, schemas.Code_keyPackageUsed},
			{"one package twice, bare and in a message", func(w *world, p capnp.Struct) {
				one := w.keyPackage(w.alice, mls.KeyPackageOptions{})
				_ = packages(schemas.UploadKeyPackagesParams(p), one, one[4:])
			}, schemas.Code_keyPackageUsed},
			{"500 million packages of no size", func(_ *world, p capnp.Struct) { setEmptyStructs(p, 1, 1<<29-1) }, schemas.Code_malformed},
			{"a last-resort package that is not marked", func(w *world, p capnp.Struct) {
				_ = schemas.UploadKeyPackagesParams(p).SetLastResort(w.keyPackage(w.alice, mls.KeyPackageOptions{}))
			}, schemas.Code_keyPackageInvalid},
		},
	},
	"fetchKeyPackage": {
		good:   good(func(w *world, p schemas.FetchKeyPackageParams) error { return p.SetIdentityKey(w.bob.key[:]) }),
		want:   schemas.Code_keyPackageNone, // he has none
		fields: "identityKey:otherKey deviceId:device", params: schemas.Code_identityRequired,
	},
	"fetchKeyPackages": {
		good:   good(func(w *world, p schemas.FetchKeyPackagesParams) error { return p.SetIdentityKey(w.bob.key[:]) }),
		fields: "identityKey:otherKey deviceId:device oldestOnly:any", params: schemas.Code_identityRequired,
	},
	"keyPackageCount": {good: nothing[schemas.KeyPackageCountParams]},
	"uploadHybridKey": {
		good: good(func(w *world, p schemas.UploadHybridKeyParams) error {
			return errors.Join(p.SetIdentityKey(w.alice.key[:]), p.SetHybridPublicKey(make([]byte, schemas.HybridKeySize)))
		}),
		fields: "identityKey:ownKey hybridPublicKey:hybrid signature:proof", params: schemas.Code_identityRequired,
		more: []hostileCase{
			{"signed for a device", func(w *world, p capnp.Struct) { w.signHybrid(p, w.phone[:], w.alice.private) }, schemas.Code_signatureInvalid},
			{"signed by another", func(w *world, p capnp.Struct) { w.signHybrid(p, nil, w.bob.private) }, schemas.Code_signatureInvalid},
		},
	},
	"fetchHybridKey": {
		good:   good(func(w *world, p schemas.FetchHybridKeyParams) error { return p.SetIdentityKey(w.bob.key[:]) }),
		want:   schemas.Code_hybridKeyNone, // he has none
		fields: "identityKey:otherKey deviceId:device", params: schemas.Code_identityRequired,
	},
	"fetchHybridKeys": {
		good: good(func(w *world, p schemas.FetchHybridKeysParams) error {
			list, err := p.NewIdentityKeys(1)
			return errors.Join(err, list.Set(0, w.bob.key[:]))
		}),
		fields: "identityKeys:any",
		more: []hostileCase{
			{"257 accounts", func(_ *world, p capnp.Struct) { _, _ = schemas.FetchHybridKeysParams(p).NewIdentityKeys(257) }, schemas.Code_listTooLong},
			{"a short key", func(_ *world, p capnp.Struct) {
				list, _ := schemas.FetchHybridKeysParams(p).IdentityKeys()
				_ = list.Set(0, make([]byte, 31))
			}, schemas.Code_keyLength},
			{"no key", func(_ *world, p capnp.Struct) {
				list, _ := schemas.FetchHybridKeysParams(p).IdentityKeys()
				_ = list.Set(0, nil)
			}, schemas.Code_identityRequired},
		},
	},

	"publishCommit": {
		good: good(func(w *world, p schemas.PublishCommitParams) error {
			p.SetVersion(1)
			list, err := p.NewDeliveries(1)
			return errors.Join(err, recipients(list.At(0).NewRecipients, w.bob.key[:]), list.At(0).SetPayload([]byte("commit")),
				p.SetGroupId(make([]byte, 16)), p.SetNextVerifier(make([]byte, 32)))
		}),
		fields: "groupId:group epoch:any proof:groupProof nextVerifier:verifier deliveries:any groupInfo:any ttlSecs:ttl", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"a group id of 65 bytes", func(_ *world, p capnp.Struct) { _ = schemas.PublishCommitParams(p).SetGroupId(make([]byte, 65)) }, schemas.Code_groupIdLength},
			{"a proof of a group that is not there", func(_ *world, p capnp.Struct) { _ = schemas.PublishCommitParams(p).SetProof(make([]byte, 32)) }, schemas.Code_groupNotFound},
			{"a group info over 1 MiB", func(_ *world, p capnp.Struct) {
				_ = schemas.PublishCommitParams(p).SetGroupInfo(make([]byte, schemas.MaxGroupInfo+1))
			}, schemas.Code_payloadTooLarge},
			{"17 deliveries", func(_ *world, p capnp.Struct) { _, _ = schemas.PublishCommitParams(p).NewDeliveries(17) }, schemas.Code_listTooLong},
			{"a delivery to nobody", func(_ *world, p capnp.Struct) {
				list, _ := schemas.PublishCommitParams(p).Deliveries()
				_ = recipients(list.At(0).NewRecipients)
			}, schemas.Code_recipientsEmpty},
			{"a delivery to 4,097", func(_ *world, p capnp.Struct) {
				list, _ := schemas.PublishCommitParams(p).Deliveries()
				_, _ = list.At(0).NewRecipients(4097)
			}, schemas.Code_tooManyRecipients},
			{"a delivery of nothing", func(_ *world, p capnp.Struct) {
				list, _ := schemas.PublishCommitParams(p).Deliveries()
				_ = list.At(0).SetPayload(nil)
			}, schemas.Code_payloadEmpty},
			{"a delivery in another's channel", func(w *world, p capnp.Struct) {
				list, _ := schemas.PublishCommitParams(p).Deliveries()
				_ = list.At(0).SetChannelId(w.foreignChannel[:])
			}, schemas.Code_channelAccessDenied},
		},
	},
	"fetchGroup": {
		good:   good(func(_ *world, p schemas.FetchGroupParams) error { return p.SetGroupId(make([]byte, 16)) }),
		want:   schemas.Code_groupNotFound, // nobody has published it
		fields: "groupId:group", params: schemas.Code_groupIdLength,
	},

	"fetch": {
		good: good(func(w *world, p schemas.FetchParams) error {
			p.SetVersion(1)
			return p.SetRecipientKey(w.alice.key[:])
		}),
		fields: "recipientKey:ownQueue channelId:channel limit:any drain:any deviceId:device", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"a channel of others", func(w *world, p capnp.Struct) { _ = schemas.FetchParams(p).SetChannelId(w.foreignChannel[:]) }, schemas.Code_channelAccessDenied},
			{"drain of another's queue", func(w *world, p capnp.Struct) {
				schemas.FetchParams(p).SetDrain(true)
				_ = schemas.FetchParams(p).SetRecipientKey(w.bob.key[:])
			}, schemas.Code_identityMismatch},
			{"drain of a channel of others", func(w *world, p capnp.Struct) {
				schemas.FetchParams(p).SetDrain(true)
				_ = schemas.FetchParams(p).SetChannelId(w.foreignChannel[:])
			}, schemas.Code_channelAccessDenied},
		},
	},
	"fetchWait": {
		good: good(func(w *world, p schemas.FetchWaitParams) error {
			p.SetVersion(1)
			return p.SetRecipientKey(w.alice.key[:])
		}),
		fields: "recipientKey:ownQueue channelId:channel timeoutMs:wait limit:any drain:any deviceId:device", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"a channel of others", func(w *world, p capnp.Struct) { _ = schemas.FetchWaitParams(p).SetChannelId(w.foreignChannel[:]) }, schemas.Code_channelAccessDenied},
		},
	},
	"peek": {
		good: good(func(w *world, p schemas.PeekParams) error {
			p.SetVersion(1)
			return p.SetRecipientKey(w.alice.key[:])
		}),
		fields: "recipientKey:ownQueue channelId:channel after:any limit:any deviceId:device", params: schemas.Code_wireVersionUnsupported,
		more: []hostileCase{
			{"a channel of others", func(w *world, p capnp.Struct) { _ = schemas.PeekParams(p).SetChannelId(w.foreignChannel[:]) }, schemas.Code_channelAccessDenied},
		},
	},
	"subscribe": {
		good:   nothing[schemas.SubscribeParams],
		fields: "cursors:any deviceId:device limit:any",
		more: []hostileCase{
			{"4,097 cursors", func(_ *world, p capnp.Struct) { _, _ = schemas.SubscribeParams(p).NewCursors(4097) }, schemas.Code_listTooLong},
			{"a cursor with a short channel", func(_ *world, p capnp.Struct) {
				list, _ := schemas.SubscribeParams(p).NewCursors(1)
				_ = list.At(0).SetChannelId(make([]byte, 15))
			}, schemas.Code_channelIdLength},
			{"a cursor beyond the end", func(_ *world, p capnp.Struct) {
				list, _ := schemas.SubscribeParams(p).NewCursors(1)
				list.At(0).SetAfter(1)
			}, schemas.Code_ackBeyondEnd},
		},
	},
}

// nothing is the good call of a method that needs no parameters.
func nothing[P ~capnp.StructKind](*world, capnp.Struct) {}

// spoiledPackage changes the bytes of an upload's package.
func spoiledPackage(spoil func([]byte) []byte) func(*world, capnp.Struct) {
	return func(w *world, params capnp.Struct) {
		p := schemas.UploadKeyPackageParams(params)
		data, err := p.Package()
		must(w.tb, errors.Join(err, p.SetPackage(spoil(bytes.Clone(data)))))
	}
}

// signHybrid signs an upload of alice's.
func (w *world) signHybrid(params capnp.Struct, device []byte, key ed25519.PrivateKey) {
	p := schemas.UploadHybridKeyParams(params)
	hybrid, err := p.HybridPublicKey()
	must(w.tb, err)
	signature, err := identity.HybridKey(w.alice.key, device, hybrid).Sign(key)
	must(w.tb, errors.Join(err, p.SetSignature(signature)))
}

// recipients makes a list of recipients with these keys.
func recipients(newList func(int32) (schemas.Recipient_List, error), keys ...[]byte) error {
	list, err := newList(int32(len(keys)))
	if err != nil {
		return err
	}
	for i, key := range keys {
		err = errors.Join(err, list.At(i).SetKey(key))
	}
	return err
}
