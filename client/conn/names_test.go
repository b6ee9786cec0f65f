package conn_test

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"quicproquo/client/conn"
	"quicproquo/testcluster"
)

// A name has two addresses, of which the resolver gives the one first where nobody is:
// a client reaches the node at the other within a second or so. The test answers DNS.
func TestNameWithTwoAddresses(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	answerDNS(t)
	options, err := c.ClientOptions()
	if err != nil {
		t.Fatal(err)
	}
	_ = options.PacketConn.Close()
	if options.PacketConn, err = net.ListenUDP("udp", nil); err != nil { // of both families
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(options.Endpoints[0])
	if err != nil {
		t.Fatal(err)
	}
	options.Endpoints, options.Resolve = []string{net.JoinHostPort("node.example.test", port)}, nil
	conn, err := conn.Dial(options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	began := time.Now()
	if _, err := conn.Health(ctx); err != nil {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if took := time.Since(began); took > 4*time.Second {
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
