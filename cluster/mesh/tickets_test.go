package mesh

import (
	"crypto/tls"
	"testing"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// A client that comes back resumes its session, also after the node was started anew with
// its keys and certificate; at a node with other keys it makes a whole handshake.
func TestClientsResume(t *testing.T) {
	w := newNetwork(t, nil, "n1")
	identity := w.nodes["n1"].options.Identity
	w.change = func(o *Options) { o.Identity = identity }
	config := clientConfig(t, w)
	come := func(to *node, when string, want bool) {
		t.Helper()
		to.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) { <-conn.Context().Done() })
		conn, err := dialAs(t, to, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().TLS.DidResume; got != want {
			t.Errorf("%s the client resumes: %t, want %t", when, got, want)
		}
		waitFor(t, func() bool {
			ticket, ok := config.ClientSessionCache.Get(config.ServerName)
			return ok && ticket != nil
		}, func() string { return "no ticket has come" })
		_ = conn.CloseWithError(0, "")
	}
	restart := func(keys Keys) *node {
		w.nodes["n1"].stop(t)
		return w.start(t, "n1", keys)
	}
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	keys := w.nodes["n1"].keys
	come(w.nodes["n1"], "at first", false)
	come(w.nodes["n1"], "when it comes back", true)
	come(restart(keys), "after a restart", true)
	come(restart(mustKeys(t)), "at other keys", false)
}
