package conn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"quicproquo/client/internal/turnstile"
	"quicproquo/crypto/tlsid"
	"quicproquo/happyeyeballs"
)

// dialing is an attempt to get a link that all calls share who need one. done is
// closed after link and err are set.
type dialing struct {
	done chan struct{}
	link *link
	err  error
}

// connect returns a link that the caller holds, the current one or a new one.
func (c *Conn) connect(ctx context.Context) (*link, error) {
	for {
		l, d, err := c.current()
		if err != nil {
			return nil, err
		}
		if l == nil {
			select {
			case <-d.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if d.err != nil {
				return nil, d.err
			}
			l = d.link
		}
		if l.hold() {
			return l, nil
		}
	}
}

// current returns the link if it lives, or else the dialing that will bring the
// next one, which it starts if none is under way.
func (c *Conn) current() (*link, *dialing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	if c.link != nil && c.link.alive() {
		return c.link, nil, nil
	}
	if c.dialing == nil {
		d := &dialing{done: make(chan struct{})}
		c.dialing = d
		c.tasks.Go(func() { c.dial(d) })
	}
	return nil, c.dialing, nil
}

// dial fills d and makes its link the current one.
func (c *Conn) dial(d *dialing) {
	l, err := c.dialInTurn()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.closed {
		l.close()
		l, err = nil, ErrClosed
	}
	if err == nil {
		c.link = l
		c.tasks.Go(c.learn)
	}
	d.link, d.err = l, err
	c.dialing = nil
	close(d.done)
}

// dialers are the Conns of this process that dial.
var dialers = turnstile.New(maxDialers, dialerWait, dialerEvery)

func (c *Conn) dialInTurn() (*link, error) {
	leave, err := c.dialers.Enter(c.ctx)
	if err != nil {
		return nil, ErrClosed
	}
	defer leave()
	return c.dialAny()
}

// reached is a connection to one of a node's addresses.
type reached struct {
	at   *endpoint
	conn *quic.Conn
}

func (r reached) drop() { _ = r.conn.CloseWithError(connDone, "") }

// dialAny tries the endpoints in order, each a little after the one before unless that
// is being answered, and returns a link to the first that completes the handshake.
func (c *Conn) dialAny() (*link, error) {
	order := c.endpoints.order(time.Now())
	stagger := min(c.patience.With(0)/time.Duration(staggerShare), maxStagger)
	attempts := make([]happyeyeballs.Attempt[reached], len(order))
	for i, at := range order {
		attempts[i] = func(ctx context.Context, answered func()) (reached, error) {
			r, err := c.dialEndpoint(ctx, at, answered)
			if err != nil && ctx.Err() == nil {
				c.endpoints.failed(at, time.Now(), 0)
				err = fmt.Errorf("connect to %s: %w", at.address, err)
			}
			return r, err
		}
	}
	r, ok, errs := happyeyeballs.Race(c.ctx, attempts, stagger, nil, reached.drop)
	switch {
	case ok:
		return newLink(r.conn, r.at, &c.patience), nil
	case c.ctx.Err() != nil:
		return nil, ErrClosed
	case !slices.ContainsFunc(errs, func(err error) bool { return !distrusts(err) }):
		return nil, errors.Join(append([]error{ErrUntrusted}, errs...)...)
	}
	c.patience.Missed()
	return nil, errors.Join(append([]error{errNoNode}, errs...)...)
}

// ErrUntrusted means that every node that was tried has shown a certificate that the
// client does not trust: wrong address, wrong pin, a clock that is off, or somebody in
// between. Trying again is of no use.
var ErrUntrusted = errors.New("no node's certificate is trusted")

// distrusts reports whether a handshake failed because of the node's certificate.
func distrusts(err error) bool {
	if errors.Is(err, tlsid.ErrPin) {
		return true
	}
	if _, is := errors.AsType[x509.UnknownAuthorityError](err); is {
		return true
	}
	if _, is := errors.AsType[x509.HostnameError](err); is {
		return true
	}
	_, is := errors.AsType[x509.CertificateInvalidError](err)
	return is
}

// errNoNode is why a call has nowhere to go.
var errNoNode = errors.New("no node answers")

// dialEndpoint tries a node's addresses, each a little after the one before.
func (c *Conn) dialEndpoint(ctx context.Context, at *endpoint, answered func()) (reached, error) {
	ctx, cancel := context.WithTimeout(ctx, min(max(dialTimeout, c.patience.With(0)), maxDialTimeout))
	defer cancel()
	addresses, err := c.options.Resolve(ctx, at.address)
	if err != nil {
		return reached{}, err
	}
	if len(addresses) == 0 {
		return reached{}, errNoAddress
	}
	attempts := make([]happyeyeballs.Attempt[reached], min(len(addresses), maxAddresses))
	for i := range attempts {
		attempts[i] = func(ctx context.Context, answered func()) (reached, error) {
			conn, err := c.dialAddress(ctx, at, addresses[i], answered)
			return reached{at, conn}, err
		}
	}
	r, ok, errs := happyeyeballs.Race(ctx, attempts, happyeyeballs.Stagger, answered, reached.drop)
	if !ok {
		return reached{}, errors.Join(errs...)
	}
	return r, nil
}

// errNoAddress is what a resolver should have said itself.
var errNoAddress = errors.New("the name has no address")

func (c *Conn) dialAddress(ctx context.Context, at *endpoint, address net.Addr, answered func()) (*quic.Conn, error) {
	config := c.options.TLS.Clone()
	if config.ServerName == "" {
		// Dial has checked the address.
		config.ServerName, _, _ = net.SplitHostPort(at.address)
	}
	if config.ClientSessionCache == nil {
		config.ClientSessionCache = c.tickets.Of(at.address)
	}
	stop := c.senders.Tell(address, answered)
	defer stop()
	conn, err := c.transport.Dial(ctx, address, config, c.quic)
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", address, err)
	}
	c.tickets.Done(at.address, conn.ConnectionState().TLS.DidResume, time.Now())
	return conn, nil
}

// abandon gives up a link after a failure: no new calls go there. Its endpoint
// is avoided for at least pause.
func (c *Conn) abandon(l *link, why error, pause time.Duration) {
	c.endpoints.failed(l.at, time.Now(), pause)
	c.mu.Lock()
	if c.link == l {
		c.link = nil
		if errors.Is(why, errSilent) { // told once, however many calls it meets
			c.patience.Missed()
		}
	}
	c.mu.Unlock()
	l.retire()
}

// resolve is the default of Options.Resolve: all of a name's addresses.
func resolve(ctx context.Context, address string) ([]net.Addr, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	list := make([]net.Addr, 0, len(found))
	for _, ip := range happyeyeballs.Interleave(found) {
		list = append(list, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(number))))
	}
	return list, nil
}
