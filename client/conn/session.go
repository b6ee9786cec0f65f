package conn

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// Session is what a login gave: the right to act for an account. It holds
// secrets; programs that keep it keep it encrypted.
type Session struct {
	Token   account.Token
	Account AccountKey
	// Device is the device that the session is of; zero: of the account itself.
	Device DeviceID
	// Key signs for the session: the device's key if it has one of its own, else
	// the account's. With it the Conn binds the session to every connection, and
	// a stolen token alone is worth nothing. Nil: the token travels in each call,
	// which the cluster may forbid (setting bearer_tokens).
	Key crypto.Signer
	// Copies tells copies of Key and what goes with it apart; nil: there are none.
	Copies Copies
	// Expires is when the session ends unless it is used before.
	Expires time.Time
	// Seen is a log index that has the session: a Conn that calls as it asks no node that
	// is behind, which would not know it. Login sets it; 0: unknown.
	Seen uint64
}

// Copies is what a session asks of the program that keeps a device's keys, so that the
// cluster can tell copies of them apart (docs/protocol.md, Instances).
type Copies interface {
	// Instance returns what this copy of the keys is called from now on, which it keeps
	// where the keys are before it returns, and what it was called before.
	Instance() (number uint64, held []uint64, err error)
	// Taken is told what the cluster remembers now; 0: nothing. An error is that of the
	// call.
	Taken(number uint64) error
	// Replaced is told that another copy is in use, and reports whether to ask again:
	// Instance then names that one as held.
	Replaced(number uint64) (again bool)
}

// SetSession makes the Conn call as a session, or as nobody if it is nil. Calls
// on their way end as who they began.
func (c *Conn) SetSession(s *Session) {
	if s != nil {
		c.Observe(s.Seen)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session.Store(s)
	if c.link != nil && c.link.presented.Load() != nil {
		// A connection is bound once: the next session needs another.
		c.link.retire()
		c.link = nil
	}
}

// Session returns who the Conn calls as, nil for nobody.
func (c *Conn) Session() *Session { return c.session.Load() }

// authorized is a method's parameter struct that has an auth.
type authorized interface {
	~capnp.StructKind
	NewAuth() (schemas.Auth, error)
}

// CallAs is Call for the methods that need a session: it runs as the Conn's. On a
// connection that is not bound yet it binds the session first, or gives its token
// in the call. A session that the cluster has ended or never knew is reported
// with TOKEN_EXPIRED or TOKEN_INVALID, and calls go on failing until SetSession.
func CallAs[P authorized, R ~capnp.StructKind](
	ctx context.Context, c *Conn, request Request,
	newParams func(*capnp.Segment) (P, error), fill func(P) error, read func(R) error,
) error {
	s := c.session.Load()
	if s == nil {
		return &Error{Code: schemas.Code_tokenMissing, Message: schemas.Code_tokenMissing.Doc().Meaning}
	}
	request.session = s
	return Call(ctx, c, request, newParams, func(params P) error {
		if err := authorize(params, s); err != nil || fill == nil {
			return err
		}
		return fill(params)
	}, read)
}

// authorize puts the token of a session that is never bound into a call.
func authorize[P authorized](params P, s *Session) error {
	if s.Key != nil {
		return nil
	}
	auth, err := params.NewAuth()
	if err != nil {
		return err
	}
	auth.SetVersion(schemas.AuthVersion)
	return auth.SetAccessToken(s.Token[:])
}

// present makes the session known on a link before the first call that needs it:
// it binds the session, or for one that is never bound, and only if the call is
// larger than what a node takes from strangers, asks who it is. Calls that come
// meanwhile wait.
func (c *Conn) present(ctx context.Context, l *link, s *Session, size int, deadline time.Time) error {
	if s == nil || l.presented.Load() == s || s.Key == nil && size <= schemas.MaxRequestOpen {
		return nil
	}
	select {
	case l.presenting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.conn.Context().Done():
		return context.Cause(l.conn.Context())
	}
	defer func() { <-l.presenting }()
	switch other := l.presented.Load(); {
	case other == s:
		return nil
	case other != nil:
		return c.mismatch(l, s)
	}
	for {
		again, err := c.introduce(ctx, l, s, deadline)
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	l.presented.Store(s)
	return nil
}

// introduce makes a session known on a link. again: another copy of its keys is in use,
// and the session's takes its place.
func (c *Conn) introduce(ctx context.Context, l *link, s *Session, deadline time.Time) (again bool, err error) {
	m := newMessage()
	defer m.release()
	if err := m.introduce(l.conn, s); err != nil {
		return false, err
	}
	known := c.stamp(m, l.at, false)
	m.request.SetTimeoutMs(uint32(max(time.Until(deadline).Milliseconds(), 1)))
	if _, err := m.exchange(ctx, l, deadline); err != nil {
		return false, err
	}
	c.observe(m, l.at, known)
	if err := m.failure(); err != nil {
		if s.noteReplaced(err) {
			return true, nil
		}
		return false, err
	}
	if s.Copies == nil || s.Key == nil {
		return false, nil
	}
	results, err := m.response.Results()
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrResponse, err)
	}
	return false, s.Copies.Taken(schemas.BindSessionResults(results.Struct()).Instance())
}

