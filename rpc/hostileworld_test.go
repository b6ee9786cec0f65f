package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	capnpschemas "capnproto.org/go/capnp/v3/schemas"
	capnpschema "capnproto.org/go/capnp/v3/std/capnp/schema"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

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
	w.node.set(tb, fsm.SettingFeatureLevel, schemas.FeatureLevel)
	w.node.set(tb, "member_invites_daily", 10)
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
func (w *world) frame(t testing.TB, s shape, row hostileRow, edit func(schemas.Request, capnp.Struct)) []byte {
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
func (w *world) setAuth(t testing.TB, s shape, params capnp.Struct, token, device []byte, version uint16) {
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

// untilAnswered is a stream whose client leaves after the first answer: a
// subscription would hold it.
func untilAnswered(input []byte) *fakeStream {
	s := newFakeStream(input)
	s.ctx, s.wrote = context.WithCancel(s.ctx)
	return s
}

// connect opens a connection on which somebody has shown a session.
func (w *world) connect() *conn {
	c := newConn(w.server, quiet())
	c.exporter = func() ([identity.ExporterSize]byte, error) { return worldExporter, nil }
	c.welcome(&caller{account: w.alice.key, token: sha256.Sum256(w.alice.token)})
	return c
}

// send makes the call on a connection that has been used by somebody before, so
// that the method's limit is what bounds it.
func (w *world) send(t *testing.T, frame []byte) answer {
	t.Helper()
	stream := untilAnswered(frame)
	w.connect().serveStream(stream)
	got := stream.answers(t)
	if len(got) != 1 {
		t.Fatalf("got %d answers", len(got))
	}
	return got[0]
}

// shape is a method and its parameters, as the schema has them.
type shape struct {
	ordinal uint16
	name    string
	fields  []paramField
	results []string // names
	size    capnp.ObjectSize
}

type paramField struct {
	name   string
	offset uint32
	which  capnpschema.Type_Which
	bits   uint // of a number
}

// methodShapes reads the interface of node.capnp.
func methodShapes(t testing.TB) (list []shape) {
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
		results, err := node(methods.At(i).ResultStructType()).StructNode().Fields()
		must(t, err)
		for j := range results.Len() {
			name, err := results.At(j).Name()
			must(t, err)
			s.results = append(s.results, name)
		}
		list = append(list, s)
	}
	return list
}

func fieldOf(t testing.TB, f capnpschema.Field) paramField {
	t.Helper()
	name, err := f.Name()
	must(t, err)
	typ, err := f.Slot().Type()
	must(t, err)
	p := paramField{name: name, offset: f.Slot().Offset(), which: typ.Which()}
	switch typ.Which() {
	case capnpschema.Type_Which_bool:
		p.bits = 1
	case capnpschema.Type_Which_uint16, capnpschema.Type_Which_enum:
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

// setEmptyStructs makes a list of structs that have no fields: it costs eight
// bytes however long it is.
func setEmptyStructs(params capnp.Struct, at uint16, n int32) {
	list, err := capnp.NewCompositeList(params.Segment(), capnp.ObjectSize{}, n)
	if err == nil {
		_ = params.SetPtr(at, list.ToPtr())
	}
}

// bogusUpload is the end of a registration in form: a group element, then keys and
// an envelope that nobody can open. A true one takes Argon2id.
func bogusUpload(tb testing.TB) []byte {
	tb.Helper()
	return append(ke1(tb, "alice")[:32:32], bytes.Repeat([]byte{3}, 160)...)
}

// registration fills in what registers a name for a key, with nobody's password.
func (w *world) registration(p schemas.OpaqueRegisterFinishParams, name string, key ed25519.PrivateKey) error {
	w.tb.Helper()
	_, request, err := account.StartRegistration(mustName(w.tb, name), []byte("x"))
	must(w.tb, err)
	results := w.results(8, func(r schemas.Request) {
		start, err := schemas.NewOpaqueRegisterStartParams(r.Segment())
		must(w.tb, errors.Join(err, start.SetUsername(name), start.SetRequest(request), r.SetParams(start.ToPtr())))
	})
	response, err := schemas.OpaqueRegisterStartResults(results).Response()
	must(w.tb, err)
	handshake, err := schemas.OpaqueRegisterStartResults(results).Handshake()
	must(w.tb, err)
	return w.fillRegistration(p, name, key, bogusUpload(w.tb), response, handshake)
}

// fillRegistration signs an upload for a name, in answer to a response.
func (w *world) fillRegistration(p schemas.OpaqueRegisterFinishParams, name string, key ed25519.PrivateKey, upload, response, handshake []byte) error {
	w.tb.Helper()
	public, canonical := key.Public().(ed25519.PublicKey), mustName(w.tb, name).String()
	proof, err := identity.Register([32]byte(response[32:]), [32]byte(public), canonical, upload).Sign(key)
	return errors.Join(err, p.SetUsername(name), p.SetUpload(upload), p.SetIdentityKey(public), p.SetIdentityProof(proof), p.SetHandshake(handshake))
}

// register makes an account at the door.
func (w *world) register(name string) *citizen {
	w.tb.Helper()
	p := citizenOf(name)
	w.results(9, func(r schemas.Request) {
		params, err := schemas.NewOpaqueRegisterFinishParams(r.Segment())
		must(w.tb, errors.Join(err, w.registration(params, name, p.private), r.SetParams(params.ToPtr())))
	})
	return p
}

// handshake is that of a login that nobody can finish.
func (w *world) handshake(name string) []byte {
	w.tb.Helper()
	results := w.results(10, func(r schemas.Request) {
		p, err := schemas.NewOpaqueLoginStartParams(r.Segment())
		must(w.tb, errors.Join(err, p.SetUsername(name), p.SetRequest(ke1(w.tb, name)), r.SetParams(p.ToPtr())))
	})
	handshake, err := schemas.OpaqueLoginStartResults(results).Handshake()
	must(w.tb, err)
	return handshake
}

// packages makes the list of packages of an upload.
func packages(p schemas.UploadKeyPackagesParams, all ...[]byte) error {
	list, err := p.NewPackages(int32(len(all)))
	for i, one := range all {
		err = errors.Join(err, list.Set(i, one))
	}
	return err
}

// keyPackage makes a key package that somebody has signed.
func (w *world) keyPackage(p *citizen, options mls.KeyPackageOptions) []byte {
	w.tb.Helper()
	s, err := suite.Lookup(1)
	must(w.tb, err)
	signer, err := s.NewSigner(suite.Secret(bytes.Clone(p.private[:32])))
	must(w.tb, err)
	owner := mls.Identity{Signer: signer, Credential: tree.BasicCredential([]byte(p.name))}
	kp, err := owner.NewKeyPackage(time.Now(), options)
	must(w.tb, err)
	return kp.Message()
}
