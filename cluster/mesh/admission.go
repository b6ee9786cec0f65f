package mesh

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/tlsid"
)

const (
	// maxKnown limits how many addresses of nodes are remembered: a cluster has
	// 3 to 9 nodes, translators may give each a few more.
	maxKnown = 256
	// maxOtherGuests is how many guests that are no clients there may be, or in a
	// handshake, beyond MaxClients: joining nodes, nodes at unknown addresses.
	maxOtherGuests = 512
	// proofAfter is how many handshakes of one address may be under way before a
	// further one must prove that the address is its own.
	proofAfter = 16
	// crowdShare: when that share of MaxClients is there, further guests get small
	// first windows.
	crowdShare = 4
	// proofShare: when that share of MaxHandshakes is under way, each must.
	proofShare = 4
	// A node that keeps coming from unknown addresses (a translator that changes
	// ports) is told to dial again at most dialAgainLimit times per
	// dialAgainPeriod; in between it is served with the guests' limits.
	dialAgainLimit  = 8
	dialAgainPeriod = time.Minute
)

var (
	errTooMany       = errors.New("too many connections")
	errTooManyPrefix = errors.New("too many connections from this address")
	errTooManyHellos = errors.New("too many handshakes")
)

// admission decides about connections before anything is spent on them.
type admission struct {
	limits Limits
	retry  rateLimit
	budget windowBudget
	log    *slog.Logger

	mu       sync.Mutex
	known    map[netip.AddrPort]struct{} // addresses nodes proved to be at, or were dialed at
	told     map[tlsid.NodeID]*dialAgain // who was told to dial again
	guests   int                         // connections from unknown addresses, handshakes included
	clients  int                         // those among them on qpq/1
	pending  int                         // guests that are in their handshake
	prefixes map[netip.Prefix]census     // guests per IPv4 address or IPv6 /64

	refused, retried atomic.Uint64
}

// census counts the guests of one address.
type census struct {
	guests, pending int // pending: those in their handshake
}

func newAdmission(o *Options) *admission {
	a := &admission{
		limits:   o.Limits,
		log:      o.Logger,
		known:    make(map[netip.AddrPort]struct{}),
		told:     make(map[tlsid.NodeID]*dialAgain),
		prefixes: make(map[netip.Prefix]census),
	}
	a.retry = rateLimit{perSecond: o.HandshakesPerSecond, tokens: float64(o.HandshakesPerSecond)}
	a.budget.left.Store(o.WindowBudget)
	return a
}

// guest is the account of one guest connection, carried in its context.
type guest struct {
	admission *admission
	prefix    netip.Prefix
	client    bool         // under admission.mu
	arrived   bool         // its handshake is done, or its connection over; under admission.mu
	window    atomic.Int64 // bytes taken from the budget, -1 once returned
}

type guestKey struct{}

// guestOf returns the guest's account in a connection's context, nil for nodes.
func guestOf(ctx context.Context) *guest {
	g, _ := ctx.Value(guestKey{}).(*guest)
	return g
}

// needsRetry implements quic.Transport.VerifySourceAddress.
func (a *admission) needsRetry(address net.Addr) bool {
	if a.isKnown(address) || a.quiet(PrefixOf(address)) && a.retry.allow(time.Now()) {
		return false
	}
	a.retried.Add(1)
	return true
}

// quiet tells whether a further handshake from an address may go on trust.
func (a *admission) quiet(prefix netip.Prefix) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pending < max(1, a.limits.MaxHandshakes/proofShare) && a.prefixes[prefix].pending < proofAfter
}

// admit implements quic.Transport.ConnContext: it counts guests and refuses
// them before any cryptography. Nodes at known addresses always get in.
func (a *admission) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if a.isKnown(info.RemoteAddr) {
		return ctx, nil
	}
	g := &guest{admission: a, prefix: PrefixOf(info.RemoteAddr)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refusalOf(g.prefix); err != nil {
		a.refused.Add(1)
		return nil, err
	}
	a.guests++
	a.pending++
	a.count(g.prefix, census{1, 1})
	context.AfterFunc(ctx, g.leave)
	return context.WithValue(ctx, guestKey{}, g), nil
}

// refusalOf says why there is no room for one more guest from an address; the
// caller holds mu.
func (a *admission) refusalOf(prefix netip.Prefix) error {
	o, from := &a.limits, a.prefixes[prefix]
	switch {
	case a.guests >= o.MaxClients+maxOtherGuests:
		return errTooMany
	case from.guests >= o.MaxPerAddress:
		return errTooManyPrefix
	case a.pending >= o.MaxHandshakes, from.pending >= o.MaxHandshakesPerAddress:
		return errTooManyHellos
	}
	return nil
}