// mismatch is what a call does that finds its link bound to another session than
// its own: the session was replaced while the link was made or the call waited.
func (c *Conn) mismatch(l *link, s *Session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Load() != s {
		return ErrSessionReplaced
	}
	if c.link == l {
		c.link.retire()
		c.link = nil
	}
	return errOtherSession
}

// ErrSessionReplaced is returned by calls of a session that was replaced with
// SetSession before they were sent.
var ErrSessionReplaced = errors.New("the session of the call was replaced")

// errOtherSession sends a call to the next link.
var errOtherSession = errors.New("the connection is another session's")

// introduce fills the message with the call that makes the session known.
func (m *message) introduce(conn *quic.Conn, s *Session) error {
	if s.Key == nil {
		return begin(m, &Request{Method: methodWhoami}, schemas.NewWhoamiParams, func(p schemas.WhoamiParams) error {
			auth, err := p.NewAuth()
			if err != nil {
				return err
			}
			auth.SetVersion(schemas.AuthVersion)
			return auth.SetAccessToken(s.Token[:])
		})
	}
	state := conn.ConnectionState().TLS
	exporter, err := state.ExportKeyingMaterial(identity.ExporterLabel, nil, identity.ExporterSize)
	if err != nil {
		return err
	}
	signature, err := identity.Bind([identity.ExporterSize]byte(exporter), s.Token.Hash()).Sign(s.Key)
	if err != nil {
		return err
	}
	name, err := s.instance()
	if err != nil {
		return err
	}
	return begin(m, &Request{Method: methodBindSession}, schemas.NewBindSessionParams, func(p schemas.BindSessionParams) error {
		if err := p.SetSessionToken(s.Token[:]); err != nil {
			return err
		}
		return errors.Join(p.SetSignature(signature), name.fill(p))
	})
}

// named is what a binding says of the copy of the session's keys.
type named struct {
	instance  uint64
	held      []uint64
	signature []byte
}

func (s *Session) instance() (n named, err error) {
	if s.Copies == nil {
		return n, nil
	}
	if n.instance, n.held, err = s.Copies.Instance(); err != nil {
		return n, err
	}
	n.signature, err = identity.Instance(s.Account, s.Device.bytes(), n.instance, n.held).Sign(s.Key)
	return n, err
}

func (n *named) fill(p schemas.BindSessionParams) error {
	if n.instance == 0 {
		return nil
	}
	held, err := p.NewHeld(int32(len(n.held)))
	if err != nil {
		return err
	}
	for i, h := range n.held {
		held.Set(i, h)
	}
	p.SetInstance(n.instance)
	return p.SetInstanceSignature(n.signature)
}

// noteReplaced tells the session's program of a refusal because another copy of its keys
// is in use, and reports whether to ask again.
func (s *Session) noteReplaced(err error) (again bool) {
	if s == nil || s.Copies == nil {
		return false
	}
	number, is := replacedBy(err)
	return is && s.Copies.Replaced(number)
}

// replacedBy returns the instance that a call was refused for, false if it was not.
func replacedBy(err error) (number uint64, is bool) {
	e, is := errors.AsType[*Error](err)
	if !is || e.Code != schemas.Code_instanceReplaced {
		return 0, false
	}
	return e.Value, true
}
