package mesh

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"quicproquo/crypto/tlsid"
)

// A node's name has two addresses, of which the resolver gives the one first where nobody
// is: another node reaches it at the other long before a handshake's time is over. The
// test answers DNS.
func TestNodeNameWithTwoAddresses(t *testing.T) {
	answerDNS(t)
	w := newNetwork(t, func(tlsid.NodeID) net.PacketConn {
		// Of both families. Nodes are at 127.0.0.1 only: there the port is theirs.
		conn, err := net.ListenUDP("udp", nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}, "n1")
	w.setMember("n2", true)
	all := w.listen
	w.listen = func(tlsid.NodeID) net.PacketConn { return listenUDP(t, "127.0.0.1:0") }
	n2 := w.start(t, "n2", mustKeys(t))
	w.listen = all
	n2.echo(tlsid.ALPNPeer)
	_, port, err := net.SplitHostPort(n2.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.address["n2"] = net.JoinHostPort("node.example.test", port)
	w.mu.Unlock()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := callOnce(ctx, w.nodes["n1"], "n2", tlsid.ALPNPeer); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if took := time.Since(began); took > handshakeIdleTimeout-time.Second {
		t.Errorf("it took %v, want a quarter of a second for the address where nobody is", took)
	}
}

// answerDNS has every name looked up in this process lead to ::1 and 127.0.0.1, in the
// order in which the resolver sorts them, until the test ends.
func answerDNS(t *testing.T) {
	t.Helper()
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := l.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if answer, err := dnsAnswer(buf[:n]); err == nil {
				_, _ = l.WriteToUDP(answer, from) // who asked asks again
			}
		}
	})
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", l.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		_ = l.Close()
		served.Wait()
	})
}

// dnsAnswer answers A with 127.0.0.1, AAAA with ::1, and all else with nothing.
func dnsAnswer(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
	for _, q := range message.Questions {
		var body dnsmessage.ResourceBody
		switch q.Type {
		case dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}
		case dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}
		default:
			continue
		}
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 60}, Body: body,
		})
	}
	return message.Pack()
}

// A node is reached where it is, though it was elsewhere by the first word about it: all
// places are tried, the one after the other that is a name nobody knows, and one where
// another node of the cluster is now.
func TestNodeIsInOneOfSeveralPlaces(t *testing.T) {
	w := newNetwork(t, nil, "n1", "n2", "n3")
	for _, n := range w.nodes {
		n.echo(tlsid.ALPNPeer)
	}
	nobody := listenUDP(t, "127.0.0.1:0")
	defer nobody.Close()
	w.mu.Lock()
	is := w.address["n2"]
	w.address["n2"] = "no port"
	w.also = map[tlsid.NodeID][]string{"n2": {nobody.LocalAddr().String(), w.address["n3"], is}}
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	began := time.Now()
	if err := callOnce(ctx, w.nodes["n1"], "n2", tlsid.ALPNPeer); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > handshakeIdleTimeout-time.Second {
		t.Errorf("it took %v, want some quarters of a second", took)
	}
}
