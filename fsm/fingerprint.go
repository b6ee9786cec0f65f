package fsm

import (
	"github.com/cespare/xxhash/v2"

	"quicproquo/schemas"
)

// fingerprint tells one command from another under the same request id: a hash of what
// the caller asked for. What a node adds by itself is left out, since a repetition by way
// of another node may differ in it; so are differences in how a message is laid out. It
// finds mistakes of the actor whose id it is, so 64 bits that anybody can compute serve.
type fingerprint struct {
	hash xxhash.Digest
	word [8]byte
}

// of returns the fingerprint of a request, never 0. A field that is added to a command
// later must leave the hash as it was while it is not set.
func (f *fingerprint) of(r *request) uint64 {
	if r.tag == schemas.Entry_command_Which_refuse {
		return max(r.refuse.fingerprint, 1) // it stands for the command that it refuses
	}
	f.hash.Reset()
	f.number(uint64(r.tag))
	f.queues(r)
	f.accounts(r)
	return max(f.hash.Sum64(), 1)
}

func (f *fingerprint) number(n uint64) {
	le.PutUint64(f.word[:], n)
	_, _ = f.hash.Write(f.word[:]) // never fails
}

// bytes takes fields with their lengths, so that none runs into the next.
func (f *fingerprint) bytes(fields ...[]byte) {
	for _, field := range fields {
		f.number(uint64(len(field)))
		_, _ = f.hash.Write(field)
	}
}

func (f *fingerprint) text(s string) {
	f.number(uint64(len(s)))
	_, _ = f.hash.WriteString(s)
}

func (f *fingerprint) address(a *address) {
	_, _ = f.hash.Write(a.queue.Owner[:])
	_, _ = f.hash.Write(a.queue.Device[:])
	_, _ = f.hash.Write(a.queue.Channel.id[:])
}

// send takes how envelopes are sent.
func (f *fingerprint) send(version uint16, ttlSecs uint32, ephemeral bool) {
	f.number(uint64(version))
	f.number(uint64(ttlSecs))
	if ephemeral {
		f.number(1)
	}
}

func (f *fingerprint) recipients(list []recipientRequest) {
	f.number(uint64(len(list)))
	for i := range list {
		f.address(&list[i].address)
		f.bytes(list[i].header)
	}
}

// queues takes the commands about queues and groups.
func (f *fingerprint) queues(r *request) {
	switch r.tag {
	case schemas.Entry_command_Which_enqueue:
		p := &r.enqueue
		f.address(&p.address)
		f.bytes(p.payload)
		f.send(p.version, p.ttlSecs, p.ephemeral)
	case schemas.Entry_command_Which_batchEnqueue:
		p := &r.batchEnqueue
		f.recipients(p.recipients)
		f.bytes(p.payload)
		f.send(p.version, p.ttlSecs, p.ephemeral)
	case schemas.Entry_command_Which_ack:
		f.address(&r.ack.address)
		f.number(r.ack.seq)
	case schemas.Entry_command_Which_drain:
		f.address(&r.drain.address)
		f.number(uint64(r.drain.limit))
	case schemas.Entry_command_Which_createChannel:
		f.bytes(r.createChannel.peer) // the id is the node's proposal
	case schemas.Entry_command_Which_publishCommit:
		p := &r.publishCommit
		f.bytes(p.groupID, p.proof, p.nextVerifier, p.groupInfo)
		f.number(p.epoch)
		f.send(p.version, p.ttlSecs, false)
		for i := range p.deliveries {
			f.bytes(p.deliveries[i].payload)
			f.recipients(p.deliveries[i].recipients)
		}
	default: // accounts takes it, or nobody chooses anything in it
	}
}

// accounts takes the commands about accounts, devices and keys.
func (f *fingerprint) accounts(r *request) {
	switch r.tag {
	case schemas.Entry_command_Which_createAccount:
		f.text(r.createAccount.username)
		f.bytes(r.createAccount.identityKey, r.createAccount.record)
		if invite := r.createAccount.inviteHash; len(invite) > 0 {
			f.bytes(invite)
		}
	case schemas.Entry_command_Which_replaceRecord:
		f.bytes(r.replaceRecord.record, r.replaceRecord.handshakeID)
	case schemas.Entry_command_Which_openSession:
		f.bytes(r.openSession.handshakeID, r.openSession.identityKey, r.openSession.deviceID)
	case schemas.Entry_command_Which_closeSessions:
		f.bytes(r.closeSessions.tokenHash)
	case schemas.Entry_command_Which_registerDevice:
		f.bytes(r.registerDevice.id, r.registerDevice.key)
		f.text(r.registerDevice.name)
	case schemas.Entry_command_Which_revokeDevice:
		f.bytes(r.revokeDevice.id)
	case schemas.Entry_command_Which_publishEndpoint:
		f.bytes(r.publishEndpoint.endpoint)
		f.number(uint64(r.publishEndpoint.ttlSecs))
	case schemas.Entry_command_Which_uploadKeyPackages:
		for i := range r.uploadKeyPackages.packages {
			p := &r.uploadKeyPackages.packages[i]
			f.bytes(p.data)
			if p.lastResort {
				f.number(1)
			}
		}
	case schemas.Entry_command_Which_claimKeyPackages:
		f.bytes(r.claimKeyPackages.identityKey, r.claimKeyPackages.deviceID)
	case schemas.Entry_command_Which_uploadHybridKey:
		f.bytes(r.uploadHybridKey.key)
	case schemas.Entry_command_Which_changeSettings:
		for _, s := range r.settings {
			f.text(s.name)
			f.number(s.value)
		}
	case schemas.Entry_command_Which_setInstance:
		f.number(r.setInstance.instance)
	case schemas.Entry_command_Which_setContacts:
		f.number(uint64(r.setContacts.standing))
		f.bytes(r.setContacts.accounts...)
	case schemas.Entry_command_Which_createInvite:
		f.bytes(r.createInvite.hash)
		f.number(uint64(r.createInvite.uses))
		f.number(uint64(r.createInvite.ttlSecs))
	case schemas.Entry_command_Which_changeNodeKey:
		f.text(r.changeNodeKey.node)
		f.bytes(r.changeNodeKey.key)
		f.number(uint64(r.changeNodeKey.change))
	default: // queues takes it, or nobody chooses anything in it
	}
}
