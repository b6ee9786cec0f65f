package fsm

import (
	"math"

	"quicproquo/schemas"
)

// Cluster settings: limits that every node must apply alike, so they are
// replicated and not configured. docs/settings.md shows this table to people.

// Setting is one row of the table of cluster settings.
type Setting struct {
	Name    string
	Unit    string
	Default uint64
	Min     uint64
	Max     uint64
	Doc     string
	// Since is the feature level that brought it; 0: the first.
	Since uint64
	// Words are what people call its values, from 0 on; nil: numbers.
	Words []string
}

// SettingFeatureLevel is the setting that the leader raises once every node knows more.
const SettingFeatureLevel = "feature_level"

// SettingClockError is the setting that says how far a node's clock may be off.
const SettingClockError = "clock_error_secs"

type settingID int

const (
	queueMaxEnvelopes settingID = iota
	queueMaxBytes
	accountMaxBytes
	ttlDefaultSecs
	ttlMaxSecs
	bearerTokens
	sessionTTLSecs
	sessionMax
	deviceMax
	usernameHoldSecs
	loginFailuresMax
	requireChannelAuthz
	keyPackagesMax
	keyPackagesLow
	keyClaimBurst
	keyClaimSecs
	keyStrangersBurst
	keyContactsBurst
	keyTakenSecs
	keyUploadBurst
	keyUploadSecs
	groupIdleSecs
	groupFoundBurst
	groupFoundSecs
	featureLevel
	clockErrorSecs
	registration
	registrationBurst
	registrationHourly
	memberInvitesDaily
	inviteMaxSecs
	groupRecordsMax
	groupBytesMax
	settingCount
)

const (
	day = 24 * 60 * 60 // seconds
	mib = 1 << 20      // bytes
)

