package rpc

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	capnpschemas "capnproto.org/go/capnp/v3/schemas"
	capnpschema "capnproto.org/go/capnp/v3/std/capnp/schema"

	"quicproquo/crypto/identity"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Whatever is wrong with a call, it gets the code that says so and changes
// nothing. The methods and their fields come from the schema, the codes from the
// rows of hostilerows_test.go: a method or a field without a row fails the test.
func TestHostileCalls(t *testing.T) {
	shapes := methodShapes(t)
	for _, s := range shapes {
		row, ok := hostileRows[s.name]
		if !ok {
			t.Errorf("method %s has no row in hostilerows_test.go", s.name)
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.server.methodOf(s.ordinal)
			if row.good == nil {
				w.checkPending(t, s, m, row)
				return
			}
			w.checkHead(t, s, row)
			if m.auth != nil {
				w.checkAuth(t, s, row)
			}
			w.checkParams(t, s, row)
			w.checkFields(t, s, row)
			if got := w.call(t, s, row, nil); got.code != row.want {
				t.Errorf("the call that the others were made of: got %s, want %s: the test proves nothing", named(got.code), named(row.want))
			}
		})
		delete(hostileRows, s.name)
	}
	for name := range hostileRows {
		t.Errorf("there is no method %s", name)
	}
}

// hostileRow is what the test must know of a method.
type hostileRow struct {
	// good fills the parameters of a call that succeeds, or ends with want; all
	// but its auth. Nil: the method is not served yet, and pending is its answer.
	good    func(*world, capnp.Struct)
	want    schemas.Code
	pending schemas.Code
	// fields are "name:kind" for each parameter but auth and version.
	fields string
	// params is the answer to a call without parameters; with an auth, to one
	// without other parameters.
	params schemas.Code
	// more are cases of this method alone.
	more []hostileCase
}

type hostileCase struct {
	name string
	edit func(*world, capnp.Struct)
	want schemas.Code
}

// good is hostileRow.good of a function over the method's own parameters.
func good[P ~capnp.StructKind](fill func(*world, P) error) func(*world, capnp.Struct) {
	return func(w *world, params capnp.Struct) { must(w.tb, fill(w, P(params))) }
}

// kind says what is wrong with a parameter that is missing or of another type,
// shorter, longer, or of the right length and somebody else's. fine: nothing is.
type kind struct{ missing, short, long, foreign schemas.Code }

const fine = schemas.Code_ok

var hostileKinds = map[string]kind{
	"any":        {fine, fine, fine, fine},
	"ownKey":     {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_identityMismatch},
	"otherKey":   {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound},
	"newKey":     {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, fine},
	"maybeKey":   {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound},
	"device":     {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_deviceNotFound},
	"thisDevice": {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, fine},
	"channel":    {fine, schemas.Code_channelIdLength, schemas.Code_channelIdLength, schemas.Code_channelNotFound},
	"start":      {schemas.Code_opaqueStartFailed, schemas.Code_opaqueStartFailed, schemas.Code_opaqueStartFailed, fine},
	"finish":     {schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed},
	"handshake":  {schemas.Code_noPendingLogin, schemas.Code_noPendingLogin, schemas.Code_noPendingLogin, schemas.Code_noPendingLogin},
	"name":       {schemas.Code_usernameInvalid, fine, schemas.Code_usernameInvalid, fine},
	"proof":      {fine, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid},
	"signature":  {schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid},
	"knownName":  {schemas.Code_usernameInvalid, schemas.Code_accountNotFound, schemas.Code_usernameInvalid, schemas.Code_accountNotFound},
	// Looked at after the proof of the password, which is what is wrong here.
	"keyAfterProof": {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_opaqueFinishFailed},
	"deviceKey":     {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_signatureInvalid},
	"knownDevice":   {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_deviceNotFound},
	"queueKey":      {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound},
	"ownQueue":      {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_identityMismatch},
	"body":          {schemas.Code_payloadEmpty, fine, fine, fine},
	"recipients":    {schemas.Code_recipientsEmpty, fine, fine, fine},
	"seq":           {fine, fine, schemas.Code_ackBeyondEnd, fine},
	"cursor":        {fine, schemas.Code_channelIdLength, schemas.Code_channelIdLength, fine},
	"token":         {schemas.Code_tokenMissing, schemas.Code_tokenInvalid, schemas.Code_tokenInvalid, schemas.Code_tokenInvalid},
	"endpoint":      {fine, fine, fine, fine},
	"label":         {fine, fine, fine, fine},
	"wire":          {fine, fine, schemas.Code_wireVersionUnsupported, fine},
	"ttl":           {fine, fine, schemas.Code_ttlTooLarge, fine},
	"wait":          {fine, fine, schemas.Code_timeoutTooLarge, fine},
}

