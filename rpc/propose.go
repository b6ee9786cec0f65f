package rpc

import (
	"crypto/rand"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// state is the view that this call reads, opened when it is first asked for. It
// shows at least what freshen waited for. Views keep deleted rows on the disk, so
// a call that waits gives it up first.
func (c *call) state() (*fsm.View, error) {
	if c.view != nil {
		return c.view, nil
	}
	view, err := c.conn.server.node.View()
	if err != nil {
		return nil, storageFault(err)
	}
	c.view, c.index = view, max(c.index, view.Index())
	return view, nil
}

// now is the time at which the log will judge what this call proposes, as well as this
// node knows it: handshakes begin and end by it on every node, whatever its own clock.
func (c *call) now() (time.Time, error) {
	view, err := c.state()
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(int64(view.Now())), nil
}

// dropState closes the view; the next state opens a fresh one.
func (c *call) dropState() {
	if c.view == nil {
		return
	}
	if err := c.view.Close(); err != nil {
		c.conn.log.Error("close a view", "error", err)
	}
	c.view = nil
}

// propose writes a command through the log on behalf of the caller. What the
// store's rules refuse is a *refusal.
func (c *call) propose(fill func(schemas.Entry_command) error) (fsm.Result, error) {
	return c.proposeAs(c.actor(), fill)
}

// actor is the caller as log entries name it.
func (c *call) actor() schemas.Caller {
	return schemas.Caller{
		Kind: schemas.Actor_Kind_account, Account: c.caller.account[:], Device: c.caller.actorDevice(),
	}
}

// proposeAsNode is propose for what the node has found out itself.
func (c *call) proposeAsNode(fill func(schemas.Entry_command) error) (fsm.Result, error) {
	return c.proposeAs(schemas.Caller{Kind: schemas.Actor_Kind_node}, fill)
}

// proposeOwn is proposeAsNode for what the call needs besides its own write: each
// time under an id of its own, so that a client's id names one write only.
func (c *call) proposeOwn(fill func(schemas.Entry_command) error) (fsm.Result, error) {
	entry, err := schemas.BuildEntry(newRequestID(), schemas.Caller{Kind: schemas.Actor_Kind_node}, fill)
	if err != nil {
		return fsm.Result{}, err
	}
	if err := c.precheck(entry); err != nil {
		return fsm.Result{}, err
	}
	return c.proposeEntry(entry)
}

// proposeUnchecked is propose under an id of its own, and without a look at what this
// node has applied: what the log says counts.
func (c *call) proposeUnchecked(fill func(schemas.Entry_command) error) (fsm.Result, error) {
	entry, err := schemas.BuildEntry(newRequestID(), c.actor(), fill)
	if err != nil {
		return fsm.Result{}, err
	}
	return c.proposeEntry(entry)
}

func (c *call) proposeAs(by schemas.Caller, fill func(schemas.Entry_command) error) (fsm.Result, error) {
	id, err := c.request.RequestId()
	if err != nil {
		return fsm.Result{}, malformed(err)
	}
	first := c.request.First()
	if len(id) == 0 {
		id, first = newRequestID(), true
	}
	entry, err := schemas.BuildEntry(id, by, fill)
	if err != nil {
		return fsm.Result{}, err
	}
	if !first {
		return c.proposeAgain(id, by, entry)
	}
	// Only for an id that nobody has proposed: the outcome of one that was may differ
	// from what the rules say now.
	if err := c.precheck(entry); err != nil {
		return fsm.Result{}, err
	}
	return c.proposeEntry(entry)
}

// proposeAgain is for an id that somebody may have proposed before. The outcome that it
// has, if this node knows it, is the answer. What is large and would be refused goes to
// the log as a refusal: an earlier copy may be on its way there, and the first of the two
// decides.
func (c *call) proposeAgain(id []byte, by schemas.Caller, entry []byte) (fsm.Result, error) {
	view, err := c.state()
	if err != nil {
		return fsm.Result{}, err
	}
	outcome, known, err := view.Outcome(entry)
	switch {
	case err != nil:
		return fsm.Result{}, storageFault(err)
	case known && !c.plantedForget():
		return outcome, refusalIn(outcome)
	}
	if instead, may := view.RefuseInstead(entry, view.Check(entry)); may {
		if entry, err = schemas.BuildEntry(id, by, fillRefusal(instead)); err != nil {
			return fsm.Result{}, err
		}
	}
	return c.proposeEntry(entry)
}

func fillRefusal(instead fsm.Refusal) func(schemas.Entry_command) error {
	return func(to schemas.Entry_command) error {
		r, err := to.NewRefuse()
		if err != nil {
			return err
		}
		r.SetFingerprint(instead.Fingerprint)
		r.SetCode(instead.Code)
		r.SetValue(instead.Value)
		return nil
	}
}

func (c *call) proposeEntry(entry []byte) (fsm.Result, error) {
	c.wrote = true
	c.dropState()
	if result, planted := c.plantedAck(entry); planted {
		return result, nil
	}
	index, result, err := c.conn.server.node.Propose(c.context(), entry)
	if err != nil {
		return fsm.Result{}, err
	}
	c.index = max(c.index, index)
	return result, refusalIn(result)
}

// precheck refuses early what the log would refuse.
func (c *call) precheck(entry []byte) error {
	view, err := c.state()
	if err != nil {
		return err
	}
	return refusalIn(view.Check(entry))
}

func newRequestID() []byte {
	id := make([]byte, schemas.RequestIDSize)
	rand.Read(id)
	return id
}

// actorDevice is the device field of an actor.
func (c *caller) actorDevice() []byte {
	if c.device == (fsm.DeviceID{}) {
		return nil
	}
	return c.device[:]
}

// relay makes a command's results struct the call's own. The two must be the same
// struct of the schema. A struct without fields is nothing once another node has sent
// it: then the results are what a null pointer reads as.
func (c *call) relay(result fsm.Result) error {
	if len(result.Data) == 0 {
		return nil
	}
	msg, err := schemas.Unmarshal(result.Data)
	if err != nil {
		return err
	}
	root, err := msg.Root()
	if err != nil {
		return err
	}
	return c.response.SetResults(root)
}

// waitOf is the pause that a refusal by rate carries.
func waitOf(code schemas.Code, value uint64) time.Duration {
	if code != schemas.Code_rateLimited {
		return 0
	}
	return time.Duration(min(value, uint64(time.Hour.Milliseconds()))) * time.Millisecond
}

// authReader finds the auth in a method's parameters.
type authReader func(capnp.Struct) (schemas.Auth, error)
