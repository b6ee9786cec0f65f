package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// Reading the commands of the account topic. Byte slices alias the entry: a rule
// that keeps one copies it.

type putSecretRequest struct {
	name    string
	version uint64
	wrapped []byte
}

type createAccountRequest struct {
	username            string
	identityKey, record []byte
	server, proof       []byte // since levelStatements
	handshakeID         []byte // since levelRegistration, and what follows
	handshakeExpires    uint64
	inviteHash          []byte
}

// said is a statement of an account with its signature.
type said struct {
	signed    uint64
	signature []byte
}

type revokeDeviceRequest struct {
	id []byte
	said
}

type replaceRecordRequest struct {
	signature                           []byte // since levelStatements
	record, recordDigest, keepTokenHash []byte
	handshakeID                         []byte
	handshakeExpires                    uint64
}

type beginLoginRequest struct {
	nameHash
	device []byte // since levelShares
}

type openSessionRequest struct {
	name                             nameHash
	username                         string
	identityKey, deviceID, tokenHash []byte
	handshakeID, recordDigest        []byte
	handshakeExpires                 uint64
}

type closeSessionsRequest struct{ tokenHash []byte }

type registerDeviceRequest struct {
	id, key, signature []byte
	name               string
}

type publishEndpointRequest struct {
	identityKey, endpoint []byte
	ttlSecs               uint32
}

// reading gathers the fields of a message; the first error stays.
type reading struct{ err error }

func (g *reading) bytes(field []byte, err error) []byte {
	if err != nil && g.err == nil {
		g.err = err
	}
	return field
}

func (g *reading) text(field string, err error) string {
	if err != nil && g.err == nil {
		g.err = err
	}
	return field
}

func (r *request) decodePutSecret(cmd schemas.Entry_command) error {
	msg, err := cmd.PutSecret()
	if err != nil {
		return err
	}
	var g reading
	r.putSecret = putSecretRequest{name: g.text(msg.Name()), version: msg.Version(), wrapped: g.bytes(msg.Wrapped())}
	return g.err
}

func (r *request) decodeCreateAccount(cmd schemas.Entry_command) error {
	msg, err := cmd.CreateAccount()
	if err != nil {
		return err
	}
	var g reading
	r.createAccount = createAccountRequest{
		username: g.text(msg.Username()), identityKey: g.bytes(msg.IdentityKey()), record: g.bytes(msg.Record()),
		server: g.bytes(msg.Server()), proof: g.bytes(msg.Proof()),
		handshakeID: g.bytes(msg.HandshakeId()), handshakeExpires: msg.HandshakeExpiresMs(), inviteHash: g.bytes(msg.InviteHash()),
	}
	return g.err
}

func (r *request) decodeDeleteAccount(cmd schemas.Entry_command) error {
	msg, err := cmd.DeleteAccount()
	if err != nil {
		return err
	}
	var g reading
	r.deleteAccount = said{msg.SignedAtMs(), g.bytes(msg.Signature())}
	return g.err
}

func (r *request) decodeReplaceRecord(cmd schemas.Entry_command) error {
	msg, err := cmd.ReplaceRecord()
	if err != nil {
		return err
	}
	var g reading
	r.replaceRecord = replaceRecordRequest{
		signature: g.bytes(msg.Signature()),
		record:    g.bytes(msg.Record()), recordDigest: g.bytes(msg.RecordDigest()),
		keepTokenHash: g.bytes(msg.KeepTokenHash()), handshakeID: g.bytes(msg.HandshakeId()),
		handshakeExpires: msg.HandshakeExpiresMs(),
	}
	return g.err
}

func (r *request) decodeBeginLogin(cmd schemas.Entry_command) error {
	msg, err := cmd.BeginLogin()
	if err != nil {
		return err
	}
	var g reading
	r.beginLogin.set(g.bytes(msg.Name()))
	r.beginLogin.device = g.bytes(msg.Device())
	return g.err
}

func (r *request) decodeOpenSession(cmd schemas.Entry_command) error {
	msg, err := cmd.OpenSession()
	if err != nil {
		return err
	}
	var g reading
	r.openSession = openSessionRequest{
		username: g.text(msg.Username()), identityKey: g.bytes(msg.IdentityKey()),
		deviceID: g.bytes(msg.DeviceId()), tokenHash: g.bytes(msg.TokenHash()),
		handshakeID: g.bytes(msg.HandshakeId()), handshakeExpires: msg.HandshakeExpiresMs(),
		recordDigest: g.bytes(msg.RecordDigest()),
	}
	r.openSession.name.set(g.bytes(msg.Name()))
	return g.err
}

func (r *request) decodeRenewSessions(cmd schemas.Entry_command) error {
	msg, err := cmd.RenewSessions()
	if err != nil {
		return err
	}
	list, err := msg.TokenHashes()
	if err != nil {
		return err
	}
	r.renewSessions = r.renewSessions[:0]
	// One more than the limit is enough to see that there are too many.
	for i := range min(list.Len(), schemas.MaxRenewals+1) {
		hash, err := list.At(i)
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		r.renewSessions = append(r.renewSessions, hash)
	}
	return nil
}

func (r *request) decodeCloseSessions(cmd schemas.Entry_command) error {
	msg, err := cmd.CloseSessions()
	if err != nil {
		return err
	}
	var g reading
	r.closeSessions.tokenHash = g.bytes(msg.TokenHash())
	return g.err
}

func (r *request) decodeRegisterDevice(cmd schemas.Entry_command) error {
	msg, err := cmd.RegisterDevice()
	if err != nil {
		return err
	}
	var g reading
	r.registerDevice = registerDeviceRequest{
		id: g.bytes(msg.DeviceId()), name: g.text(msg.DeviceName()),
		key: g.bytes(msg.DeviceKey()), signature: g.bytes(msg.Signature()),
	}
	return g.err
}

func (r *request) decodeRevokeDevice(cmd schemas.Entry_command) error {
	msg, err := cmd.RevokeDevice()
	if err != nil {
		return err
	}
	var g reading
	r.revokeDevice = revokeDeviceRequest{
		id: g.bytes(msg.DeviceId()), said: said{msg.SignedAtMs(), g.bytes(msg.Signature())},
	}
	return g.err
}

func (r *request) decodePublishEndpoint(cmd schemas.Entry_command) error {
	msg, err := cmd.PublishEndpoint()
	if err != nil {
		return err
	}
	var g reading
	r.publishEndpoint = publishEndpointRequest{
		identityKey: g.bytes(msg.IdentityKey()), endpoint: g.bytes(msg.Endpoint()), ttlSecs: msg.TtlSecs(),
	}
	return g.err
}
