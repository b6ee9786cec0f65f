package mesh

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

// More clients than allowed, in all or from one address, are refused; nodes
// still get in, and a place that becomes free is given again.
func TestConnectionLimits(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"in all":           func(o *Options) { o.MaxClients = 2 },
		"from one address": func(o *Options) { o.MaxPerAddress = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newNetwork(t, nil)
			w.change = change
			for _, id := range []tlsid.NodeID{"n1", "n2"} {
				w.setMember(id, true)
				w.start(t, id, mustKeys(t)).echo(tlsid.ALPNPeer)
			}
			n1 := w.nodes["n1"]
			n1.echo(tlsid.ALPNClient)
			// n1 knows n2 before the clients come, as in a running cluster.
			if err := callOnce(t.Context(), w.nodes["n2"], "n1", tlsid.ALPNPeer); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return guests(n1) == 0 }, func() string { return "the node counts as a guest" })
			var last *quic.Conn
			for range 2 {
				conn, err := dialAs(t, n1, clientConfig(t, w), nil)
				if err != nil {
					t.Fatal(err)
				}
				last = conn
			}
			if conn, err := dialAs(t, n1, clientConfig(t, w), nil); err == nil {
				t.Fatalf("a third client got in: %v", conn.RemoteAddr())
			}
			if _, err := w.nodes["n2"].connection(t.Context(), "n1", tlsid.ALPNRaft); err != nil {
				t.Errorf("a node is refused: %v", err)
			}
			if err := last.CloseWithError(0, ""); err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return guests(n1) == 1 }, func() string { return "a place does not become free" })
			if _, err := dialAs(t, n1, clientConfig(t, w), nil); err != nil {
				t.Errorf("client at a free place: %v", err)
			}
		})
	}
}

// Each limit of guests holds to one: the last that fits gets in, one more does not, and
// is told which limit it was.
func TestGuestsAreCounted(t *testing.T) {
	limits := Limits{MaxClients: 1000, MaxPerAddress: 20, MaxHandshakes: 100, MaxHandshakesPerAddress: 10}
	here := netip.MustParsePrefix("192.0.2.1/32")
	for _, c := range []struct {
		guests, pending int    // of all
		from            census // of the address
		want            error
	}{
		{1000 + maxOtherGuests - 1, 0, census{}, nil},
		{1000 + maxOtherGuests, 0, census{}, errTooMany},
		{500, 0, census{guests: 19}, nil},
		{500, 0, census{guests: 20}, errTooManyPrefix},
		{500, 99, census{}, nil},
		{500, 100, census{}, errTooManyHellos},
		{500, 50, census{guests: 12, pending: 9}, nil},
		{500, 50, census{guests: 12, pending: 10}, errTooManyHellos},
	} {
		a := newAdmission(&Options{Limits: limits})
		a.guests, a.pending, a.prefixes[here] = c.guests, c.pending, c.from
		if err := a.refusalOf(here); !errors.Is(err, c.want) {
			t.Errorf("with %d guests, %d in their handshake, %+v of the address: %v, want %v", c.guests, c.pending, c.from, err, c.want)
		}
	}
}

func guests(n *node) int {
	n.admission.mu.Lock()
	defer n.admission.mu.Unlock()
	return n.admission.guests
}

// Above the handshake rate strangers must prove their address, and then get in;
// known nodes need not.
func TestRetryUnderLoad(t *testing.T) {
	w := newNetwork(t, nil)
	w.change = func(o *Options) { o.HandshakesPerSecond = 1 }
	w.setMember("n1", true)
	n1 := w.start(t, "n1", mustKeys(t))
	n1.echo(tlsid.ALPNClient)
	stranger := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	n1.admission.needsRetry(stranger)
	if !n1.admission.needsRetry(stranger) {
		t.Fatal("second handshake in a second is taken on trust")
	}
	n1.admission.learn(stranger)
	if n1.admission.needsRetry(stranger) {
		t.Error("a known node must prove its address")
	}
	for range 3 { // within a second or not: each gets in
		if _, err := dialAs(t, n1, clientConfig(t, w), nil); err != nil {
			t.Fatal(err)
		}
	}
}

// A client whose data nobody reads pins no more than its first window.
func TestUnreadDataIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newNetwork(t, simulated(t, "n1", "client"))
		w.setMember("n1", true)
		n1 := w.start(t, "n1", mustKeys(t))
		n1.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) { <-conn.Context().Done() })
		transport := &quic.Transport{Conn: w.listen("client")}
		defer transport.Close()
		conn, err := transport.Dial(t.Context(), n1.Addr(), clientConfig(t, w), nil)
		if err != nil {
			t.Fatal(err)
		}
		sent, streams := 0, 0
		for {
			s, err := conn.OpenStream()
			if err != nil {
				break // the limit of streams
			}
			streams++
			if err := s.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			n, _ := s.Write(make([]byte, 4*guestStreamWindow)) // times out
			sent += n
		}
		if streams != ClientStreams {
			t.Errorf("client opened %d streams, expected %d", streams, ClientStreams)
		}
		// quic-go's Write counts up to a packet per stream that waits to be sent.
		if most := guestConnectionWindow + streams*1500; sent > most {
			t.Errorf("client sent %d bytes that nobody reads, expected at most %d", sent, most)
		}
	})
}