// shape is a method and its parameters, as the schema has them.
type shape struct {
	ordinal uint16
	name    string
	fields  []paramField
	size    capnp.ObjectSize
}

type paramField struct {
	name   string
	offset uint32
	which  capnpschema.Type_Which
	bits   uint // of a number
}

// methodShapes reads the interface of node.capnp.
func methodShapes(t *testing.T) (list []shape) {
	t.Helper()
	var registry capnpschemas.Registry
	schemas.RegisterSchema(&registry)
	node := func(id uint64) capnpschema.Node {
		data, err := registry.Find(id)
		must(t, err)
		msg, err := capnp.Unmarshal(data)
		must(t, err)
		msg.ResetReadLimit(1 << 30)
		root, err := capnpschema.ReadRootCodeGeneratorRequest(msg)
		must(t, err)
		nodes, err := root.Nodes()
		must(t, err)
		for i := range nodes.Len() {
			if nodes.At(i).Id() == id {
				return nodes.At(i)
			}
		}
		t.Fatalf("the schema has no node %x", id)
		return capnpschema.Node{}
	}
	methods, err := node(schemas.NodeService_TypeID).Interface().Methods()
	must(t, err)
	for i := range methods.Len() {
		name, err := methods.At(i).Name()
		must(t, err)
		params := node(methods.At(i).ParamStructType()).StructNode()
		s := shape{ordinal: uint16(i), name: name, size: capnp.ObjectSize{
			DataSize: capnp.Size(params.DataWordCount()) * 8, PointerCount: params.PointerCount(),
		}}
		fields, err := params.Fields()
		must(t, err)
		for j := range fields.Len() {
			s.fields = append(s.fields, fieldOf(t, fields.At(j)))
		}
		list = append(list, s)
	}
	return list
}

func fieldOf(t *testing.T, f capnpschema.Field) paramField {
	t.Helper()
	name, err := f.Name()
	must(t, err)
	typ, err := f.Slot().Type()
	must(t, err)
	p := paramField{name: name, offset: f.Slot().Offset(), which: typ.Which()}
	switch typ.Which() {
	case capnpschema.Type_Which_bool:
		p.bits = 1
	case capnpschema.Type_Which_uint16:
		p.bits = 16
	case capnpschema.Type_Which_uint32:
		p.bits = 32
	case capnpschema.Type_Which_uint64:
		p.bits = 64
	case capnpschema.Type_Which_data, capnpschema.Type_Which_text, capnpschema.Type_Which_list, capnpschema.Type_Which_structType:
	default:
		t.Fatalf("field %s has a type that this test does not know: %v", name, typ.Which())
	}
	return p
}

// world is a cluster of one with people in it.
type world struct {
	tb              testing.TB
	node            *accountNode
	server          *Server
	alice, bob      *citizen
	phone, desk     fsm.DeviceID // of alice: without and with a key of its own
	onPhone, onDesk []byte       // her tokens there
	// channel is alice's and bob's, foreignChannel bob's and dave's.
	channel, foreignChannel [schemas.ChannelIDSize]byte
	expired, revoked, gone  []byte // gone is the session of an account that was deleted
	login                   []byte // the handshake of one that nobody can finish
}

