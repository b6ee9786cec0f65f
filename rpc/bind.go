package rpc

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/quic-go/quic-go"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// bindSession makes the connection the session's: from here on calls without an
// auth run as it. It takes the token and a signature, by the key of the session's
// device or else of the account, that only this connection's client can have made
// (docs/decisions/0060).
func bindSession(c *call, p schemas.BindSessionParams, results schemas.BindSessionResults) error {
	raw, err := p.SessionToken()
	if err != nil {
		return malformed(err)
	}
	signature, err := p.Signature()
	if err != nil {
		return malformed(err)
	}
	switch {
	case len(raw) == 0:
		return refuse(schemas.Code_tokenMissing)
	case len(raw) != schemas.TokenSize:
		return refuse(schemas.Code_tokenInvalid)
	}
	token := tokenHash(sha256.Sum256(raw))
	if err := c.identify(token, nil); err != nil {
		return err
	}
	a, err := c.account(c.caller.account)
	if err != nil {
		return err
	}
	exporter, err := c.conn.export()
	if err != nil {
		return err
	}
	if !identity.Bind(exporter, token).Verify(a.PrincipalKey(c.caller.session.Device), signature) {
		return refuse(schemas.Code_signatureInvalid)
	}
	expires := c.caller.session.ExpiresMs
	if now := c.conn.session.Load(); now != nil && subtle.ConstantTimeCompare(now.token[:], token[:]) != 1 {
		return refuse(schemas.Code_bindingConflict)
	}
	kept, err := c.takeInstance(p)
	if err != nil {
		return err
	}
	if !c.conn.bind(session{token, p.Instance()}) {
		return refuse(schemas.Code_bindingConflict)
	}
	c.admitted()
	results.SetExpiresAtMs(expires)
	results.SetInstance(kept)
	return nil
}

// bind makes the connection a session's, once. It reports whether it is. The same session
// may come with another instance.
func (c *conn) bind(s session) bool {
	if c.session.CompareAndSwap(nil, &s) {
		return true
	}
	now := c.session.Load()
	return subtle.ConstantTimeCompare(now.token[:], s.token[:]) == 1 && c.session.CompareAndSwap(now, &s)
}

func (c *conn) export() ([identity.ExporterSize]byte, error) {
	if c.exporter == nil {
		return [identity.ExporterSize]byte{}, errors.New("there is no connection to bind a session to")
	}
	return c.exporter()
}

// export is the connection's TLS exporter (RFC 8446 §7.5) for bindings.
func export(qc *quic.Conn) ([identity.ExporterSize]byte, error) {
	state := qc.ConnectionState().TLS
	value, err := state.ExportKeyingMaterial(identity.ExporterLabel, nil, identity.ExporterSize)
	if err != nil {
		return [identity.ExporterSize]byte{}, fmt.Errorf("export keying material: %w", err)
	}
	return [identity.ExporterSize]byte(value), nil
}
