package fsm

import (
	"fmt"

	"quicproquo/schemas"
)

// decoder turns entries into requests, reusing its memory: a request and all
// its slices are valid until the next decode. One goroutine at a time.
type decoder struct {
	reader  schemas.Reader
	request request
}

// request is one entry in plain Go: who asks for what. Lengths are judged by
// the rules, not here, so that each has its own code.
type request struct {
	tag   schemas.Entry_command_Which
	size  int // of the framed entry, in bytes
	idLen int // of the request id in the message
	id    RequestID
	actor actor

	// The parameters of the tag's command; the others hold what an earlier
	// request left.
	enqueue      enqueueRequest
	batchEnqueue batchEnqueueRequest
	ack          ackRequest
	expire       expireRequest
	settings     []settingRequest

	uploadKeyPackages uploadKeyPackagesRequest
	claimKeyPackages  claimKeyPackagesRequest
	uploadHybridKey   uploadHybridKeyRequest

	publishCommit publishCommitRequest

	createChannel createChannelRequest
	drain         drainRequest

	putSecret       putSecretRequest
	createAccount   createAccountRequest
	replaceRecord   replaceRecordRequest
	beginLogin      beginLoginRequest
	openSession     openSessionRequest
	renewSessions   [][]byte
	closeSessions   closeSessionsRequest
	registerDevice  registerDeviceRequest
	revokeDevice    revokeDeviceRequest
	deleteAccount   said
	publishEndpoint publishEndpointRequest
	setInstance     setInstanceRequest
	setContacts     setContactsRequest
	createInvite    createInviteRequest
	refuse          refuseRequest
	changeNodeKey   changeNodeKeyRequest
}

// actor is on whose behalf a command runs, as the node that took the call says.
type actor struct {
	kind    schemas.Actor_Kind
	account AccountKey
	device  DeviceID
	// complete is false if an account or device has the wrong length for the kind.
	complete bool
}

// decode reads an entry whole. An error means that this build can't know what
// the entry says: a node that meets it in the log must stop. Whatever decodes
// once decodes everywhere, so a proposer that refuses what does not decode
// keeps such entries out of the log.
func (d *decoder) decode(frame []byte) (*request, error) {
	if d.fastDecode(frame) {
		return &d.request, nil
	}
	return d.slowDecode(frame)
}

func (d *decoder) slowDecode(frame []byte) (*request, error) {
	msg, err := d.reader.Open(frame)
	if err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	entry, err := schemas.ReadRootEntry(msg)
	if err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	if v := entry.Version(); v != schemas.EntryVersion {
		return nil, fmt.Errorf("entry has version %d, this build knows %d", v, schemas.EntryVersion)
	}
	r := &d.request
	r.tag, r.size = entry.Command().Which(), len(frame)
	row := commandOf(r.tag)
	if row == nil {
		return nil, fmt.Errorf("entry has the unknown command %s", r.tag)
	}
	id, err := entry.RequestId()
	if err != nil {
		return nil, fmt.Errorf("read request id: %w", err)
	}
	r.idLen = len(id)
	copy(r.id[:], id)
	if err := r.actor.decode(entry); err != nil {
		return nil, fmt.Errorf("read actor: %w", err)
	}
	if err := row.decode(r, entry.Command()); err != nil {
		return nil, fmt.Errorf("read %s: %w", row.name, err)
	}
	return r, nil
}

func (a *actor) decode(entry schemas.Entry) error {
	msg, err := entry.Actor()
	if err != nil {
		return err
	}
	account, err := msg.Account()
	if err != nil {
		return err
	}
	device, err := msg.Device()
	if err != nil {
		return err
	}
	if !a.set(msg.Kind(), account, device) {
		return fmt.Errorf("unknown kind %d", msg.Kind())
	}
	return nil
}

// set tells whether this build knows the kind.
func (a *actor) set(kind schemas.Actor_Kind, account, device []byte) bool {
	*a = actor{kind: kind}
	if kind == schemas.Actor_Kind_account {
		a.complete = copyExact(a.account[:], account) && (len(device) == 0 || copyExact(a.device[:], device))
	} else {
		a.complete = len(account) == 0 && len(device) == 0
	}
	return kind <= schemas.Actor_Kind_account
}

// appendKey appends what tells one actor from another.
func (a *actor) appendKey(key []byte) []byte {
	key = append(key, byte(a.kind))
	if a.kind == schemas.Actor_Kind_account {
		key = append(key, a.account[:]...)
		key = append(key, a.device[:]...)
	}
	return key
}

