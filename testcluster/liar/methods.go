package liar

import (
	"fmt"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// method is what the front knows of a method: how a call of it gets a token, and
// what it is about.
type method struct {
	name    string
	auth    func(params capnp.Struct) (schemas.Auth, error) // nil: it takes none
	subject func(params capnp.Struct) ([]byte, error)       // an account's key, a group's id, or a username
	set     func(params capnp.Struct, subject []byte) error // makes the call one about another
}

// methods by ordinal in NodeService.
//
//nolint:gochecknoglobals // a table
var methods = map[uint16]method{
	0:  {name: "uploadKeyPackage", auth: authOf[schemas.UploadKeyPackageParams]},
	1:  {name: "fetchKeyPackage", auth: authOf[schemas.FetchKeyPackageParams], subject: identityOf[schemas.FetchKeyPackageParams], set: setIdentity[schemas.FetchKeyPackageParams]},
	2:  {name: "enqueue", auth: authOf[schemas.EnqueueParams]},
	3:  {name: "fetch", auth: authOf[schemas.FetchParams]},
	4:  {name: "fetchWait", auth: authOf[schemas.FetchWaitParams]},
	5:  {name: "health"},
	6:  {name: "uploadHybridKey", auth: authOf[schemas.UploadHybridKeyParams]},
	7:  {name: "fetchHybridKey", auth: authOf[schemas.FetchHybridKeyParams], subject: identityOf[schemas.FetchHybridKeyParams], set: setIdentity[schemas.FetchHybridKeyParams]},
	8:  {name: "opaqueRegisterStart", subject: nameOf[schemas.OpaqueRegisterStartParams], set: setName[schemas.OpaqueRegisterStartParams]},
	9:  {name: "opaqueRegisterFinish"},
	10: {name: "opaqueLoginStart"},
	11: {name: "opaqueLoginFinish"},
	12: {name: "publishEndpoint", auth: authOf[schemas.PublishEndpointParams]},
	13: {name: "resolveEndpoint", auth: authOf[schemas.ResolveEndpointParams]},
	14: {name: "peek", auth: authOf[schemas.PeekParams]},
	15: {name: "ack", auth: authOf[schemas.AckParams]},
	16: {name: "fetchHybridKeys", auth: authOf[schemas.FetchHybridKeysParams]},
	17: {name: "batchEnqueue", auth: authOf[schemas.BatchEnqueueParams]},
	18: {name: "createChannel", auth: authOf[schemas.CreateChannelParams], subject: peerOf, set: setPeer},
	19: {name: "resolveUser", auth: authOf[schemas.ResolveUserParams], subject: nameOf[schemas.ResolveUserParams], set: setName[schemas.ResolveUserParams]},
	20: {name: "resolveIdentity", auth: authOf[schemas.ResolveIdentityParams], subject: identityOf[schemas.ResolveIdentityParams], set: setIdentity[schemas.ResolveIdentityParams]},
	23: {name: "deleteAccount", auth: authOf[schemas.DeleteAccountParams]},
	24: {name: "registerDevice", auth: authOf[schemas.RegisterDeviceParams]},
	25: {name: "listDevices", auth: authOf[schemas.ListDevicesParams], subject: identityOf[schemas.ListDevicesParams], set: setIdentity[schemas.ListDevicesParams]},
	26: {name: "revokeDevice", auth: authOf[schemas.RevokeDeviceParams]},
	27: {name: "bindSession"},
	28: {name: "whoami", auth: authOf[schemas.WhoamiParams]},
	29: {name: "logout", auth: authOf[schemas.LogoutParams]},
	30: {name: "changePasswordStart", auth: authOf[schemas.ChangePasswordStartParams]},
	31: {name: "changePasswordFinish", auth: authOf[schemas.ChangePasswordFinishParams]},
	32: {name: "listChannels", auth: authOf[schemas.ListChannelsParams]},
	33: {name: "subscribe", auth: authOf[schemas.SubscribeParams]},
	34: {name: "publishCommit", auth: authOf[schemas.PublishCommitParams], subject: groupOf[schemas.PublishCommitParams]},
	35: {name: "fetchGroup", auth: authOf[schemas.FetchGroupParams], subject: groupOf[schemas.FetchGroupParams], set: setGroup},
	36: {name: "uploadKeyPackages", auth: authOf[schemas.UploadKeyPackagesParams]},
	37: {name: "fetchKeyPackages", auth: authOf[schemas.FetchKeyPackagesParams], subject: identityOf[schemas.FetchKeyPackagesParams], set: setIdentity[schemas.FetchKeyPackagesParams]},
	38: {name: "keyPackageCount", auth: authOf[schemas.KeyPackageCountParams]},
	39: {name: "setContacts", auth: authOf[schemas.SetContactsParams]},
	40: {name: "createInvite", auth: authOf[schemas.CreateInviteParams]},
}

func methodName(number uint16) string {
	if m, known := methods[number]; known {
		return m.name
	}
	return fmt.Sprint(number)
}

func ordinal(name string) uint16 {
	for number, m := range methods {
		if m.name == name {
			return number
		}
	}
	panic("liar: there is no method " + name)
}

func authOf[P interface {
	~capnp.StructKind
	NewAuth() (schemas.Auth, error)
}](params capnp.Struct) (schemas.Auth, error) {
	return P(params).NewAuth()
}

// authorize gives a call a session's token, as one that is bound to no connection.
func authorize(number uint16, params capnp.Ptr, token []byte) error {
	m := methods[number]
	if m.auth == nil {
		return nil
	}
	auth, err := m.auth(params.Struct())
	if err != nil {
		return err
	}
	auth.SetVersion(schemas.AuthVersion)
	return auth.SetAccessToken(token)
}

func identityOf[P interface {
	~capnp.StructKind
	IdentityKey() ([]byte, error)
}](params capnp.Struct) ([]byte, error) {
	return P(params).IdentityKey()
}

func setIdentity[P interface {
	~capnp.StructKind
	SetIdentityKey(key []byte) error
}](params capnp.Struct, key []byte) error {
	return P(params).SetIdentityKey(key)
}

func groupOf[P interface {
	~capnp.StructKind
	GroupId() ([]byte, error)
}](params capnp.Struct) ([]byte, error) {
	return P(params).GroupId()
}

func setGroup(params capnp.Struct, id []byte) error {
	return schemas.FetchGroupParams(params).SetGroupId(id)
}

func peerOf(params capnp.Struct) ([]byte, error) {
	return schemas.CreateChannelParams(params).PeerKey()
}

func setPeer(params capnp.Struct, key []byte) error {
	return schemas.CreateChannelParams(params).SetPeerKey(key)
}

func nameOf[P interface {
	~capnp.StructKind
	Username() (string, error)
}](params capnp.Struct) ([]byte, error) {
	name, err := P(params).Username()
	return []byte(name), err
}

func setName[P interface {
	~capnp.StructKind
	SetUsername(name string) error
}](params capnp.Struct, name []byte) error {
	return P(params).SetUsername(string(name))
}
