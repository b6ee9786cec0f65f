package fsm

import (
	"quicproquo/schemas"
)

// command is one row of the command table.
type command struct {
	name string
	// who may run it: the first gate of authorization. What a rule knows beyond
	// the kind of actor (whose queue it is, who is in a channel) its check says.
	who actorSet
	// since is the feature level that brought it: proposed only when every
	// member of the cluster announces at least this level.
	since uint32
	// maxBytes bounds the framed entry.
	maxBytes int
	// maxResult is how large a result may be, in bytes, if it may be larger than
	// its entry.
	maxResult int
	// repeatable commands may come without a request id, because running them
	// twice is the same as running them once.
	repeatable bool

	decode func(*request, schemas.Entry_command) error
	// routingKey is what a sharded cluster would route by; nil: the cluster.
	routingKey func(*request) []byte
	// check refuses, and must not write: a View runs it before the entry is
	// proposed, apply's caller runs it again when it counts.
	check func(state, *request) refusal
	apply func(*Tx, *request) Result
}

// commands is the one table of what the log may hold, indexed by the tag of
// Entry's union. The zero row (none) is not a command.
var commands = [...]command{
	schemas.Entry_command_Which_enqueue: {
		name: "enqueue", who: anyone, since: 1, maxBytes: schemas.MaxBody + entrySlack,
		decode: (*request).decodeEnqueue, routingKey: enqueueKey,
		check: checkEnqueue, apply: applyEnqueue,
	},
	schemas.Entry_command_Which_batchEnqueue: {
		name: "batchEnqueue", who: anyone, since: 1, maxBytes: schemas.MaxEntry,
		decode: (*request).decodeBatchEnqueue, routingKey: batchEnqueueKey,
		check: checkBatchEnqueue, apply: applyBatchEnqueue,
	},
	schemas.Entry_command_Which_ack: {
		name: "ack", who: nodes | accounts, since: 1, maxBytes: entrySlack, repeatable: true,
		decode: (*request).decodeAck, routingKey: ackKey,
		check: checkAck, apply: applyAck,
	},
	schemas.Entry_command_Which_expire: {
		name: "expire", who: nodes, since: 1, maxBytes: entrySlack, repeatable: true,
		decode: (*request).decodeExpire, routingKey: clusterKey,
		check: checkExpire, apply: applyExpire,
	},
	schemas.Entry_command_Which_changeSettings: {
		name: "changeSettings", who: nodes, since: 1, maxBytes: 8 * entrySlack,
		decode: (*request).decodeChangeSettings, routingKey: clusterKey,
		check: checkChangeSettings, apply: applyChangeSettings,
	},
	schemas.Entry_command_Which_putSecret: {
		name: "putSecret", who: nodes, since: 1, maxBytes: 4 * entrySlack,
		decode: (*request).decodePutSecret, routingKey: clusterKey,
		check: checkPutSecret, apply: applyPutSecret,
	},
	schemas.Entry_command_Which_createAccount: {
		name: "createAccount", who: nodes, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeCreateAccount, routingKey: createAccountKey,
		check: checkCreateAccount, apply: applyCreateAccount,
	},
	schemas.Entry_command_Which_deleteAccount: {
		name: "deleteAccount", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeDeleteAccount, routingKey: actorKey,
		check: checkDeleteAccount, apply: applyDeleteAccount,
	},
	schemas.Entry_command_Which_replaceRecord: {
		name: "replaceRecord", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeReplaceRecord, routingKey: actorKey,
		check: checkReplaceRecord, apply: applyReplaceRecord,
	},
	schemas.Entry_command_Which_beginLogin: {
		name: "beginLogin", who: nodes, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeBeginLogin, routingKey: beginLoginKey,
		check: checkBeginLogin, apply: applyBeginLogin,
	},
	schemas.Entry_command_Which_openSession: {
		name: "openSession", who: nodes, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeOpenSession, routingKey: openSessionKey,
		check: checkOpenSession, apply: applyOpenSession,
	},
	schemas.Entry_command_Which_renewSessions: {
		name: "renewSessions", who: nodes, since: 1, maxBytes: 64 << 10, repeatable: true,
		decode: (*request).decodeRenewSessions, routingKey: clusterKey,
		check: checkRenewSessions, apply: applyRenewSessions,
	},
	schemas.Entry_command_Which_closeSessions: {
		name: "closeSessions", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeCloseSessions, routingKey: actorKey,
		check: checkCloseSessions, apply: applyCloseSessions,
	},
	schemas.Entry_command_Which_registerDevice: {
		name: "registerDevice", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeRegisterDevice, routingKey: actorKey,
		check: checkRegisterDevice, apply: applyRegisterDevice,
	},
	schemas.Entry_command_Which_revokeDevice: {
		name: "revokeDevice", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeRevokeDevice, routingKey: actorKey,
		check: checkRevokeDevice, apply: applyRevokeDevice,
	},
	schemas.Entry_command_Which_publishEndpoint: {
		name: "publishEndpoint", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodePublishEndpoint, routingKey: actorKey,
		check: checkPublishEndpoint, apply: applyPublishEndpoint,
	},
	schemas.Entry_command_Which_uploadKeyPackages: {
		name: "uploadKeyPackages", who: accounts, since: 1, maxBytes: schemas.MaxEntry,
		decode: (*request).decodeUploadKeyPackages, routingKey: actorKey,
		check: checkUploadKeyPackages, apply: applyUploadKeyPackages,
	},
	schemas.Entry_command_Which_claimKeyPackages: {
		name: "claimKeyPackages", who: accounts, since: 1, maxBytes: entrySlack, maxResult: 64 * (schemas.MaxKeyPackage + 64),
		decode: (*request).decodeClaimKeyPackages, routingKey: claimKey,
		check: checkClaimKeyPackages, apply: applyClaimKeyPackages,
	},
	schemas.Entry_command_Which_uploadHybridKey: {
		name: "uploadHybridKey", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeUploadHybridKey, routingKey: actorKey,
		check: checkUploadHybridKey, apply: applyUploadHybridKey,
	},
	schemas.Entry_command_Which_createChannel: {
		name: "createChannel", who: accounts, since: 1, maxBytes: entrySlack,
		decode: (*request).decodeCreateChannel, routingKey: createChannelKey,
		check: checkCreateChannel, apply: applyCreateChannel,
	},
	schemas.Entry_command_Which_drain: {
		name: "drain", who: nodes | accounts, since: 1, maxBytes: entrySlack, maxResult: schemas.MaxDrainBytes + schemas.MaxBody,
		decode: (*request).decodeDrain, routingKey: drainKey,
		check: checkDrain, apply: applyDrain,
	},
	schemas.Entry_command_Which_publishCommit: {
		name: "publishCommit", who: accounts, since: 1, maxBytes: schemas.MaxEntry,
		decode: (*request).decodePublishCommit, routingKey: publishCommitKey,
		check: checkPublishCommit, apply: applyPublishCommit,
	},
	schemas.Entry_command_Which_setInstance: {
		name: "setInstance", who: accounts, since: levelInstances, maxBytes: entrySlack,
		decode: (*request).decodeSetInstance, routingKey: actorKey,
		check: checkSetInstance, apply: applySetInstance,
	},
	schemas.Entry_command_Which_setContacts: {
		name: "setContacts", who: accounts, since: levelShares, maxBytes: 4 * entrySlack,
		decode: (*request).decodeSetContacts, routingKey: actorKey,
		check: checkSetContacts, apply: applySetContacts,
	},
	schemas.Entry_command_Which_createInvite: {
		name: "createInvite", who: nodes | accounts, since: levelRegistration, maxBytes: entrySlack,
		decode: (*request).decodeCreateInvite, routingKey: clusterKey,
		check: checkCreateInvite, apply: applyCreateInvite,
	},
	schemas.Entry_command_Which_refuse: {
		name: "refuse", who: anyone, since: levelRegistration, maxBytes: entrySlack,
		decode: (*request).decodeRefuse, routingKey: actorKey,
		check: checkRefuse, apply: applyRefuse,
	},
	schemas.Entry_command_Which_changeNodeKey: {
		name: "changeNodeKey", who: nodes, since: levelNodeKeys, maxBytes: entrySlack,
		decode: (*request).decodeChangeNodeKey, routingKey: clusterKey,
		check: checkChangeNodeKey, apply: applyChangeNodeKey,
	},
}

