package conn

import (
	"crypto/tls"
	"slices"
	"sync"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/crypto/tlsid"
)

// learner is a client that was given one node, and what it has learned.
type learner struct {
	*Conn
	mu      sync.Mutex
	learned [][]string
}

func (c *cluster) learner(t *testing.T, change func(*Options), given ...string) *learner {
	t.Helper()
	l := &learner{}
	options := c.options(given...)
	options.Learned = func(list []string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.learned = append(l.learned, list)
	}
	if change != nil {
		change(&options)
	}
	var err error
	if l.Conn, err = Dial(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (l *learner) all() [][]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.learned)
}

// A client that was given one node learns the others from it, tells the program, once,
// and goes on when that node dies. The next one, given the same dead node and what was
// learned, reaches the others too.
func TestOneNodeIsEnough(t *testing.T) {
	run(t, 3, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		c.Members = c.Endpoints
		given := c.Endpoints[0]
		l := c.learner(t, nil, given)
		if err := read(within(t, 5*time.Second), l.Conn); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := l.all(); len(got) != 1 || !slices.Equal(got[0], c.Endpoints) {
			t.Fatalf("the client has learned %q, want the three nodes once", got)
		}
		c.Network.Silence(given)
		began := time.Now()
		if err := write(within(t, 10*time.Second), l.Conn); err != nil {
			t.Fatalf("after the node's death: %v", err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a write took %v after the only node that was named had died, want at most 3 s", took)
		}
		_ = l.Close()
		next := c.learner(t, func(o *Options) { o.Known = l.all()[0] }, given)
		if err := read(within(t, 5*time.Second), next.Conn); err != nil {
			t.Errorf("the next client: %v", err)
		}
	})
}

// A node that lies names others: of another cluster, which the client's trust refuses,
// and nonsense. The client stays with the nodes of its cluster, and what it was given is
// not lost. Where a host's public certificate is trusted nothing is learned at all.
func TestLyingNodeNamesStrangers(t *testing.T) {
	run(t, 2, always(scripted.Reply{}), func(c *cluster) {
		t := c.T
		foreign := scripted.NewCluster(t, 0, always(scripted.Reply{}))
		foreign.Network = c.Network
		ca, err := tlsid.NewAuthority(tlsid.NewClusterID(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		identity, err := tlsid.NewIdentity(ca, "n1", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		foreign.Start(t, identity, scripted.UDPAddr(9))
		c.Members = append([]string{"nonsense", "", ":1"}, foreign.Endpoints...)
		given := c.Endpoints[0]
		l := c.learner(t, nil, given)
		if err := read(within(t, 5*time.Second), l.Conn); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := l.all(); len(got) != 1 || !slices.Equal(got[0], foreign.Endpoints) {
			t.Fatalf("the client has learned %q, want what is an address", got)
		}
		c.Network.Silence(given)
		if err := read(within(t, 4*time.Second), l.Conn); err == nil || len(foreign.Requests()) != 0 {
			t.Errorf("a call was answered (%v) when only a stranger was there; it saw %d", err, len(foreign.Requests()))
		}
		c.Network.Mu.Lock()
		clear(c.Network.Dark)
		c.Network.Mu.Unlock()
		if err := read(within(t, 30*time.Second), l.Conn); err != nil {
			t.Errorf("the node that was given is back: %v", err)
		}
		public := c.learner(t, func(o *Options) { o.TLS = &tls.Config{InsecureSkipVerify: true} }, given) //nolint:gosec // who is trusted is not what this tests
		if err := read(within(t, 5*time.Second), public.Conn); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := public.all(); len(got) != 0 {
			t.Errorf("a client without a pin has learned %q", got)
		}
	})
}