// address is a queue as a call names it.
type address struct {
	queue     QueueID
	keyOK     bool // the key has 32 bytes and the device id 0 or 16
	channelOK bool // the channel id has 0 or 16 bytes
}

func (a *address) set(key, device, channel []byte) {
	a.queue = QueueID{}
	a.keyOK = copyExact(a.queue.Owner[:], key) && (len(device) == 0 || copyExact(a.queue.Device[:], device))
	a.channelOK = a.queue.Channel.set(channel)
}

type enqueueRequest struct {
	address
	payload []byte
	version uint16
	ttlSecs uint32
	// ephemeral counts since levelStatements.
	ephemeral bool
}

func (r *request) decodeEnqueue(cmd schemas.Entry_command) error {
	msg, err := cmd.Enqueue()
	if err != nil {
		return err
	}
	p := &r.enqueue
	key, err := msg.RecipientKey()
	if err != nil {
		return err
	}
	channel, err := msg.ChannelId()
	if err != nil {
		return err
	}
	if p.payload, err = msg.Payload(); err != nil {
		return err
	}
	p.set(key, nil, channel)
	p.version, p.ttlSecs, p.ephemeral = msg.Version(), msg.TtlSecs(), msg.Ephemeral()
	return nil
}

type recipientRequest struct {
	address
	header []byte
}

type batchEnqueueRequest struct {
	recipients []recipientRequest // at most MaxRecipients are read
	named      int                // how many the call names
	payload    []byte
	version    uint16
	ttlSecs    uint32
	ephemeral  bool // counts since levelStatements
}

func (r *request) decodeBatchEnqueue(cmd schemas.Entry_command) error {
	msg, err := cmd.BatchEnqueue()
	if err != nil {
		return err
	}
	p := &r.batchEnqueue
	p.version, p.ttlSecs, p.ephemeral = msg.Version(), msg.TtlSecs(), msg.Ephemeral()
	if p.payload, err = msg.Payload(); err != nil {
		return err
	}
	channel, err := msg.ChannelId()
	if err != nil {
		return err
	}
	list, err := msg.Recipients()
	if err != nil {
		return err
	}
	p.named, p.recipients = list.Len(), p.recipients[:0]
	for i := range min(p.named, schemas.MaxRecipients) {
		var to recipientRequest
		if err := to.decode(list.At(i), channel); err != nil {
			return fmt.Errorf("recipient %d: %w", i, err)
		}
		p.recipients = append(p.recipients, to)
	}
	return nil
}

func (to *recipientRequest) decode(msg schemas.Recipient, channel []byte) error {
	key, err := msg.Key()
	if err != nil {
		return err
	}
	device, err := msg.Device()
	if err != nil {
		return err
	}
	if to.header, err = msg.Header(); err != nil {
		return err
	}
	to.set(key, device, channel)
	return nil
}

type ackRequest struct {
	address
	seq     uint64
	version uint16
}

func (r *request) decodeAck(cmd schemas.Entry_command) error {
	msg, err := cmd.Ack()
	if err != nil {
		return err
	}
	key, err := msg.RecipientKey()
	if err != nil {
		return err
	}
	device, err := msg.DeviceId()
	if err != nil {
		return err
	}
	channel, err := msg.ChannelId()
	if err != nil {
		return err
	}
	r.ack.set(key, device, channel)
	r.ack.seq, r.ack.version = msg.Seq(), msg.Version()
	return nil
}

type expireRequest struct {
	maxRows uint32
}

func (r *request) decodeExpire(cmd schemas.Entry_command) error {
	msg, err := cmd.Expire()
	if err != nil {
		return err
	}
	r.expire.maxRows = msg.MaxRows()
	return nil
}

type settingRequest struct {
	name  string
	value uint64
}

func (r *request) decodeChangeSettings(cmd schemas.Entry_command) error {
	msg, err := cmd.ChangeSettings()
	if err != nil {
		return err
	}
	list, err := msg.Settings()
	if err != nil {
		return err
	}
	r.settings = r.settings[:0]
	// One more than the limit is enough to see that there are too many.
	for i := range min(list.Len(), schemas.MaxSettings+1) {
		name, err := list.At(i).Name()
		if err != nil {
			return fmt.Errorf("setting %d: %w", i, err)
		}
		r.settings = append(r.settings, settingRequest{name, list.At(i).Value()})
	}
	return nil
}