// All clients together get no more window than the budget has, though the
// server reads as fast as they send, and give it back.
func TestWindowBudget(t *testing.T) {
	const budget = 600 << 10
	w := newNetwork(t, nil)
	w.change = func(o *Options) { o.WindowBudget = budget }
	w.setMember("n1", true)
	n1 := w.start(t, "n1", mustKeys(t))
	n1.Serve(tlsid.ALPNClient, func(conn *quic.Conn, _ tlsid.PeerID) {
		for {
			s, err := AcceptStream(context.Background(), conn)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, s)
			_ = s.Close()
		}
	})
	least := int64(budget)
	for range 3 {
		conn, err := dialAs(t, n1, clientConfig(t, w), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := openOn(t.Context(), conn)
		if err != nil {
			t.Fatal(err)
		}
		for range 32 {
			if _, err := s.Write(make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
			least = min(least, n1.admission.budget.left.Load())
		}
	}
	if least < 0 {
		t.Errorf("budget was overdrawn by %d bytes", -least)
	}
	if least == budget {
		t.Error("no window grew: the test proved nothing")
	}
	for _, conn := range n1.connections() {
		_ = conn.CloseWithError(codeDone, "")
	}
	waitFor(t, func() bool { return n1.admission.budget.left.Load() == budget }, func() string { return "budget is not given back" })
}

// A budget is never overdrawn and nothing is given to a connection that ended.
func TestBudgetAccounting(t *testing.T) {
	var b windowBudget
	b.left.Store(100)
	first, second := new(guest), new(guest)
	for i, step := range []struct {
		g    *guest
		take int64
		want bool
		left int64
	}{
		{first, 60, true, 40}, {second, 41, false, 40}, {second, 40, true, 0}, {first, 1, false, 0},
	} {
		if got := b.take(step.g, step.take); got != step.want || b.left.Load() != step.left {
			t.Fatalf("step %d: taking %d is %t with %d left, expected %t with %d", i, step.take, got, b.left.Load(), step.want, step.left)
		}
	}
	b.giveBack(first)
	b.giveBack(first)
	if b.take(first, 1) || b.left.Load() != 60 {
		t.Fatalf("%d left after one of two ended, expected 60", b.left.Load())
	}
}

// One party is an IPv4 address or an IPv6 /64, whatever way it is written.
func TestPrefix(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:1":            "192.0.2.7/32",
		"[::ffff:192.0.2.7]:2":   "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:5":  "2001:db8:1:2::/64",
		"[fe80::1%eth0]:5":       "fe80::/64",
		"[2001:db8:1:2:ffff::]:": "invalid Prefix",
	} {
		if got := PrefixOf(textAddr(address)).String(); got != want {
			t.Errorf("prefix of %s is %s, expected %s", address, got, want)
		}
	}
}

type textAddr string

func (textAddr) Network() string  { return "test" }
func (a textAddr) String() string { return string(a) }

// The rate is kept whatever the clock does, with a burst of one second.
func TestRateLimit(t *testing.T) {
	r := rateLimit{perSecond: 10, tokens: 10}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	allowed := func() (n int) {
		for r.allow(now) {
			n++
		}
		return n
	}
	for i, step := range []struct {
		wait time.Duration
		want int
	}{{0, 10}, {0, 0}, {500 * time.Millisecond, 5}, {time.Hour, 10}, {50 * time.Millisecond, 0}, {50 * time.Millisecond, 1}} {
		now = now.Add(step.wait)
		if got := allowed(); got != step.want {
			t.Errorf("step %d: %d handshakes after %v, expected %d", i, got, step.wait, step.want)
		}
	}
}

// Keys are drawn once, kept with mode 0600, and a damaged file is refused with
// what to do about it.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, keysFile)
	first, err := LoadOrCreateKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKeys(dir)
	if err != nil || again != first {
		t.Fatalf("keys differ at the second start (%v)", err)
	}
	if first == mustKeys(t) || first.StatelessReset == first.Token {
		t.Fatal("keys are not random")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode of %s is %v (%v), expected 0600", path, info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"truncated": func() error { return os.Truncate(path, 40) },
		"empty":     func() error { return os.Truncate(path, 0) },
		"longer":    func() error { return os.WriteFile(path, append(data, 0), 0o600) },
		"other":     func() error { return os.WriteFile(path, make([]byte, len(data)), 0o600) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKeys(dir); err == nil || !strings.Contains(err.Error(), "delete it") {
			t.Errorf("%s keys: %v, expected advice", name, err)
		}
	}
	for _, mode := range []os.FileMode{0o644, 0o640, 0o604, 0o620} {
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKeys(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("keys of mode %#o: %v, expected advice", mode, err)
		}
	}
	if _, err := LoadOrCreateKeys(filepath.Join(dir, "none")); err == nil {
		t.Error("keys stored in a directory that does not exist")
	}
}