var settingTable = [settingCount]Setting{
	queueMaxEnvelopes: {
		Name: "queue_max_envelopes", Unit: "envelopes", Default: 10_000, Min: 1, Max: 100_000,
		Doc: "How many envelopes a queue holds. A sender who would bring it over the limit gets QUEUE_FULL; nothing is dropped. Ephemeral ones have an eighth of it beside that, and so of queue_max_bytes; strangers have half of both beside that, and each sender has a share (docs/protocol.md).",
	},
	queueMaxBytes: {
		Name: "queue_max_bytes", Unit: "bytes", Default: 64 * mib, Min: schemas.MaxBody + schemas.MaxHeader, Max: 1 << 40,
		Doc: "How many bytes of bodies and headers a queue holds. A shared body counts in every queue that holds it.",
	},
	accountMaxBytes: {
		Name: "account_max_bytes", Unit: "bytes", Default: 1 << 30, Min: 2 * schemas.MaxBody, Max: 1 << 50,
		Doc: "How many bytes all queues of an account hold together, counted in whole steps of 16 KiB a queue.",
	},
	ttlDefaultSecs: {
		Name: "ttl_default_secs", Unit: "seconds", Default: 30 * day, Min: 60, Max: 3650 * day,
		Doc: "How long an envelope is kept whose sender asked for no time; ttl_max_secs if that is less.",
	},
	ttlMaxSecs: {
		Name: "ttl_max_secs", Unit: "seconds", Default: 30 * day, Min: 60, Max: 3650 * day,
		Doc: "The longest time that a sender may ask for.",
	},
	bearerTokens: {
		Name: "bearer_tokens", Unit: "0, 1 or 2", Default: 1, Min: 0, Max: 2,
		Doc: "Which sessions work by their token alone, in the auth of each call: 0 none, 1 those without a device key of their own, 2 all. Others must be bound to the connection.",
	},
	sessionTTLSecs: {
		Name: "session_ttl_secs", Unit: "seconds", Default: 30 * day, Min: 300, Max: 3650 * day,
		Doc: "How long a session lasts that is not used.",
	},
	sessionMax: {
		Name: "session_max", Unit: "sessions", Default: 64, Min: 1, Max: 1024,
		Doc: "How many sessions an account has. One more ends the one that was not used for the longest time.",
	},
	deviceMax: {
		Name: "device_max", Unit: "devices", Default: 10, Min: 1, Max: 64,
		Doc: "How many devices an account has.",
	},
	usernameHoldSecs: {
		Name: "username_hold_secs", Unit: "seconds", Default: 90 * day, Min: 0, Max: 36500 * day,
		Doc: "How long nobody may take the name of a deleted account.",
	},
	loginFailuresMax: {
		Name: "login_failures_max", Unit: "failures an hour", Default: 10, Min: 1, Max: 1_000_000,
		Doc: "How many logins of one name may fail in an hour (those of each of its devices are counted apart from those of strangers) before each further one has to wait: 2 seconds, then twice as long each time, 5 minutes at most.",
	},
	keyPackagesMax: {
		Name: "key_packages_max", Unit: "key packages", Default: 100, Min: 1, Max: 10_000,
		Doc: "How many key packages wait for a device, its last-resort one aside.",
	},
	keyPackagesLow: {
		Name: "key_packages_low", Unit: "key packages", Default: 20, Min: 0, Max: 10_000,
		Doc: "Below how many a device is told to upload more.",
	},
	keyClaimBurst: {
		Name: "key_claim_burst", Unit: "claims", Default: 6, Min: 1, Max: 10_000,
		Doc: "How often one account may take another's key packages before it has to wait.",
	},
	keyClaimSecs: {
		Name: "key_claim_secs", Unit: "seconds", Default: 600, Min: 0, Max: 30 * day,
		Doc: "How long until one more claim is free again.",
	},
	keyStrangersBurst: {
		Name: "key_strangers_burst", Unit: "claims", Default: 20, Min: 1, Max: 10_000, Since: levelShares,
		Doc: "How often all strangers together may take an account's key packages before they get its last-resort one.",
	},
	keyContactsBurst: {
		Name: "key_contacts_burst", Unit: "claims", Default: 60, Min: 1, Max: 10_000, Since: levelShares,
		Doc: "The same for its contacts together, and for those whom it has answered on a channel.",
	},
	keyTakenSecs: {
		Name: "key_taken_secs", Unit: "seconds", Default: 60, Min: 0, Max: 30 * day, Since: levelShares,
		Doc: "How long until one more claim of either is free again.",
	},
	keyUploadBurst: {
		Name: "key_upload_burst", Unit: "key packages", Default: 2000, Min: schemas.MaxKeyPackages + 1, Max: 1_000_000,
		Doc: "How many key packages an account may upload before it has to wait: the cluster remembers each until its lifetime ends.",
	},
	keyUploadSecs: {
		Name: "key_upload_secs", Unit: "seconds", Default: 60, Min: 0, Max: day,
		Doc: "How long until an account may upload one more.",
	},
	groupFoundBurst: {
		Name: "group_found_burst", Unit: "records", Default: 100, Min: 1, Max: 1_000_000,
		Doc: "How many group records an account makes before it has to wait.",
	},
	groupFoundSecs: {
		Name: "group_found_secs", Unit: "seconds", Default: 600, Min: 0, Max: 30 * day,
		Doc: "How long until one more group record is free again.",
	},
	groupIdleSecs: {
		Name: "group_idle_secs", Unit: "seconds", Default: 180 * day, Min: day, Max: 3650 * day,
		Doc: "How long the record of a group is kept in which nobody commits.",
	},
	featureLevel: {
		Name: SettingFeatureLevel, Unit: "level", Default: 1, Min: 1, Max: schemas.FeatureLevel,
		Doc: "By which rules the log is judged. The leader raises it once every node knows more; it never goes back.",
	},
	clockErrorSecs: {
		Name: SettingClockError, Unit: "seconds", Default: 30, Min: 5, Max: 3600, Since: levelClocks,
		Doc: "How far a node's clock may be from those of a majority. One that is further off says so, leads only where no other can, and goes by the majority's time.",
	},
	registration: {
		Name: "registration", Unit: "0, 1 or 2", Default: registrationOpen, Min: registrationOpen, Max: registrationClosed, Since: levelRegistration,
		Words: []string{"open", "token", "closed"},
		Doc:   "Who may make an account: 0 everybody (`open`), 1 who has an invite token (`token`), 2 nobody (`closed`).",
	},
	registrationBurst: {
		Name: "registration_burst", Unit: "accounts", Default: 1000, Min: 1, Max: 1_000_000, Since: levelRegistration,
		Doc: "How many accounts the whole cluster makes at once for who has no invite token. Those with one are bounded by their tokens alone.",
	},
	registrationHourly: {
		Name: "registration_hourly", Unit: "accounts an hour", Default: 1000, Min: 1, Max: 3_600_000, Since: levelRegistration,
		Doc: "How many such accounts become free again in an hour.",
	},
	memberInvitesDaily: {
		Name: "member_invites_daily", Unit: "accounts a day", Default: 0, Min: 0, Max: 1000, Since: levelRegistration,
		Doc: "How many accounts each member may invite in a day, over all uses of its tokens. 0: only operators invite (`qpqd invite`).",
	},
	inviteMaxSecs: {
		Name: "invite_max_secs", Unit: "seconds", Default: 30 * day, Min: 60, Max: 3650 * day, Since: levelRegistration,
		Doc: "The longest time that an invite token may be good for.",
	},
	groupRecordsMax: {
		Name: "group_records_max", Unit: "records", Default: 1000, Min: 1, Max: 1_000_000, Since: levelRegistration,
		Doc: "How many group records there may be that an account has made. One ends when nobody commits for group_idle_secs.",
	},
	groupBytesMax: {
		Name: "group_bytes_max", Unit: "bytes", Default: 32 * mib, Min: schemas.MaxGroupInfo, Max: 1 << 40, Since: levelRegistration,
		Doc: "How many bytes of group infos an account keeps: those of the groups in which it was the last to commit.",
	},
	requireChannelAuthz: {
		Name: "require_channel_authz", Unit: "0 or 1", Default: 1, Min: 0, Max: 1,
		Doc: "Whether only the two members of a channel may use it. 0: a channel id only names a queue.",
	},
}