// entrySlack is the room for everything in an entry but the body, in bytes.
const entrySlack = 4 << 10

func commandOf(tag schemas.Entry_command_Which) *command {
	if int(tag) >= len(commands) || commands[tag].apply == nil {
		return nil
	}
	return &commands[tag]
}

// actorAccount is the kind of those who call a node.
const actorAccount = schemas.Actor_Kind_account

// actorSet is a set of actor kinds, a bit for each.
type actorSet uint8

const (
	nobodies actorSet = 1 << schemas.Actor_Kind_nobody
	nodes    actorSet = 1 << schemas.Actor_Kind_node
	accounts actorSet = 1 << schemas.Actor_Kind_account
	anyone            = nobodies | nodes | accounts
)

// refusal is why a command is not carried out; the zero refusal is none.
type refusal struct {
	code  schemas.Code
	value uint64 // see schemas.Failure.value
}

func refuse(code schemas.Code) refusal { return refusal{code: code} }

func (r refusal) refused() bool { return r.code != schemas.Code_ok }

// state is what a check may look at: a Tx while the log is applied, a View
// before an entry is proposed.
type state interface {
	now() uint64
	queueHead(*QueueID) head
	setting(settingID) uint64
	// channel is never nil; one that is not there has the zero row.
	channel(ChannelID) *channelRow
	// usage is how many steps of usageStep bytes an account's queues hold.
	usage(AccountKey) uint64
	// account is never nil; an account that is not there has the zero row.
	account(AccountKey) *accountRow
	// contactCounts is how many accounts an account has named as what.
	contactCounts(AccountKey) contactCounts
	// row reads a topic's table. The value is valid until the next read.
	row(table, []byte) ([]byte, bool)
	// each visits rows by prefix of their keys; visit must not read rows.
	each(t table, prefix []byte, visit func(key, value []byte) bool)
	fail(error)
}

