package rpc

import "quicproquo/schemas"

// session is who calls: an account's device that has logged in.
type session struct{}

// authenticate is the one place where a caller becomes somebody: every call of
// the authenticated table passes here before its handler, no other call does.
//
// That a caller brings a session at all is checked first, so that strangers wait
// for nothing. Whether it is valid must be looked up after freshen: a session
// that was opened or revoked on another node counts from its index on.
func (c *call) authenticate() error {
	if c.conn.session.Load() == nil {
		return refuse(schemas.Code_tokenMissing)
	}
	return c.freshen()
}
