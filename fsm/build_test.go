package fsm

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// call is one line of a script: a command and its arguments,
//
//	enqueue to=ann body=hello ttl=60 as=bob
//
// as the tests write entries everywhere. Names stand for ids of the right
// length; !31 stands for 31 bytes; x*1000 for a thousand x.
type call struct {
	name string
	args []argument // in the order of the line
	auto int        // the request id if the line names none
}

type argument struct{ key, value string }

func parseCall(tb testing.TB, line string, auto int) call {
	tb.Helper()
	fields := strings.Fields(line)
	c := call{name: fields[0], auto: auto}
	for _, field := range fields[1:] {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			tb.Fatalf("%q: an argument is written key=value", line)
		}
		c.args = append(c.args, argument{key, value})
	}
	return c
}

func (c *call) arg(key, or string) string {
	for _, a := range c.args {
		if a.key == key {
			return a.value
		}
	}
	return or
}

func (c *call) number(tb testing.TB, key string, or uint64) uint64 {
	tb.Helper()
	n, err := strconv.ParseUint(c.arg(key, strconv.FormatUint(or, 10)), 10, 64)
	must(tb, err)
	return n
}

// idBytes makes size bytes of a name.
func idBytes(tb testing.TB, name string, size int) []byte {
	tb.Helper()
	switch {
	case name == "" || name == "-":
		return nil
	case name == "zeros":
		return make([]byte, size)
	case name[0] == '+':
		return signer(name[1:]).Public().(ed25519.PublicKey)[:size]
	case name[0] == '!':
		n, err := strconv.Atoi(name[1:])
		must(tb, err)
		return make([]byte, n)
	}
	id := bytes.Repeat([]byte{'.'}, size)
	copy(id, name)
	return id
}

// signer is the Ed25519 key of a name; +name stands for its public key.
func signer(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// signed is the signature of the line's by over a statement: none without, !N is N
// bytes.
func (c *call) signed(tb testing.TB, s identity.Statement) []byte {
	tb.Helper()
	by := c.arg("by", "")
	if by == "" || by[0] == '!' {
		return idBytes(tb, by, 0)
	}
	signature, err := s.Sign(signer(by))
	must(tb, err)
	return signature
}

func bodyBytes(tb testing.TB, text string) []byte {
	tb.Helper()
	if what, times, ok := strings.Cut(text, "*"); ok {
		n, err := strconv.Atoi(times)
		must(tb, err)
		return bytes.Repeat([]byte(what), n)
	}
	return []byte(text)
}

// requestID is the 16 bytes of a script's id: a number, or what idBytes makes.
func requestID(tb testing.TB, name string) []byte {
	tb.Helper()
	if n, err := strconv.Atoi(name); err == nil {
		return newID(n)
	}
	return idBytes(tb, name, schemas.RequestIDSize)
}

// queueID reads name, name:device and either with @channel.
func queueID(tb testing.TB, text string) QueueID {
	tb.Helper()
	var q QueueID
	text, channel, _ := strings.Cut(text, "@")
	name, device, _ := strings.Cut(text, ":")
	copy(q.Owner[:], idBytes(tb, name, schemas.AccountKeySize))
	copy(q.Device[:], idBytes(tb, device, schemas.DeviceIDSize))
	if !q.Channel.set(idBytes(tb, channel, schemas.ChannelIDSize)) {
		tb.Fatalf("%q: channel of the wrong length", text)
	}
	return q
}

// frame builds the call's entry.
func (c *call) frame(tb testing.TB) []byte {
	tb.Helper()
	or := strconv.Itoa(c.auto)
	builder := entryBuilder{kind: schemas.Actor_Kind_nobody}
	tested, ok := testedCommands[c.name]
	if !ok {
		tb.Fatalf("%q is no command", c.name)
	}
	builder.kind = tested.as
	if tested.noID {
		or = "-"
	}
	builder.id = requestID(tb, c.arg("id", or))
	switch as := c.arg("as", ""); as {
	case "":
	case "nobody":
		builder.kind = schemas.Actor_Kind_nobody
	case "node":
		builder.kind = schemas.Actor_Kind_node
	default:
		name, device, _ := strings.Cut(as, ":")
		builder.kind = schemas.Actor_Kind_account
		builder.actor = idBytes(tb, name, schemas.AccountKeySize)
		builder.device = idBytes(tb, device, schemas.DeviceIDSize)
	}
	return builder.frame(tb, func(e schemas.Entry) error { return tested.fill(c, tb, e.Command()) })
}

// testedCommand is how scripts write a command and show its results. Each topic
// has a table of its own in its test file; testedCommands has them all.
type testedCommand struct {
	as   schemas.Actor_Kind // whose it is if the line does not say
	noID bool               // it has no request id if the line names none
	fill func(*call, testing.TB, schemas.Entry_command) error
	show func(testing.TB, capnp.Struct) string
}

var testedCommands = gather(queueCommands, accountCommands, channelCommands, keysCommands, groupCommands)

func gather(topics ...map[string]testedCommand) map[string]testedCommand {
	all := map[string]testedCommand{}
	for _, topic := range topics {
		maps.Copy(all, topic)
	}
	return all
}

var queueCommands = map[string]testedCommand{
	"enqueue":        {as: schemas.Actor_Kind_node, fill: (*call).fillEnqueue, show: showEnqueue},
	"batchEnqueue":   {as: schemas.Actor_Kind_node, fill: (*call).fillBatchEnqueue, show: showOutcomes},
	"ack":            {as: schemas.Actor_Kind_node, noID: true, fill: (*call).fillAck, show: showAck},
	"expire":         {as: schemas.Actor_Kind_node, noID: true, fill: (*call).fillExpire, show: showExpire},
	"changeSettings": {as: schemas.Actor_Kind_node, fill: (*call).fillChangeSettings, show: showSettings},
}

func (c *call) fillEnqueue(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewEnqueue()
	must(tb, err)
	p.SetVersion(uint16(c.number(tb, "version", schemas.WireVersion)))
	p.SetTtlSecs(uint32(c.number(tb, "ttl", 0)))
	p.SetEphemeral(c.arg("ephemeral", "") != "")
	must(tb, p.SetRecipientKey(idBytes(tb, c.arg("to", "-"), schemas.AccountKeySize)))
	must(tb, p.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize)))
	return p.SetPayload(bodyBytes(tb, c.arg("body", "")))
}