// admit holds the refusals that come before a command's own, in their order of
// precedence. Between requestIdLength and notPermitted Apply looks for the
// outcome of an earlier entry with the same request id.
func (c *command) admit(r *request) refusal {
	switch {
	case r.size > c.maxBytes:
		return refusal{schemas.Code_messageTooLarge, uint64(c.maxBytes)}
	case r.idLen != schemas.RequestIDSize && (r.idLen != 0 || !c.repeatable):
		return refuse(schemas.Code_requestIdLength)
	}
	return refusal{}
}

func (c *command) permit(r *request) refusal {
	if c.who&(1<<r.actor.kind) == 0 || !r.actor.complete {
		return refuse(schemas.Code_notPermitted)
	}
	return refusal{}
}

// CommandInfo says of an entry what a proposer needs to know without knowing
// the command.
type CommandInfo struct {
	Name string
	// Since is the feature level that every member must announce before the
	// entry may be proposed.
	Since uint32
	// Key is the routing key: nil for commands of the whole cluster. The entry's
	// writes lie under this key, fan-out of one entry aside.
	Key []byte
	// MaxBytes bounds the framed entry.
	MaxBytes int
	// MaxResult is how large its result may be, in bytes, if it may be larger than
	// the entry.
	MaxResult int
	// NodeOnly commands are proposed by nodes for themselves, never for a caller.
	NodeOnly bool
	// Repeatable commands may go without a request id.
	Repeatable bool
}

// Command decodes a framed entry whole. An error means that Apply would stop the
// node on it: it must never be proposed. The leader asks this of every entry
// that another node forwards.
func Command(entry []byte) (CommandInfo, error) {
	var d decoder
	r, err := d.decode(entry)
	if err != nil {
		return CommandInfo{}, err
	}
	c := commandOf(r.tag)
	return CommandInfo{
		Name: c.name, Since: max(c.since, r.namedLevel()), Key: c.routingKey(r), MaxBytes: c.maxBytes, MaxResult: c.maxResult,
		NodeOnly: c.who == nodes, Repeatable: c.repeatable,
	}, nil
}

func clusterKey(*request) []byte { return nil }

// actorKey routes by the account that acts.
func actorKey(r *request) []byte { return clone(r.actor.account[:]) }
