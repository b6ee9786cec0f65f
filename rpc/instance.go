package rpc

import (
	"errors"
	"slices"

	"quicproquo/cluster"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// takeInstance makes the instance that a binding names the one in use of the session's
// device, and returns what the cluster remembers of it: 0 if the binding names none, or
// if not every node knows instances. What this node has applied decides nothing but that
// there is nothing to do: it may lag, so the log is asked (docs/decisions/0117).
func (c *call) takeInstance(p schemas.BindSessionParams) (kept uint64, err error) {
	next := p.Instance()
	now, err := c.instance()
	if err != nil {
		return 0, err
	}
	switch next {
	case now:
		return now, nil // nothing is in use and named, or a further connection
	case 0:
		return 0, &refusal{code: schemas.Code_instanceReplaced, value: now}
	}
	said, err := c.saidInstance(p)
	if err != nil {
		return 0, err
	}
	if now != 0 && !slices.Contains(said.held, now) {
		// A copy comes back again and again: it should not fill the log.
		if now, err = c.instanceNow(); err != nil {
			return 0, err
		}
		if now != 0 && now != next && !slices.Contains(said.held, now) {
			return 0, &refusal{code: schemas.Code_instanceReplaced, value: now}
		}
	}
	_, err = c.proposeUnchecked(said.fill)
	switch {
	case errors.Is(err, cluster.ErrFeatureLevel):
		return 0, nil
	case errors.Is(err, cluster.ErrUnknownOutcome):
		// The binding is what was asked for, and that was not done. Taking the same
		// instance again is harmless.
		return 0, &refusal{code: schemas.Code_unavailable, cause: err}
	}
	return next, err
}

// saidInstance is what a binding says of its device's instance. It is good until the
// call's memory is used again.
type saidInstance struct {
	instance  uint64
	held      []uint64
	signature []byte
}

// saidInstance reads it, and refuses what the device's key has not signed.
func (c *call) saidInstance(p schemas.BindSessionParams) (said saidInstance, err error) {
	list, err := p.Held()
	if err != nil {
		return said, malformed(err)
	}
	if list.Len() > schemas.MaxInstances {
		return said, &refusal{code: schemas.Code_listTooLong, value: schemas.MaxInstances, detail: "held."}
	}
	said.instance = p.Instance()
	for i := range list.Len() {
		said.held = append(said.held, list.At(i))
	}
	if said.signature, err = p.InstanceSignature(); err != nil {
		return said, malformed(err)
	}
	a, err := c.account(c.caller.account)
	if err != nil {
		return said, err
	}
	statement := identity.Instance(c.caller.account, c.caller.actorDevice(), said.instance, said.held)
	switch {
	case len(said.signature) == 0:
		return said, &refusal{code: schemas.Code_statementRequired, detail: "instanceSignature."}
	case !statement.Verify(a.PrincipalKey(c.caller.session.Device), said.signature):
		return said, &refusal{code: schemas.Code_signatureInvalid, detail: "instanceSignature."}
	}
	return said, nil
}

func (s *saidInstance) fill(to schemas.Entry_command) error {
	p, err := to.NewSetInstance()
	if err != nil {
		return err
	}
	held, err := p.NewHeld(int32(len(s.held)))
	if err != nil {
		return err
	}
	for i, h := range s.held {
		held.Set(i, h)
	}
	p.SetInstance(s.instance)
	return p.SetSignature(s.signature)
}

// instanceNow is instance as everybody sees it who asks from now on.
func (c *call) instanceNow() (uint64, error) {
	c.dropState()
	if err := c.conn.server.node.Linearize(c.context()); err != nil {
		return 0, err
	}
	return c.instance()
}

// instance is the one in use of the session's device, as this node knows.
func (c *call) instance() (uint64, error) {
	view, err := c.state()
	if err != nil {
		return 0, err
	}
	now, err := view.Instance(c.caller.account, c.caller.session.Device)
	if err != nil {
		return 0, storageFault(err)
	}
	return now, nil
}

// checkInstance refuses a caller whose device's keys another copy has begun to use.
// Like the end of a session it counts on every node for everyone who has seen it.
func (c *call) checkInstance() error {
	now, err := c.instance()
	if err != nil {
		return err
	}
	if now != 0 && now != c.caller.instance {
		return &refusal{code: schemas.Code_instanceReplaced, value: now}
	}
	return nil
}
