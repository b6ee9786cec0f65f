package account

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	"quicproquo/testcluster/npm"
)

// ours is our client, between two steps of one run.
type ours struct {
	context      string
	registration *Registration
	attempt      *Attempt
}

func (c *ours) startRegistration(t *testing.T, who Username, password string) []byte {
	t.Helper()
	r, request, err := startRegistration(who, []byte(password), c.context)
	if err != nil {
		t.Fatal(err)
	}
	c.registration = r
	return request
}

func (c *ours) finishRegistration(t *testing.T, response []byte) (upload, export []byte) {
	t.Helper()
	upload, key, err := c.registration.Finish(response)
	if err != nil {
		t.Fatal(err)
	}
	return upload, key[:]
}

func (c *ours) startLogin(t *testing.T, who Username, password string) []byte {
	t.Helper()
	a, ke1, err := startLogin(who, []byte(password), c.context)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	c.attempt = a
	return ke1
}

func (c *ours) finishLogin(t *testing.T, ke2 []byte) (ke3, session, export []byte, ok bool) {
	t.Helper()
	ke3, sessionKey, exportKey, err := c.attempt.Finish(ke2)
	if err != nil && !errors.Is(err, ErrLoginFailed) {
		t.Fatal(err)
	}
	return ke3, sessionKey[:], exportKey[:], err == nil
}

// oursServing is our server.
type oursServing struct {
	server    *Server
	handshake []byte
}

func (s *oursServing) register(t *testing.T, who Username, request []byte) []byte {
	t.Helper()
	return must(s.server.RegisterStart(who, request))(t)
}

func (s *oursServing) startLogin(t *testing.T, who Username, upload, ke1 []byte) []byte {
	t.Helper()
	var record []byte
	if upload != nil {
		record = must(s.server.RegisterFinish(upload))(t)
	}
	ke2, handshake, err := s.server.LoginStart(who, record, ke1, start)
	if err != nil {
		t.Fatal(err)
	}
	s.handshake = handshake
	return ke2
}

func (s *oursServing) finishLogin(t *testing.T, who Username, ke3 []byte) ([]byte, bool) {
	t.Helper()
	_, err := s.server.LoginFinish(who, ke3, s.handshake, start)
	return nil, err == nil
}

// theirs is opaque-ke's client. It keeps its password, which the library asks
// for twice.
type theirs struct {
	driver               *driver
	who, password, state string
}

func (c *theirs) identifiers() map[string]string { return map[string]string{"client": c.who} }

func (c *theirs) startRegistration(t *testing.T, who Username, password string) []byte {
	t.Helper()
	c.who, c.password = who.String(), password
	result := c.driver.call(t, "client.startRegistration", map[string]any{"password": password})
	c.state = result["clientRegistrationState"]
	return unb64(t, result["registrationRequest"])
}

func (c *theirs) finishRegistration(t *testing.T, response []byte) (upload, export []byte) {
	t.Helper()
	result := c.driver.call(t, "client.finishRegistration", map[string]any{
		"password": c.password, "clientRegistrationState": c.state, "registrationResponse": b64(response),
		"identifiers": c.identifiers(), "keyStretching": "memory-constrained",
	})
	return unb64(t, result["registrationRecord"]), unb64(t, result["exportKey"])
}

func (c *theirs) startLogin(t *testing.T, who Username, password string) []byte {
	t.Helper()
	c.who, c.password = who.String(), password
	result := c.driver.call(t, "client.startLogin", map[string]any{"password": password})
	c.state = result["clientLoginState"]
	return unb64(t, result["startLoginRequest"])
}

func (c *theirs) finishLogin(t *testing.T, ke2 []byte) (ke3, session, export []byte, ok bool) {
	t.Helper()
	result := c.driver.call(t, "client.finishLogin", map[string]any{
		"password": c.password, "clientLoginState": c.state, "loginResponse": b64(ke2),
		"identifiers": c.identifiers(), "keyStretching": "memory-constrained",
	})
	if result == nil {
		return nil, nil, nil, false
	}
	return unb64(t, result["finishLoginRequest"]), unb64(t, result["sessionKey"]), unb64(t, result["exportKey"]), true
}

// theirsServing is opaque-ke's server with the secrets of our setup.
type theirsServing struct {
	driver *driver
	setup  *Setup
	state  string
}

// serverSetup is opaque-ke's encoding of the same secrets: OPRF seed, private
// key, public key of the fake record.
func (s *theirsServing) serverSetup() string {
	b := append(bytes.Clone(s.setup.oprfSeed[:]), s.setup.serverKey().secret.Bytes()...)
	return b64(append(b, s.setup.fake[:elementSize]...))
}

func (s *theirsServing) identifier(who Username) string {
	id := s.setup.credentialID(who)
	return string(id[:])
}

func (s *theirsServing) register(t *testing.T, who Username, request []byte) []byte {
	t.Helper()
	return unb64(t, s.driver.call(t, "server.createRegistrationResponse", map[string]any{
		"serverSetup": s.serverSetup(), "userIdentifier": s.identifier(who), "registrationRequest": b64(request),
	})["registrationResponse"])
}

func (s *theirsServing) startLogin(t *testing.T, who Username, upload, ke1 []byte) []byte {
	t.Helper()
	params := map[string]any{
		"serverSetup": s.serverSetup(), "userIdentifier": s.identifier(who), "startLoginRequest": b64(ke1),
		"registrationRecord": nil, "identifiers": map[string]string{"client": who.String()},
	}
	if upload != nil {
		params["registrationRecord"] = b64(upload)
	}
	result := s.driver.call(t, "server.startLogin", params)
	s.state = result["serverLoginState"]
	return unb64(t, result["loginResponse"])
}

func (s *theirsServing) finishLogin(t *testing.T, who Username, ke3 []byte) ([]byte, bool) {
	t.Helper()
	result := s.driver.call(t, "server.finishLogin", map[string]any{
		"serverLoginState": s.state, "finishLoginRequest": b64(ke3), "identifiers": map[string]string{"client": who.String()},
	})
	return unb64(t, result["sessionKey"]), true
}

// driver is interop/driver.mjs in its own process.
type driver struct {
	to   *json.Encoder
	from *json.Decoder
}

// call returns the fields of a result, nil for a refusal.
func (d *driver) call(t *testing.T, call string, params map[string]any) map[string]string {
	t.Helper()
	if err := d.to.Encode(map[string]any{"call": call, "params": params}); err != nil {
		t.Fatalf("call %s: %v", call, err)
	}
	var answer struct {
		Result map[string]string
		Error  string
	}
	if err := d.from.Decode(&answer); err != nil {
		t.Fatalf("read answer to %s: %v", call, err)
	}
	if answer.Error != "" {
		t.Fatalf("%s: %s", call, answer.Error)
	}
	return answer.Result
}

// startDriver runs the driver until the end of the test.
func startDriver(t *testing.T) *driver {
	t.Helper()
	node := exec.CommandContext(t.Context(), "node", "driver.mjs")
	node.Dir = npm.Folder(t, "interop")
	node.Stderr = os.Stderr
	in := must(node.StdinPipe())(t)
	out := must(node.StdoutPipe())(t)
	if err := node.Start(); err != nil {
		t.Fatalf("start node: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := node.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("the driver ended with %v", err)
		}
	})
	return &driver{to: json.NewEncoder(in), from: json.NewDecoder(bufio.NewReader(out))}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(t *testing.T, s string) []byte {
	t.Helper()
	return must(base64.RawURLEncoding.DecodeString(s))(t)
}