// Settings returns the table of cluster settings.
func Settings() []Setting { return append([]Setting(nil), settingTable[:]...) }

func settingByName(name string) (settingID, bool) {
	for id := range settingTable {
		if settingTable[id].Name == name {
			return settingID(id), true
		}
	}
	return 0, false
}

// checkChangeSettings refuses in this order: number of settings; then, setting
// by setting, name and range. The feature level never goes back: what the log refuses
// once, no node can have it take again.
func checkChangeSettings(st state, r *request) refusal {
	if len(r.settings) > schemas.MaxSettings {
		return refusal{schemas.Code_messageTooLarge, schemas.MaxSettings}
	}
	for _, s := range r.settings {
		id, ok := settingByName(s.name)
		if !ok || !since(st, settingTable[id].Since) {
			return refuse(schemas.Code_settingUnknown)
		}
		switch row := &settingTable[id]; {
		case s.value < row.Min:
			return refusal{schemas.Code_settingRange, row.Min}
		case s.value > row.Max:
			return refusal{schemas.Code_settingRange, row.Max}
		}
		if id == featureLevel && s.value < st.setting(featureLevel) {
			return refusal{schemas.Code_settingRange, st.setting(featureLevel)}
		}
	}
	return refusal{}
}

// applyChangeSettings takes the settings in their order. The result counts
// those whose value became another.
func applyChangeSettings(tx *Tx, r *request) Result {
	changed := uint64(0)
	for _, s := range r.settings {
		id, _ := settingByName(s.name)
		if id == featureLevel && s.value < tx.setting(featureLevel) {
			continue // an earlier one of the same command has raised it
		}
		if id == featureLevel && tx.setting(id) < levelStatements && s.value >= levelStatements {
			startIndexing(tx)
		}
		if tx.setting(id) != s.value {
			tx.putSetting(id, s.value)
			changed++
		}
	}
	return tx.numberResult(changed)
}

// The feature levels and what they brought. What is new in an old command counts from
// its level on only, so that logs of before lead to what they led to, and so that
// nodes of an older build beside newer ones never see it.
const (
	// levelStatements brought ephemeral envelopes, times to live that end at the
	// second, reasons in loss markers, statements that accounts sign for what a node
	// alone must not do, and usernames that can be told apart.
	levelStatements = 2
	// levelInstances brought setInstance.
	levelInstances = 3
	// levelClocks brought the setting clock_error_secs.
	levelClocks = 4
	// levelOverForgotten brought commits that end a later epoch than the record's.
	levelOverForgotten = 5
	// levelShares brought setContacts, and shares of queues.
	levelShares = 5
	// levelRegistration brought createInvite and refuse, registrations that answer one
	// response, the setting registration, and quotas of group records.
	levelRegistration = 6
	// levelNodeKeys brought changeNodeKey.
	levelNodeKeys = 7
	// levelFingerprints brought outcomes that know what command they are of.
	levelFingerprints = 4
)

// since reports whether the log is judged by the rules of a level.
func since(st state, level uint64) bool { return st.setting(featureLevel) >= level }

// namedLevel is the feature level that a command wants to raise the cluster to: every
// member must know it.
func (r *request) namedLevel() (level uint32) {
	if r.tag != schemas.Entry_command_Which_changeSettings {
		return 0
	}
	for _, s := range r.settings {
		if s.name == SettingFeatureLevel {
			level = max(level, uint32(min(s.value, math.MaxUint32)))
		}
	}
	return level
}