// isCrowded tells whether further guests get small first windows.
func (a *admission) isCrowded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.guests >= a.limits.MaxClients/crowdShare
}

// count changes what is counted for an address; the caller holds mu.
func (a *admission) count(prefix netip.Prefix, by census) {
	c := a.prefixes[prefix]
	c.guests += by.guests
	c.pending += by.pending
	if c == (census{}) {
		delete(a.prefixes, prefix)
		return
	}
	a.prefixes[prefix] = c
}

// arrive notes that a guest's handshake is done. It is called for nodes, too.
func (g *guest) arrive() {
	if g == nil {
		return
	}
	g.admission.mu.Lock()
	defer g.admission.mu.Unlock()
	g.settle()
}

// settle ends a guest's handshake in the counts, once; the caller holds mu.
func (g *guest) settle() {
	if g.arrived {
		return
	}
	g.arrived = true
	g.admission.pending--
	g.admission.count(g.prefix, census{0, -1})
}

// admitClient counts a guest as a client once its hello asked for qpq/1.
func (a *admission) admitClient(g *guest) error {
	if g == nil {
		return nil // from a node's own socket
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.clients >= a.limits.MaxClients {
		a.refused.Add(1)
		return errTooMany
	}
	a.clients++
	g.client = true
	return nil
}

// leave gives back what a guest held, when its connection is over.
func (g *guest) leave() {
	a := g.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	a.guests--
	if g.client {
		a.clients--
	}
	g.settle()
	a.count(g.prefix, census{-1, 0})
	a.budget.giveBack(g)
}

// learn remembers the address of a node.
func (a *admission) learn(address net.Addr) {
	key, ok := addrPort(address)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxKnown {
		clear(a.known) // nodes moved a lot; those that are here are learned again
	}
	a.known[key] = struct{}{}
}

func (a *admission) isKnown(address net.Addr) bool {
	key, ok := addrPort(address)
	if !ok {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.known[key]
	return known
}

// dialAgain counts how often a node was told in the period that began at since.
type dialAgain struct {
	since time.Time
	times int
}

// shouldDialAgain reports whether a node that came as a guest shall be told.
func (a *admission) shouldDialAgain(node tlsid.NodeID, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	told := a.told[node]
	if told == nil || now.Sub(told.since) >= dialAgainPeriod {
		if len(a.told) >= maxKnown {
			clear(a.told)
		}
		told = &dialAgain{since: now}
		a.told[node] = told
	}
	told.times++
	return told.times <= dialAgainLimit
}

func addrPort(address net.Addr) (netip.AddrPort, bool) {
	var ap netip.AddrPort
	if udp, ok := address.(*net.UDPAddr); ok {
		ap = udp.AddrPort()
	} else if parsed, err := netip.ParseAddrPort(address.String()); err == nil {
		ap = parsed
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}

// PrefixOf is what one household or one carrier customer holds: an IPv4
// address or an IPv6 /64 (RFC 6177). Other addresses share one prefix.
func PrefixOf(address net.Addr) netip.Prefix {
	ap, ok := addrPort(address)
	if !ok {
		return netip.Prefix{}
	}
	bits := 32
	if ap.Addr().Is6() {
		bits = 64
	}
	prefix, err := ap.Addr().WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// rateLimit is a token bucket with a burst of one second.
type rateLimit struct {
	perSecond int

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func (r *rateLimit) allow(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	burst := float64(r.perSecond)
	r.tokens = min(burst, r.tokens+burst*now.Sub(r.last).Seconds())
	r.last = now
	if r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// windowBudget is what all guests' windows together may grow, in bytes.
type windowBudget struct{ left atomic.Int64 }

// allowWindow implements quic.Config.AllowConnectionWindowIncrease. It runs on
// the connection's goroutine and must not block.
func allowWindow(conn *quic.Conn, delta uint64) bool {
	g := guestOf(conn.Context())
	if g == nil {
		return true // a node whose address was learned during its handshake
	}
	return g.admission.budget.take(g, int64(min(delta, guestConnectionWindowMax)))
}

func (b *windowBudget) take(g *guest, bytes int64) bool {
	if b.left.Add(-bytes) < 0 {
		b.left.Add(bytes)
		return false
	}
	for {
		held := g.window.Load()
		if held < 0 { // its connection is over
			b.left.Add(bytes)
			return false
		}
		if g.window.CompareAndSwap(held, held+bytes) {
			return true
		}
	}
}

func (b *windowBudget) giveBack(g *guest) {
	if held := g.window.Swap(-1); held > 0 {
		b.left.Add(held)
	}
}