// worldExporter stands for a TLS exporter.
var worldExporter = [identity.ExporterSize]byte{7, 7, 7}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb, node: newAccountNode(tb), phone: fsm.DeviceID{1}, desk: fsm.DeviceID{2}}
	w.server = NewServer(w.node, Options{ClusterKey: accountKEK, Limits: Limits{Rates: Off}})
	w.node.skew = -40 * 24 * time.Hour
	w.alice, w.bob = w.register("alice"), w.register("bob")
	w.expired = w.node.newSession(tb, w.alice, nil, "expired")
	w.node.skew = 0
	carol := w.node.newCitizen(tb, "carol")
	w.gone = carol.token
	w.node.run(tb, carol.caller(), func(c schemas.Entry_command) error { _, err := c.NewDeleteAccount(); return err })
	w.alice.token = w.node.newSession(tb, w.alice, nil, "live")
	w.bob.token = w.node.newSession(tb, w.bob, nil, "live")
	w.node.newDevice(tb, w.alice, w.phone, nil)
	w.node.newDevice(tb, w.alice, w.desk, newKey(tb)[ed25519.SeedSize:])
	w.onPhone = w.node.newSession(tb, w.alice, w.phone[:], "phone")
	w.onDesk = w.node.newSession(tb, w.alice, w.desk[:], "desk")
	dave := w.node.newCitizen(tb, "dave")
	w.channel, w.foreignChannel = w.node.newChannel(tb, w.alice, w.bob), w.node.newChannel(tb, w.bob, dave)
	w.revoked = w.node.newSession(tb, w.alice, nil, "revoked")
	w.login = w.handshake("alice")
	w.node.run(tb, w.alice.caller(), func(c schemas.Entry_command) error {
		s, err := c.NewCloseSessions()
		must(tb, err)
		hash := sha256.Sum256(w.revoked)
		return s.SetTokenHash(hash[:])
	})
	return w
}

// newChannel makes a channel with an id of its own.
func (n *accountNode) newChannel(tb testing.TB, a, b *citizen) (id [schemas.ChannelIDSize]byte) {
	tb.Helper()
	sum := sha256.Sum256([]byte("channel " + a.name + b.name))
	copy(id[:], sum[:])
	n.run(tb, a.caller(), func(c schemas.Entry_command) error {
		p, err := c.NewCreateChannel()
		must(tb, err)
		return errors.Join(p.SetPeerKey(b.key[:]), p.SetChannelId(id[:]))
	})
	return id
}

// results are those of a call of the open table that must succeed.
func (w *world) results(ordinal uint16, edit func(schemas.Request)) capnp.Struct {
	w.tb.Helper()
	stream := newFakeStream(frameOf(w.tb, ordinal, edit))
	newConn(w.server, quiet()).serveStream(stream)
	r := parseRaw(w.tb, stream.out.Bytes())
	if r.failure.code != schemas.Code_ok {
		w.tb.Fatalf("method %d: got %s", ordinal, named(r.failure.code))
	}
	return r.results
}

// frame is a call of the method as its row has it, then edited.
func (w *world) frame(t *testing.T, s shape, row hostileRow, edit func(schemas.Request, capnp.Struct)) []byte {
	t.Helper()
	return frameOf(t, s.ordinal, func(r schemas.Request) {
		params, err := capnp.NewStruct(r.Segment(), s.size)
		must(t, err)
		must(t, r.SetParams(params.ToPtr()))
		if w.server.methodOf(s.ordinal).auth != nil {
			w.setAuth(t, s, params, w.alice.token, nil, schemas.AuthVersion)
		}
		row.good(w, params)
		if edit != nil {
			edit(r, params)
		}
	})
}

// setAuth writes the auth field, wherever it is.
func (w *world) setAuth(t *testing.T, s shape, params capnp.Struct, token, device []byte, version uint16) {
	t.Helper()
	auth, err := schemas.NewAuth(params.Segment())
	must(t, err)
	auth.SetVersion(version)
	must(t, auth.SetAccessToken(token))
	must(t, auth.SetDeviceId(device))
	for _, f := range s.fields {
		if f.name == "auth" {
			must(t, params.SetPtr(uint16(f.offset), capnp.Struct(auth).ToPtr()))
			return
		}
	}
	t.Fatalf("%s reads an auth that its parameters have not", s.name)
}

