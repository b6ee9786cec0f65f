package account

import (
	"bytes"
	"testing"
)

// Interoperation with opaque-ke 4 (Rust) as npm package @serenity-kit/opaque.
// That package has no application context, so both sides use the empty one; the
// last case shows that the context matters.
const interopContext = ""

// Each case is a registration and a login; G is ours, J is opaque-ke's. The
// servers hold the same secrets, so a record made by one serves at the other.
func TestInterop(t *testing.T) {
	js := startDriver(t)
	setup := NewSetup()
	server := must(newServer(setup, interopContext))(t)
	goClient, goServer := &ours{context: interopContext}, &oursServing{server: server}
	jsClient, jsServer := &theirs{driver: js}, &theirsServing{driver: js, setup: setup}
	cases := []struct {
		what                    string
		registerWith, loginWith interopClient
		registerAt, loginAt     interopServer
	}{
		{"J registers and logs in at G", jsClient, jsClient, goServer, goServer},
		{"G registers and logs in at J", goClient, goClient, jsServer, jsServer},
		{"record made by J, client G at server G", jsClient, goClient, jsServer, goServer},
		{"record made by G, client J at server J", goClient, jsClient, goServer, jsServer},
		{"record made by J at G, client G at server J", jsClient, goClient, goServer, jsServer},
		{"record made by G at J, client J at server G", goClient, jsClient, jsServer, goServer},
	}
	if testing.Short() {
		cases = cases[:2] // Argon2id takes seconds under the race detector
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			alice := name(t, "alice")
			request := c.registerWith.startRegistration(t, alice, "correct horse")
			upload, export := c.registerWith.finishRegistration(t, c.registerAt.register(t, alice, request))
			ke1 := c.loginWith.startLogin(t, alice, "correct horse")
			ke3, session, again, ok := c.loginWith.finishLogin(t, c.loginAt.startLogin(t, alice, upload, ke1))
			if !ok {
				t.Fatal("the client refuses the server's answer")
			}
			if !bytes.Equal(export, again) {
				t.Errorf("export key is %x at registration and %x at login", export, again)
			}
			serverSession, ok := c.loginAt.finishLogin(t, alice, ke3)
			if !ok {
				t.Error("the server refuses the client's finalization")
			}
			if serverSession != nil && !bytes.Equal(serverSession, session) {
				t.Errorf("session key is %x at the client and %x at the server", session, serverSession)
			}

			ke1 = c.loginWith.startLogin(t, alice, "wrong horse")
			if _, _, _, ok := c.loginWith.finishLogin(t, c.loginAt.startLogin(t, alice, upload, ke1)); ok {
				t.Error("the client accepts a wrong password")
			}
		})
	}

	t.Run("unknown names evaluate alike at both", func(t *testing.T) {
		nobody := name(t, "nobody")
		ke1 := goClient.startLogin(t, nobody, "pw")
		g, j := goServer.startLogin(t, nobody, nil, ke1), jsServer.startLogin(t, nobody, nil, ke1)
		if len(g) != len(j) || !bytes.Equal(g[:elementSize], j[:elementSize]) {
			t.Errorf("ours answers %x, opaque-ke %x: want equal lengths and evaluations", g, j)
		}
	})

	t.Run("another context is refused", func(t *testing.T) {
		alice, other := name(t, "alice"), &ours{context: Context}
		request := other.startRegistration(t, alice, "pw")
		upload, _ := other.finishRegistration(t, jsServer.register(t, alice, request))
		ke1 := other.startLogin(t, alice, "pw")
		if _, _, _, ok := other.finishLogin(t, jsServer.startLogin(t, alice, upload, ke1)); ok {
			t.Error("a client with our context accepts a server without")
		}
	})
}

type interopClient interface {
	startRegistration(t *testing.T, who Username, password string) (request []byte)
	finishRegistration(t *testing.T, response []byte) (upload, export []byte)
	startLogin(t *testing.T, who Username, password string) (ke1 []byte)
	finishLogin(t *testing.T, ke2 []byte) (ke3, session, export []byte, ok bool)
}

type interopServer interface {
	register(t *testing.T, who Username, request []byte) (response []byte)
	startLogin(t *testing.T, who Username, upload, ke1 []byte) (ke2 []byte)
	// finishLogin's session key is nil if the server derives none.
	finishLogin(t *testing.T, who Username, ke3 []byte) (session []byte, ok bool)
}
