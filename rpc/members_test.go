package rpc

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"

	client "quicproquo/client/conn"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// member is an account whose client is logged in, without the OPAQUE run, which
// has tests of its own and takes a tenth of a second.
type member struct {
	*client.Conn
	key client.AccountKey
}

func (d accountDoor) member(tb testing.TB, name string) member {
	tb.Helper()
	m := member{Conn: d.client(tb)}
	copy(m.key[:], name+"................................")
	d.node.mustWrite(tb, func(to schemas.Entry_command) error {
		p, err := to.NewCreateAccount()
		must(tb, err)
		return errors.Join(p.SetUsername(name), p.SetIdentityKey(m.key[:]), p.SetRecord([]byte(name)))
	})
	m.SetSession(d.session(tb, name, m.key, client.DeviceID{}))
	return m
}

// on opens another client of the account, logged in on a device; the device is
// registered if it is not there.
func (d accountDoor) on(tb testing.TB, m member, name string, device client.DeviceID) member {
	tb.Helper()
	if _, err := m.RegisterDevice(tb.Context(), client.Device{ID: device}, nil); err != nil {
		tb.Fatal(err)
	}
	other := member{Conn: d.client(tb), key: m.key}
	other.SetSession(d.session(tb, name, m.key, device))
	return other
}

// session opens a session that is used by its token alone.
func (d accountDoor) session(tb testing.TB, name string, key client.AccountKey, device client.DeviceID) *client.Session {
	tb.Helper()
	s := &client.Session{Account: key, Device: device}
	copy(s.Token[:], newRequestID())
	record, token := sha256.Sum256([]byte(name)), sha256.Sum256(s.Token[:])
	d.node.mustWrite(tb, func(to schemas.Entry_command) error {
		p, err := to.NewOpenSession()
		must(tb, err)
		p.SetHandshakeExpiresMs(uint64(time.Now().Add(d.node.skew + time.Minute).UnixMilli()))
		if device != (client.DeviceID{}) {
			must(tb, p.SetDeviceId(device[:]))
		}
		return errors.Join(p.SetName(record[:]), p.SetUsername(name), p.SetIdentityKey(key[:]),
			p.SetTokenHash(token[:]), p.SetHandshakeId(newRequestID()), p.SetRecordDigest(record[:]))
	})
	return s
}

// mustWrite is write for what must succeed.
func (n *accountNode) mustWrite(tb testing.TB, fill func(schemas.Entry_command) error) {
	tb.Helper()
	if result := n.write(tb, fill); result.Code != schemas.Code_ok {
		tb.Fatalf("refused with %s", result.Code)
	}
}

// stats are a queue's numbers.
func (n *accountNode) stats(tb testing.TB, q fsm.QueueID) fsm.QueueStats {
	tb.Helper()
	view, err := n.View()
	must(tb, err)
	defer func() { must(tb, view.Close()) }()
	stats, err := view.Queue(q)
	must(tb, err)
	return stats
}

// as makes a call as the member, with parameters that the client library would not
// send, and throws its results away.
func as[P interface {
	~capnp.StructKind
	NewAuth() (schemas.Auth, error)
}](tb testing.TB, m member, method uint16, newParams func(*capnp.Segment) (P, error), fill func(P) error,
) error {
	tb.Helper()
	// Write asks for a request id, which a read does not mind.
	request := client.Request{Method: method, Write: true}
	return client.CallAs(tb.Context(), m.Conn, request, newParams, fill, func(capnp.Struct) error { return nil })
}
