package rpc

import (
	"bytes"
	"crypto/sha256"
	"math"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"
	capnpschema "capnproto.org/go/capnp/v3/std/capnp/schema"

	"quicproquo/schemas"
)

// Whatever is wrong with a call, it gets the code that says so and changes
// nothing. The methods and their fields come from the schema, the codes from the
// rows of hostilerows_test.go: a method or a field without a row fails the test.
func TestHostileCalls(t *testing.T) {
	known := map[string]bool{}
	for _, s := range methodShapes(t) {
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
		known[s.name] = true
	}
	for name := range hostileRows {
		if !known[name] {
			t.Errorf("there is no method %s", name)
		}
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
// huge is for what is much longer still; fine: as what is longer.
type kind struct{ missing, short, long, foreign, huge schemas.Code }

const fine = schemas.Code_ok

var hostileKinds = map[string]kind{
	"any":        {fine, fine, fine, fine, fine},
	"ownKey":     {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_identityMismatch, fine},
	"otherKey":   {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound, fine},
	"newKey":     {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, fine, fine},
	"maybeKey":   {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound, fine},
	"device":     {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_deviceNotFound, fine},
	"thisDevice": {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, fine, fine},
	"channel":    {fine, schemas.Code_channelIdLength, schemas.Code_channelIdLength, schemas.Code_channelNotFound, fine},
	"start":      {schemas.Code_opaqueStartFailed, schemas.Code_opaqueStartFailed, schemas.Code_opaqueStartFailed, fine, fine},
	"finish":     {schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed, schemas.Code_opaqueFinishFailed, fine},
	"handshake":  {schemas.Code_noPendingLogin, schemas.Code_noPendingLogin, schemas.Code_noPendingLogin, schemas.Code_noPendingLogin, fine},
	"name":       {schemas.Code_usernameInvalid, fine, schemas.Code_usernameInvalid, fine, fine},
	"proof":      {fine, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, fine},
	"signature":  {schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, fine},
	"knownName":  {schemas.Code_usernameInvalid, schemas.Code_accountNotFound, schemas.Code_usernameInvalid, schemas.Code_accountNotFound, fine},
	// Looked at after the proof of the password, which is what is wrong here.
	"keyAfterProof": {schemas.Code_opaqueFinishFailed, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_opaqueFinishFailed, fine},
	"deviceKey":     {fine, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_signatureInvalid, fine},
	"knownDevice":   {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_deviceNotFound, fine},
	"queueKey":      {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_accountNotFound, fine},
	"ownQueue":      {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_identityMismatch, fine},
	"package":       {schemas.Code_payloadEmpty, schemas.Code_keyPackageInvalid, schemas.Code_keyPackageInvalid, schemas.Code_keyPackageInvalid, schemas.Code_payloadTooLarge},
	"lastResort":    {fine, schemas.Code_keyPackageInvalid, schemas.Code_keyPackageInvalid, schemas.Code_keyPackageInvalid, schemas.Code_payloadTooLarge},
	"hybrid":        {schemas.Code_hybridKeyLength, schemas.Code_hybridKeyLength, schemas.Code_hybridKeyLength, fine, fine},
	"group":         {schemas.Code_groupIdLength, schemas.Code_groupIdLength, fine, fine, fine},
	// Signed by the account: changed parameters make it another statement.
	"said":         {schemas.Code_statementRequired, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, schemas.Code_signatureInvalid, fine},
	"saidInstance": {fine, fine, schemas.Code_statementRequired, fine, fine},
	"saidDevice":   {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_signatureInvalid, fine},
	"saidTime":     {fine, fine, schemas.Code_signatureInvalid, fine, fine},
	"saidKey":      {schemas.Code_identityRequired, schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_signatureInvalid, fine},
	"groupProof":   {fine, schemas.Code_keyLength, schemas.Code_keyLength, fine, fine},
	"verifier":     {schemas.Code_keyLength, schemas.Code_keyLength, schemas.Code_keyLength, fine, fine},
	"body":         {schemas.Code_payloadEmpty, fine, fine, fine, fine},
	"recipients":   {schemas.Code_recipientsEmpty, fine, fine, fine, fine},
	"seq":          {fine, fine, schemas.Code_ackBeyondEnd, fine, fine},
	"cursor":       {fine, schemas.Code_channelIdLength, schemas.Code_channelIdLength, fine, fine},
	"token":        {schemas.Code_tokenMissing, schemas.Code_tokenInvalid, schemas.Code_tokenInvalid, schemas.Code_tokenInvalid, fine},
	"endpoint":     {fine, fine, fine, fine, fine},
	"label":        {fine, fine, fine, fine, fine},
	"wire":         {fine, fine, schemas.Code_wireVersionUnsupported, fine, fine},
	"ttl":          {fine, fine, schemas.Code_ttlTooLarge, fine, fine},
	"wait":         {fine, fine, schemas.Code_timeoutTooLarge, fine, fine},
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
	at, huge := uint16(f.offset), k.huge
	if huge == fine {
		huge = k.long
	}
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
		hostileCase{"much too long", data(func([]byte) []byte { return bytes.Repeat([]byte("a"), min(limit/2, 1<<20)) }), huge},
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

// Whatever bytes come instead of good calls of all methods, the node answers or
// ends the stream, meets no fault of its own, and keeps nothing of them.
func FuzzCalls(f *testing.F) {
	w := newWorld(f)
	for _, s := range methodShapes(f) {
		if row := hostileRows[s.name]; row.good != nil {
			f.Add(w.frame(f, s, row, nil))
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		c := w.connect()
		stream := untilAnswered(input)
		c.serveStream(stream)
		for _, a := range stream.answers(t) {
			if a.code == schemas.Code_internal {
				t.Errorf("answered INTERNAL: %s", a.message)
			}
		}
		if len(stream.resetRead) != 1 || stream.closed == (len(stream.resetWrite) > 0) {
			t.Errorf("closed %v, reset %v and %v: both sides must be ended once", stream.closed, stream.resetRead, stream.resetWrite)
		}
		if n := w.server.memory.used() + w.server.strange.used(); n != 0 || w.server.running.Load() != 0 {
			t.Errorf("left over: %d bytes, %d calls", n, w.server.running.Load())
		}
	})
}
