package fsm

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"

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

func parseCall(t testing.TB, line string, auto int) call {
	t.Helper()
	fields := strings.Fields(line)
	c := call{name: fields[0], auto: auto}
	for _, field := range fields[1:] {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			t.Fatalf("%q: an argument is written key=value", line)
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

func (c *call) number(t testing.TB, key string, or uint64) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(c.arg(key, strconv.FormatUint(or, 10)), 10, 64)
	must(t, err)
	return n
}

// idBytes makes size bytes of a name.
func idBytes(t testing.TB, name string, size int) []byte {
	t.Helper()
	switch {
	case name == "" || name == "-":
		return nil
	case name == "zeros":
		return make([]byte, size)
	case name[0] == '!':
		n, err := strconv.Atoi(name[1:])
		must(t, err)
		return make([]byte, n)
	}
	id := bytes.Repeat([]byte{'.'}, size)
	copy(id, name)
	return id
}

func bodyBytes(t testing.TB, text string) []byte {
	t.Helper()
	if what, times, ok := strings.Cut(text, "*"); ok {
		n, err := strconv.Atoi(times)
		must(t, err)
		return bytes.Repeat([]byte(what), n)
	}
	return []byte(text)
}

// requestID is the 16 bytes of a script's id: a number, or what idBytes makes.
func requestID(t testing.TB, name string) []byte {
	t.Helper()
	if n, err := strconv.Atoi(name); err == nil {
		return newID(n)
	}
	return idBytes(t, name, schemas.RequestIDSize)
}

// queueID reads name, name:device and either with @channel.
func queueID(t testing.TB, text string) QueueID {
	t.Helper()
	var q QueueID
	text, channel, _ := strings.Cut(text, "@")
	name, device, _ := strings.Cut(text, ":")
	copy(q.Owner[:], accountKey(name))
	copy(q.Device[:], idBytes(t, device, schemas.DeviceIDSize))
	if !q.Channel.set(idBytes(t, channel, schemas.ChannelIDSize)) {
		t.Fatalf("%q: channel of the wrong length", text)
	}
	return q
}

// frame builds the call's entry.
func (c *call) frame(t testing.TB) []byte {
	t.Helper()
	or := strconv.Itoa(c.auto)
	builder := entryBuilder{kind: schemas.Actor_Kind_nobody}
	switch c.name {
	case "ack", "expire":
		or = "-"
		builder.kind = schemas.Actor_Kind_node
	case "changeSettings":
		builder.kind = schemas.Actor_Kind_node
	}
	builder.id = requestID(t, c.arg("id", or))
	switch as := c.arg("as", ""); as {
	case "":
	case "nobody":
		builder.kind = schemas.Actor_Kind_nobody
	case "node":
		builder.kind = schemas.Actor_Kind_node
	default:
		name, device, _ := strings.Cut(as, ":")
		builder.kind = schemas.Actor_Kind_account
		builder.actor = idBytes(t, name, schemas.AccountKeySize)
		builder.device = idBytes(t, device, schemas.DeviceIDSize)
	}
	fill := map[string]func(testing.TB, schemas.Entry_command) error{
		"enqueue": c.fillEnqueue, "batchEnqueue": c.fillBatchEnqueue, "ack": c.fillAck,
		"expire": c.fillExpire, "changeSettings": c.fillChangeSettings,
	}[c.name]
	if fill == nil {
		t.Fatalf("%q is no command", c.name)
	}
	return builder.frame(t, func(e schemas.Entry) error { return fill(t, e.Command()) })
}

func (c *call) fillEnqueue(t testing.TB, cmd schemas.Entry_command) error {
	p, err := cmd.NewEnqueue()
	must(t, err)
	p.SetVersion(uint16(c.number(t, "version", schemas.WireVersion)))
	p.SetTtlSecs(uint32(c.number(t, "ttl", 0)))
	must(t, p.SetRecipientKey(idBytes(t, c.arg("to", "-"), schemas.AccountKeySize)))
	must(t, p.SetChannelId(idBytes(t, c.arg("channel", "-"), schemas.ChannelIDSize)))
	return p.SetPayload(bodyBytes(t, c.arg("body", "")))
}

// fillBatchEnqueue reads to=ann,bob:phone,eve/header.
func (c *call) fillBatchEnqueue(t testing.TB, cmd schemas.Entry_command) error {
	p, err := cmd.NewBatchEnqueue()
	must(t, err)
	p.SetVersion(uint16(c.number(t, "version", schemas.WireVersion)))
	p.SetTtlSecs(uint32(c.number(t, "ttl", 0)))
	must(t, p.SetChannelId(idBytes(t, c.arg("channel", "-"), schemas.ChannelIDSize)))
	must(t, p.SetPayload(bodyBytes(t, c.arg("body", ""))))
	var names []string
	if to := c.arg("to", ""); to != "" {
		names = strings.Split(to, ",")
	}
	for n := c.number(t, "more", 0); n > 0; n-- {
		names = append(names, fmt.Sprintf("more%d", n))
	}
	list, err := p.NewRecipients(int32(len(names)))
	must(t, err)
	for i, name := range names {
		name, header, _ := strings.Cut(name, "/")
		name, device, _ := strings.Cut(name, ":")
		must(t, list.At(i).SetKey(idBytes(t, name, schemas.AccountKeySize)))
		must(t, list.At(i).SetDevice(idBytes(t, device, schemas.DeviceIDSize)))
		must(t, list.At(i).SetHeader(bodyBytes(t, header)))
	}
	return nil
}

func (c *call) fillAck(t testing.TB, cmd schemas.Entry_command) error {
	p, err := cmd.NewAck()
	must(t, err)
	p.SetVersion(uint16(c.number(t, "version", schemas.WireVersion)))
	p.SetSeq(c.number(t, "seq", 0))
	must(t, p.SetDeviceId(idBytes(t, c.arg("device", "-"), schemas.DeviceIDSize)))
	must(t, p.SetChannelId(idBytes(t, c.arg("channel", "-"), schemas.ChannelIDSize)))
	return p.SetRecipientKey(idBytes(t, c.arg("to", "-"), schemas.AccountKeySize))
}

func (c *call) fillExpire(t testing.TB, cmd schemas.Entry_command) error {
	p, err := cmd.NewExpire()
	must(t, err)
	p.SetMaxRows(uint32(c.number(t, "rows", 0)))
	return nil
}

func (c *call) fillChangeSettings(t testing.TB, cmd schemas.Entry_command) error {
	p, err := cmd.NewChangeSettings()
	must(t, err)
	var settings []argument
	for _, a := range c.args {
		if a.key != "id" && a.key != "as" && a.key != "repeat" {
			settings = append(settings, a)
		}
	}
	repeat := int(c.number(t, "repeat", 1))
	list, err := p.NewSettings(int32(len(settings) * repeat))
	must(t, err)
	for i := range list.Len() {
		s := settings[i%len(settings)]
		value, err := strconv.ParseUint(s.value, 10, 64)
		must(t, err)
		list.At(i).SetValue(value)
		must(t, list.At(i).SetName(s.key))
	}
	return nil
}

// show writes a result as scripts expect it.
func (c *call) show(t testing.TB, r Result) string {
	t.Helper()
	if r.Code != schemas.Code_ok {
		text := r.Code.ID() + " " + r.Code.Doc().Name
		if r.Value != 0 {
			text += fmt.Sprintf(" %d", r.Value)
		}
		return text
	}
	msg, err := schemas.Unmarshal(r.Data)
	must(t, err)
	root, err := msg.Root()
	must(t, err)
	switch c.name {
	case "enqueue":
		return fmt.Sprintf("ok seq=%d", schemas.EnqueueResults(root.Struct()).Seq())
	case "ack":
		return fmt.Sprintf("ok removed=%d", schemas.AckResults(root.Struct()).Removed())
	case "expire":
		res := schemas.ExpireResults(root.Struct())
		return fmt.Sprintf("ok removed=%d more=%v", res.Removed(), res.More())
	case "changeSettings":
		return fmt.Sprintf("ok changed=%d", schemas.ChangeSettingsResults(root.Struct()).Changed())
	}
	list, err := schemas.BatchEnqueueResults(root.Struct()).Outcomes()
	must(t, err)
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
