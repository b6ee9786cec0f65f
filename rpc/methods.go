package rpc

import (
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// method is one row of a method table.
type method struct {
	name string // as in node.capnp
	// class says which rates a call is charged to; recipients counts those whom it
	// addresses besides, nil: none (rates.go).
	class      Class
	recipients func(capnp.Struct) int
	// maxBytes bounds the framed request.
	maxBytes int
	// timeout is the time of a call that names none.
	timeout time.Duration
	// draining methods are answered while the node is about to stop.
	draining bool
	// auth finds the session in the parameters; nil for methods of the open table.
	auth authReader
	// handle runs the call. Nil: the method is declared and not served yet.
	handle handler
}

// handler fills the call's results, or fails.
type handler func(*call) error

// table is indexed by the method's ordinal in NodeService; a row without a name
// is no method of the table.
type table [41]method

const (
	short = schemas.DefaultCallTimeout
	// waiting is the time of fetchWait: its own, longest wait, and what any call has.
	waiting = schemas.MaxWait + schemas.DefaultCallTimeout
	// sendMethod bounds the requests of methods that carry a body and a little.
	sendMethod = schemas.MaxBody + smallMethod
)

// open are the methods that anybody may call.
var open = table{
	5: {name: "health", class: ClassFree, maxBytes: smallMethod, timeout: short, draining: true, handle: serve(schemas.NewHealthResults, health)},

	8:  {name: "opaqueRegisterStart", class: ClassRegister, maxBytes: smallMethod, timeout: short, handle: serve(schemas.NewOpaqueRegisterStartResults, registerStart)},
	9:  {name: "opaqueRegisterFinish", class: ClassRegister, maxBytes: smallMethod, timeout: short, handle: serve(schemas.NewOpaqueRegisterFinishResults, registerFinish)},
	10: {name: "opaqueLoginStart", class: ClassLogin, maxBytes: smallMethod, timeout: short, handle: serve(schemas.NewOpaqueLoginStartResults, loginStart)},
	11: {name: "opaqueLoginFinish", class: ClassSession, maxBytes: smallMethod, timeout: short, handle: serve(schemas.NewOpaqueLoginFinishResults, loginFinish)},
	27: {name: "bindSession", class: ClassSession, maxBytes: smallMethod, timeout: short, handle: serve(schemas.NewBindSessionResults, bindSession)},
}

// authenticated are the methods that need a session. A method is in exactly one
// of the two tables, so authentication can't be forgotten: a test walks the
// interface. Rows by topic; the number is the ordinal.
var authenticated = table{
	0:  {name: "uploadKeyPackage", class: ClassKeys, maxBytes: 64 << 10, timeout: short, auth: authOf[schemas.UploadKeyPackageParams], handle: serve(schemas.NewUploadKeyPackageResults, uploadKeyPackage)},
	1:  {name: "fetchKeyPackage", class: ClassKeys, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.FetchKeyPackageParams], handle: serve(schemas.NewFetchKeyPackageResults, fetchKeyPackage)},
	6:  {name: "uploadHybridKey", class: ClassKeys, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.UploadHybridKeyParams], handle: serve(schemas.NewUploadHybridKeyResults, uploadHybridKey)},
	7:  {name: "fetchHybridKey", class: ClassLookup, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.FetchHybridKeyParams], handle: serve(schemas.NewFetchHybridKeyResults, fetchHybridKey)},
	16: {name: "fetchHybridKeys", class: ClassLookup, maxBytes: 64 << 10, timeout: short, auth: authOf[schemas.FetchHybridKeysParams], handle: serve(schemas.NewFetchHybridKeysResults, fetchHybridKeys)},
	36: {name: "uploadKeyPackages", class: ClassKeys, maxBytes: schemas.MaxRequest, timeout: short, auth: authOf[schemas.UploadKeyPackagesParams], handle: serve(schemas.NewUploadKeyPackagesResults, uploadKeyPackages)},
	37: {name: "fetchKeyPackages", class: ClassKeys, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.FetchKeyPackagesParams], handle: serve(schemas.NewFetchKeyPackagesResults, fetchKeyPackages)},
	38: {name: "keyPackageCount", class: ClassRead, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.KeyPackageCountParams], handle: serve(schemas.NewKeyPackageCountResults, keyPackageCount)},

	2:  {name: "enqueue", class: ClassSend, maxBytes: sendMethod, timeout: short, auth: authOf[schemas.EnqueueParams], handle: write(enqueue)},
	3:  {name: "fetch", class: ClassReceive, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.FetchParams], handle: serve(schemas.NewFetchResults, fetch)},
	4:  {name: "fetchWait", class: ClassReceive, maxBytes: smallMethod, timeout: waiting, auth: authOf[schemas.FetchWaitParams], handle: serve(schemas.NewFetchResults, fetchWait)},
	14: {name: "peek", class: ClassReceive, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.PeekParams], handle: serve(schemas.NewPeekResults, peek)},
	15: {name: "ack", class: ClassReceive, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.AckParams], handle: write(ack)},
	17: {name: "batchEnqueue", class: ClassSend, recipients: batchRecipients, maxBytes: schemas.MaxRequest, timeout: short, auth: authOf[schemas.BatchEnqueueParams], handle: write(batchEnqueue)},
	33: {name: "subscribe", class: ClassReceive, maxBytes: 256 << 10, timeout: short, auth: authOf[schemas.SubscribeParams], handle: subscribe},

	18: {name: "createChannel", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.CreateChannelParams], handle: write(createChannel)},
	32: {name: "listChannels", class: ClassRead, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ListChannelsParams], handle: serve(schemas.NewListChannelsResults, listChannels)},

	34: {name: "publishCommit", class: ClassCommit, recipients: commitRecipients, maxBytes: schemas.MaxRequest, timeout: short, auth: authOf[schemas.PublishCommitParams], handle: write(publishCommit)},
	35: {name: "fetchGroup", class: ClassRead, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.FetchGroupParams], handle: serve(schemas.NewFetchGroupResults, fetchGroup)},

	12: {name: "publishEndpoint", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.PublishEndpointParams], handle: serve(schemas.NewPublishEndpointResults, publishEndpoint)},
	13: {name: "resolveEndpoint", class: ClassLookup, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ResolveEndpointParams], handle: serve(schemas.NewResolveEndpointResults, resolveEndpoint)},
	19: {name: "resolveUser", class: ClassLookup, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ResolveUserParams], handle: serve(schemas.NewResolveUserResults, resolveUser)},
	20: {name: "resolveIdentity", class: ClassLookup, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ResolveIdentityParams], handle: serve(schemas.NewResolveIdentityResults, resolveIdentity)},
	23: {name: "deleteAccount", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.DeleteAccountParams], handle: serve(schemas.NewDeleteAccountResults, deleteAccount)},
	24: {name: "registerDevice", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.RegisterDeviceParams], handle: serve(schemas.NewRegisterDeviceResults, registerDevice)},
	25: {name: "listDevices", class: ClassLookup, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ListDevicesParams], handle: serve(schemas.NewListDevicesResults, listDevices)},
	26: {name: "revokeDevice", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.RevokeDeviceParams], handle: serve(schemas.NewRevokeDeviceResults, revokeDevice)},
	39: {name: "setContacts", class: ClassManage, maxBytes: 4 * smallMethod, timeout: short, auth: authOf[schemas.SetContactsParams], handle: write(setContacts)},
	40: {name: "createInvite", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.CreateInviteParams], handle: write(createInvite)},
	28: {name: "whoami", class: ClassRead, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.WhoamiParams], handle: serve(schemas.NewWhoamiResults, whoami)},
	29: {name: "logout", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.LogoutParams], handle: serve(schemas.NewLogoutResults, logout)},
	30: {name: "changePasswordStart", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ChangePasswordStartParams], handle: serve(schemas.NewChangePasswordStartResults, changePasswordStart)},
	31: {name: "changePasswordFinish", class: ClassManage, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.ChangePasswordFinishParams], handle: serve(schemas.NewChangePasswordFinishResults, changePasswordFinish)},

	21: {name: "uploadBlob", class: ClassSend, maxBytes: sendMethod, timeout: short, auth: authOf[schemas.UploadBlobParams], handle: notServed},
	22: {name: "downloadBlob", class: ClassRead, maxBytes: smallMethod, timeout: short, auth: authOf[schemas.DownloadBlobParams], handle: notServed},
}