func (w *world) call(t *testing.T, s shape, row hostileRow, edit func(schemas.Request, capnp.Struct)) answer {
	t.Helper()
	return w.send(t, w.frame(t, s, row, edit))
}

// send makes the call on a connection that has been used by somebody before, so
// that the method's limit is what bounds it.
func (w *world) send(t *testing.T, frame []byte) answer {
	t.Helper()
	c := newConn(w.server, quiet())
	c.exporter = func() ([identity.ExporterSize]byte, error) { return worldExporter, nil }
	c.known.Store(true)
	stream := newFakeStream(frame)
	c.serveStream(stream)
	got := stream.answers(t)
	if len(got) != 1 {
		t.Fatalf("got %d answers", len(got))
	}
	return got[0]
}

// refused makes a call that must be refused and change nothing.
func (w *world) refused(t *testing.T, what string, s shape, row hostileRow, want schemas.Code, edit func(schemas.Request, capnp.Struct)) {
	t.Helper()
	frame, before := w.frame(t, s, row, edit), w.node.digest()
	got := w.send(t, frame)
	if got.code != want {
		t.Errorf("%s: got %s (%s), want %s", what, named(got.code), got.message, named(want))
	}
	if got.code != schemas.Code_ok && got.message == "" {
		t.Errorf("%s: the refusal has no words for people", what)
	}
	if after := w.node.digest(); after != before {
		t.Errorf("%s: the store changed", what)
	}
}

func named(c schemas.Code) string { return c.ID() + " " + c.Doc().Name }

// checkPending holds a method that is not served yet to its mark, so that the
// mark goes when a handler comes.
func (w *world) checkPending(t *testing.T, s shape, m *method, row hostileRow) {
	t.Helper()
	if m.auth != nil && m.handle != nil && row.pending != schemas.Code_notServed {
		t.Fatal("the method is served now: give it a row")
	}
	got := w.send(t, frameOf(t, s.ordinal, func(r schemas.Request) {
		if m.auth == nil {
			return
		}
		params, err := capnp.NewStruct(r.Segment(), s.size)
		must(t, err)
		must(t, r.SetParams(params.ToPtr()))
		w.setAuth(t, s, params, w.alice.token, nil, schemas.AuthVersion)
	}))
	if got.code != row.pending {
		t.Errorf("got %s, want %s", named(got.code), named(row.pending))
	}
}

// checkHead spoils what every request carries.
func (w *world) checkHead(t *testing.T, s shape, row hostileRow) {
	t.Helper()
	for _, c := range []struct {
		name string
		want schemas.Code
		edit func(schemas.Request)
	}{
		{"request id of 1 byte", schemas.Code_requestIdLength, func(r schemas.Request) { must(t, r.SetRequestId([]byte{1})) }},
		{"request id of 17 bytes", schemas.Code_requestIdLength, func(r schemas.Request) { must(t, r.SetRequestId(make([]byte, 17))) }},
		{"time of 61 s", schemas.Code_timeoutTooLarge, func(r schemas.Request) { r.SetTimeoutMs(61_000) }},
	} {
		w.refused(t, c.name, s, row, c.want, func(r schemas.Request, _ capnp.Struct) { c.edit(r) })
	}
}

