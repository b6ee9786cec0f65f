package fsm

import (
	"fmt"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

var channelCommands = map[string]testedCommand{
	"createChannel": {fill: (*call).fillCreateChannel, show: showCreateChannel},
	"drain":         {fill: (*call).fillDrain, show: showDrain},
}

func (c *call) fillCreateChannel(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewCreateChannel()
	must(tb, err)
	must(tb, p.SetPeerKey(idBytes(tb, c.arg("peer", "-"), schemas.AccountKeySize)))
	return p.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize))
}

func showCreateChannel(tb testing.TB, results capnp.Struct) string {
	tb.Helper()
	res := schemas.CreateChannelResults(results)
	id, err := res.ChannelId()
	must(tb, err)
	return fmt.Sprintf("ok %s new=%v", short(id), res.WasNew())
}

func (c *call) fillDrain(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewDrain()
	must(tb, err)
	p.SetVersion(uint16(c.number(tb, "version", schemas.WireVersion)))
	p.SetLimit(uint32(c.number(tb, "limit", 0)))
	must(tb, p.SetRecipientKey(idBytes(tb, c.arg("to", "-"), schemas.AccountKeySize)))
	must(tb, p.SetDeviceId(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	return p.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize))
}

func showDrain(tb testing.TB, results capnp.Struct) string {
	tb.Helper()
	list, err := schemas.FetchResults(results).Payloads()
	must(tb, err)
	var out strings.Builder
	out.WriteString("ok")
	for i := range list.Len() {
		e := list.At(i)
		data, err := e.Data()
		must(tb, err)
		header, err := e.Header()
		must(tb, err)
		fmt.Fprintf(&out, " %d", e.Seq())
		loss, err := e.Loss()
		must(tb, err)
		switch {
		case loss.Count() != 0:
			fmt.Fprintf(&out, ":lost(%d..%d)", loss.FirstSeq(), loss.LastSeq())
		case len(data) > 40:
			fmt.Fprintf(&out, ":%d-bytes", len(data))
		default:
			fmt.Fprintf(&out, ":%s", data)
		}
		if len(header) > 0 {
			fmt.Fprintf(&out, "[%s]", header)
		}
	}
	return out.String()
}

// showChannels is the channels directive, two to a page.
func showChannels(t *testing.T, v *View, account string) string {
	t.Helper()
	key := AccountKey(idBytes(t, account, schemas.AccountKeySize))
	var out strings.Builder
	var after ChannelID
	for {
		page, err := v.Channels(key, after, 2)
		must(t, err)
		if len(page) == 0 {
			return out.String()
		}
		for _, c := range page {
			peer, ok := c.Other(key)
			if !ok {
				t.Errorf("%s lists a channel that is not its own", account)
			}
			fmt.Fprintf(&out, "%s with %s since %d\n", short(c.ID.id[:]), short(peer[:]), c.CreatedMs)
		}
		after = page[len(page)-1].ID
	}
}

// channelLine is a random line of the channel topic and of what channels guard.
func channelLine(pick func(...string) string) string {
	as, peer := pick("ann", "bob", "cat"), pick("ann", "bob", "cat")
	channel := " channel=" + pick("c", "c1", "c2", "-")
	switch pick("create", "create", "send", "send", "batch", "drain", "drain", "ack", "authz") {
	case "create":
		return fmt.Sprintf("createChannel as=%s peer=%s%s", as, peer, channel)
	case "send":
		return fmt.Sprintf("enqueue as=%s to=%s%s body=%s", as, peer, channel, pick("m", "n*9000", "n*20000"))
	case "batch":
		return fmt.Sprintf("batchEnqueue as=%s to=%s%s body=b*9000", as, pick("ann", "bob,ann", "ann:phone,bob", "cat,eve"), channel)
	case "drain":
		return fmt.Sprintf("drain as=%s to=%s%s limit=%s device=%s", as, as, channel, pick("0", "1", "3"), pick("-", "phone"))
	case "ack":
		return fmt.Sprintf("ack as=%s to=%s%s seq=%s", as, as, channel, pick("1", "3"))
	}
	return "changeSettings " + pick("require_channel_authz=0", "require_channel_authz=1", "account_max_bytes=2097152")
}