// notServed answers for methods that are declared and built later.
func notServed(*call) error { return refuse(schemas.Code_notServed) }

// authOf is the authReader of a parameter struct.
func authOf[P interface {
	~capnp.StructKind
	Auth() (schemas.Auth, error)
}](params capnp.Struct) (schemas.Auth, error) {
	return P(params).Auth()
}

// find returns the row of an ordinal, nil for none.
func (t *table) find(ordinal uint16) *method {
	if int(ordinal) >= len(t) || t[ordinal].name == "" {
		return nil
	}
	return &t[ordinal]
}

// serve makes a handler of a function over a method's own parameter and result
// structs.
func serve[P, R ~capnp.StructKind](newResults func(*capnp.Segment) (R, error), run func(*call, P, R) error) handler {
	return func(c *call) error {
		params, err := c.params()
		if err != nil {
			return err
		}
		results, err := newResults(c.response.Segment())
		if err != nil {
			return err
		}
		if err := c.response.SetResults(capnp.Struct(results).ToPtr()); err != nil {
			return err
		}
		return run(c, P(params), results)
	}
}

// write makes a handler of a function that turns a method's parameters into a
// command whose results struct is the method's own.
func write[P ~capnp.StructKind](fill func(*call, P, schemas.Entry_command) error) handler {
	return func(c *call) error {
		params, err := c.params()
		if err != nil {
			return err
		}
		result, err := c.propose(func(cmd schemas.Entry_command) error { return fill(c, P(params), cmd) })
		if err != nil {
			return err
		}
		return c.relay(result)
	}
}