// checkAuth comes without a session, or with somebody's who may not.
func (w *world) checkAuth(t *testing.T, s shape, row hostileRow) {
	t.Helper()
	hash, forged := sha256.Sum256(w.alice.token), bytes.Clone(w.alice.token)
	forged[0] ^= 1
	for _, c := range []struct {
		name          string
		token, device []byte
		version       uint16
		want          schemas.Code
	}{
		{"no token", nil, nil, 1, schemas.Code_tokenMissing},
		{"no auth", nil, nil, 0, schemas.Code_tokenMissing},
		{"auth version 0", w.alice.token, nil, 0, schemas.Code_authVersionUnsupported},
		{"auth version 2", w.alice.token, nil, 2, schemas.Code_authVersionUnsupported},
		{"short token", w.alice.token[:31], nil, 1, schemas.Code_tokenInvalid},
		{"long token", append(bytes.Clone(w.alice.token), 0), nil, 1, schemas.Code_tokenInvalid},
		{"huge token", make([]byte, 2000), nil, 1, schemas.Code_tokenInvalid},
		{"forged token", forged, nil, 1, schemas.Code_tokenInvalid},
		{"the hash of a token", hash[:], nil, 1, schemas.Code_tokenInvalid},
		{"revoked token", w.revoked, nil, 1, schemas.Code_tokenInvalid},
		{"token of a deleted account", w.gone, nil, 1, schemas.Code_tokenInvalid},
		{"expired token", w.expired, nil, 1, schemas.Code_tokenExpired},
		{"token that needs its device's key", w.onDesk, nil, 1, schemas.Code_bindingRequired},
		{"short device", w.alice.token, make([]byte, 15), 1, schemas.Code_keyLength},
		{"unknown device", w.alice.token, bytes.Repeat([]byte{9}, 16), 1, schemas.Code_deviceNotFound},
		{"another device", w.onPhone, w.desk[:], 1, schemas.Code_deviceNotFound},
		{"device of another account", w.bob.token, w.phone[:], 1, schemas.Code_deviceNotFound},
	} {
		w.refused(t, c.name, s, row, c.want, func(_ schemas.Request, params capnp.Struct) {
			w.setAuth(t, s, params, c.token, c.device, c.version)
		})
	}
	for _, f := range s.fields {
		if f.name == "auth" {
			w.refused(t, "auth that is bytes", s, row, schemas.Code_tokenMissing, func(_ schemas.Request, params capnp.Struct) {
				setData(t, params, f, make([]byte, 40))
			})
		}
	}
}

// checkParams comes with no parameters, or with something else.
func (w *world) checkParams(t *testing.T, s shape, row hostileRow) {
	t.Helper()
	hasAuth := w.server.methodOf(s.ordinal).auth != nil
	w.refused(t, "parameters that are bytes", s, row, schemas.Code_malformed, func(r schemas.Request, _ capnp.Struct) {
		paramsOf(t, r, []byte("x"))
	})
	none := row.params
	if hasAuth {
		none = schemas.Code_tokenMissing
	}
	if none != fine {
		w.refused(t, "no parameters", s, row, none, func(r schemas.Request, _ capnp.Struct) { must(t, r.SetParams(capnp.Ptr{})) })
	}
	if hasAuth && row.params != fine {
		w.refused(t, "no parameters but an auth", s, row, row.params, func(r schemas.Request, _ capnp.Struct) {
			params, err := capnp.NewStruct(r.Segment(), s.size)
			must(t, err)
			must(t, r.SetParams(params.ToPtr()))
			w.setAuth(t, s, params, w.alice.token, nil, schemas.AuthVersion)
		})
	}
}

// checkFields spoils one parameter after the other.
func (w *world) checkFields(t *testing.T, s shape, row hostileRow) {
	t.Helper()
	kinds := map[string]string{"version": "wire"}
	for pair := range strings.FieldsSeq(row.fields) {
		name, kindName, _ := strings.Cut(pair, ":")
		kinds[name] = kindName
	}
	limit := w.server.methodOf(s.ordinal).maxBytes
	for _, f := range s.fields {
		if f.name == "auth" {
			continue
		}
		k, ok := hostileKinds[kinds[f.name]]
		if !ok {
			t.Errorf("parameter %s has no kind in the method's row", f.name)
			continue
		}
		if f.bits > 0 {
			w.checkNumber(t, s, row, f, k)
			continue
		}
		w.refused(t, f.name+" over the method's limit", s, row, schemas.Code_messageTooLarge, func(_ schemas.Request, params capnp.Struct) {
			setData(t, params, f, make([]byte, limit))
		})
		for _, c := range spoiledField(t, f, k, limit) {
			if c.want != fine {
				w.refused(t, f.name+" "+c.name, s, row, c.want, func(_ schemas.Request, params capnp.Struct) { c.edit(w, params) })
			}
		}
	}
	for _, c := range row.more {
		w.refused(t, c.name, s, row, c.want, func(_ schemas.Request, params capnp.Struct) { c.edit(w, params) })
	}
}