// fillBatchEnqueue reads to=ann,bob:phone,eve/header.
func (c *call) fillBatchEnqueue(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewBatchEnqueue()
	must(tb, err)
	p.SetVersion(uint16(c.number(tb, "version", schemas.WireVersion)))
	p.SetTtlSecs(uint32(c.number(tb, "ttl", 0)))
	p.SetEphemeral(c.arg("ephemeral", "") != "")
	must(tb, p.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize)))
	must(tb, p.SetPayload(bodyBytes(tb, c.arg("body", ""))))
	var names []string
	if to := c.arg("to", ""); to != "" {
		names = strings.Split(to, ",")
	}
	for n := c.number(tb, "more", 0); n > 0; n-- {
		names = append(names, fmt.Sprintf("more%d", n))
	}
	list, err := p.NewRecipients(int32(len(names)))
	must(tb, err)
	for i, name := range names {
		name, header, _ := strings.Cut(name, "/")
		name, device, _ := strings.Cut(name, ":")
		must(tb, list.At(i).SetKey(idBytes(tb, name, schemas.AccountKeySize)))
		must(tb, list.At(i).SetDevice(idBytes(tb, device, schemas.DeviceIDSize)))
		must(tb, list.At(i).SetHeader(bodyBytes(tb, header)))
	}
	return nil
}

func (c *call) fillAck(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewAck()
	must(tb, err)
	p.SetVersion(uint16(c.number(tb, "version", schemas.WireVersion)))
	p.SetSeq(c.number(tb, "seq", 0))
	must(tb, p.SetDeviceId(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	must(tb, p.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize)))
	return p.SetRecipientKey(idBytes(tb, c.arg("to", "-"), schemas.AccountKeySize))
}

func (c *call) fillExpire(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewExpire()
	must(tb, err)
	p.SetMaxRows(uint32(c.number(tb, "rows", 0)))
	return nil
}

func (c *call) fillChangeSettings(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewChangeSettings()
	must(tb, err)
	var settings []argument
	for _, a := range c.args {
		if a.key != "id" && a.key != "as" && a.key != "repeat" {
			settings = append(settings, a)
		}
	}
	repeat := int(c.number(tb, "repeat", 1))
	list, err := p.NewSettings(int32(len(settings) * repeat))
	must(tb, err)
	for i := range list.Len() {
		s := settings[i%len(settings)]
		value, err := strconv.ParseUint(s.value, 10, 64)
		must(tb, err)
		list.At(i).SetValue(value)
		must(tb, list.At(i).SetName(s.key))
	}
	return nil
}

// show writes a result as scripts expect it.
func (c *call) show(tb testing.TB, r Result) string {
	tb.Helper()
	if r.Code != schemas.Code_ok {
		text := r.Code.ID() + " " + r.Code.Doc().Name
		if r.Value != 0 {
			text += fmt.Sprintf(" %d", r.Value)
		}
		return text
	}
	msg, err := schemas.Unmarshal(r.Data)
	must(tb, err)
	root, err := msg.Root()
	must(tb, err)
	return testedCommands[c.name].show(tb, root.Struct())
}

func showEnqueue(_ testing.TB, results capnp.Struct) string {
	return fmt.Sprintf("ok seq=%d", schemas.EnqueueResults(results).Seq())
}

func showAck(_ testing.TB, results capnp.Struct) string {
	return fmt.Sprintf("ok removed=%d", schemas.AckResults(results).Removed())
}

func showExpire(_ testing.TB, results capnp.Struct) string {
	res := schemas.ExpireResults(results)
	return fmt.Sprintf("ok removed=%d more=%v", res.Removed(), res.More())
}

func showSettings(_ testing.TB, results capnp.Struct) string {
	return fmt.Sprintf("ok changed=%d", schemas.ChangeSettingsResults(results).Changed())
}

func showOutcomes(tb testing.TB, results capnp.Struct) string {
	tb.Helper()
	list, err := schemas.BatchEnqueueResults(results).Outcomes()
	must(tb, err)
	if n := list.Len(); n > 8 {
		return fmt.Sprintf("ok for %d, the last seq=%d", n, list.At(n-1).Seq())
	}
	text := "ok"
	for i := range list.Len() {
		if code := list.At(i).Code(); code != schemas.Code_ok {
			text += " " + code.ID()
		} else {
			text += fmt.Sprintf(" seq=%d", list.At(i).Seq())
		}
	}
	return text
}

// setTag writes a tag that the schema does not know.
func setTag(e schemas.Entry, tag uint16) { capnp.Struct(e).SetUint16(2, tag) }