func (w *world) checkNumber(t *testing.T, s shape, row hostileRow, f paramField, k kind) {
	t.Helper()
	if k.long == fine {
		return
	}
	w.refused(t, f.name+" as large as can be", s, row, k.long, func(_ schemas.Request, params capnp.Struct) {
		setNumber(t, params, f, math.MaxUint64)
	})
}

// spoiledField are the ways in which a parameter behind a pointer can be wrong. In
// Cap'n Proto something of another type reads as nothing.
func spoiledField(t *testing.T, f paramField, k kind, limit int) []hostileCase {
	t.Helper()
	at := uint16(f.offset)
	data := func(change func(old []byte) []byte) func(*world, capnp.Struct) {
		return func(_ *world, params capnp.Struct) {
			old, err := params.Ptr(at)
			must(t, err)
			have := old.Data()
			if f.which == capnpschema.Type_Which_text {
				have = []byte(old.Text())
			}
			changed := change(bytes.Clone(have))
			if f.which == capnpschema.Type_Which_text {
				must(t, params.SetText(at, string(changed)))
				return
			}
			setData(t, params, f, changed)
		}
	}
	cases := []hostileCase{
		{"missing", func(_ *world, params capnp.Struct) { must(t, params.SetPtr(at, capnp.Ptr{})) }, k.missing},
		{"that is a struct", func(_ *world, params capnp.Struct) {
			other, err := capnp.NewStruct(params.Segment(), capnp.ObjectSize{DataSize: 8, PointerCount: 1})
			must(t, err)
			must(t, params.SetPtr(at, other.ToPtr()))
		}, k.missing},
		{"that is a list of bits", func(_ *world, params capnp.Struct) {
			other, err := capnp.NewBitList(params.Segment(), 8)
			must(t, err)
			must(t, params.SetPtr(at, other.ToPtr()))
		}, k.missing},
	}
	if f.which == capnpschema.Type_Which_list {
		return cases[:2]
	}
	return append(cases,
		hostileCase{"too short", data(func(old []byte) []byte {
			if len(old) == 0 {
				return []byte{1}
			}
			return old[:len(old)-1]
		}), k.short},
		hostileCase{"too long", data(func(old []byte) []byte {
			if f.which == capnpschema.Type_Which_text {
				return bytes.Repeat([]byte("a"), 300)
			}
			return append(old, make([]byte, max(1, 17-len(old)))...)
		}), k.long},
		hostileCase{"much too long", data(func([]byte) []byte { return bytes.Repeat([]byte("a"), min(limit/2, 1<<20)) }), k.long},
		hostileCase{"of somebody else", data(func(old []byte) []byte {
			if len(old) == 0 {
				old = make([]byte, 16)
				if strings.HasSuffix(f.name, "Key") {
					old = make([]byte, 32)
				}
			}
			return bytes.Repeat([]byte{0x5a}, len(old))
		}), k.foreign},
	)
}

func setData(t *testing.T, params capnp.Struct, f paramField, value []byte) {
	t.Helper()
	list, err := capnp.NewData(params.Segment(), value)
	must(t, err)
	must(t, params.SetPtr(uint16(f.offset), list.ToPtr()))
}

// setNumber writes the low bits of a value.
func setNumber(t *testing.T, params capnp.Struct, f paramField, value uint64) {
	t.Helper()
	switch f.bits {
	case 1:
		params.SetBit(capnp.BitOffset(f.offset), value&1 != 0)
	case 16:
		params.SetUint16(capnp.DataOffset(f.offset*2), uint16(value))
	case 32:
		params.SetUint32(capnp.DataOffset(f.offset*4), uint32(value))
	case 64:
		params.SetUint64(capnp.DataOffset(f.offset*8), value)
	default:
		t.Fatal(fmt.Sprint("a number of ", f.bits, " bits"))
	}
}
