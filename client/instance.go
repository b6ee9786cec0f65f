package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"quicproquo/client/conn"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// instance is which copy of its device's keys a client's vault is. mu guards what
// follows it and is taken before the vault, never within one of its transactions.
type instance struct {
	c  *Client
	mu sync.Mutex
	// number is what this process is called, 0 before the cluster is first asked; held
	// is what the vault was called before.
	number uint64
	held   []uint64
	// before: the cluster has once taken an instance of this vault. takeOver: it is to
	// become the one in use, whichever is. asked counts how often that was tried.
	before, takeOver bool
	asked            int
	state            atomic.Uint32 // a copyState; transactions of the vault read it
}

// copyState is how it stands with the copy of the keys that a client has.
type copyState = uint32

const (
	copyUnknown  copyState = iota // the cluster was not asked yet
	copyInUse                     // it is the one, or nobody can tell
	copyReplaced                  // another one is
)

// maxTakeOver bounds how often a take-over names another instance as held.
const maxTakeOver = 4

// Instance draws what the vault is called in this process, once.
func (i *instance) Instance() (number uint64, held []uint64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.number == 0 {
		if err := i.c.vault.Update(i.draw); err != nil {
			return 0, nil, fmt.Errorf("keep which copy of the profile this is: %w", err)
		}
	}
	return i.number, i.held, nil
}

// draw keeps a new number beside those of starts whose outcome is not known. When there
// is no room for one more the last is used again: whoever holds the vault is never shut
// out by that.
func (i *instance) draw(tx *vault.Tx) error {
	list, before, err := tx.Instances()
	if err != nil {
		return err
	}
	takeOver, err := tx.TakeOver()
	if err != nil {
		return err
	}
	number := uint64(0)
	if len(list) < schemas.MaxInstances-1 { // one is left for a take-over
		number = newInstance()
		err = tx.AddInstance(number)
	} else {
		number, list = list[len(list)-1], list[:len(list)-1]
	}
	i.number, i.held, i.before, i.takeOver, i.asked = number, list, before, takeOver, 0
	return err
}

// newInstance is a number from 1 to 2^63 - 1.
func newInstance() uint64 {
	for {
		var raw [8]byte
		rand.Read(raw[:])
		if n := binary.LittleEndian.Uint64(raw[:]) >> 1; n != 0 {
			return n
		}
	}
}

// errForgetful is what a cluster says that has remembered the vault before.
var errForgetful = &Error{
	Code:    schemas.Code_featureLevel,
	Message: "The node does not say which copy of this profile is in use, as it did before.",
}

// Taken notes that the cluster knows this copy. A cluster that knows none is believed
// only while it has never known one.
func (i *instance) Taken(number uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case number == 0 && i.before:
		return errForgetful
	case number != 0 && number != i.number:
		return fmt.Errorf("%w: it remembers another instance than the one that was given", conn.ErrResponse)
	case i.is() == copyInUse && i.before == (number != 0):
		return nil
	case number != 0:
		if err := i.c.vault.Update(func(tx *vault.Tx) error { return tx.TakeInstance(number) }); err != nil {
			return fmt.Errorf("keep which copy of the profile this is: %w", err)
		}
		i.before, i.takeOver = true, false
	}
	i.state.CompareAndSwap(copyUnknown, copyInUse)
	i.c.ring() // what waits to be encrypted goes on
	return nil
}

// Replaced stops the client, unless it is to take over: then the instance that is in use
// counts as held.
func (i *instance) Replaced(number uint64) (again bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.takeOver && number != 0 && i.asked < maxTakeOver {
		i.asked++
		if i.asked > 1 {
			i.held = i.held[:len(i.held)-1] // the one that was in use when it asked last
		}
		i.held = append(slices.Clone(i.held), number)
		return true
	}
	if i.state.Swap(copyReplaced) != copyReplaced {
		i.c.log.Warn("another copy of this profile is in use: this one stops")
	}
	i.c.stopWork(ErrCopied)
	return false
}

// reset forgets what this process was called, so that the cluster is asked again.
func (i *instance) reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.number, i.held = 0, nil
	i.state.Store(copyUnknown)
}

// is returns how it stands.
func (i *instance) is() copyState { return i.state.Load() }

// mayEncrypt reports whether keys may be used for something that leaves this device.
// Without a cluster nothing leaves it.
func (c *Client) mayEncrypt() bool { return c.conn == nil || c.copies.is() == copyInUse }

// beginKeys returns when keys may be used: the cluster knows that this copy of them is
// the one in use, or can't tell.
func (c *Client) beginKeys(ctx context.Context) error {
	if c.mayEncrypt() {
		return nil
	}
	if c.copies.is() == copyReplaced {
		return ErrCopied
	}
	if _, err := c.conn.Whoami(ctx); err != nil {
		return err
	}
	if !c.mayEncrypt() { // told meanwhile, or the session is bound without it
		return ErrCopied
	}
	return nil
}

// stopWork ends what runs, for good until the client is started again. Unlike halt it
// waits for nothing, so what runs may call it.
func (c *Client) stopWork(reason error) {
	n := &c.net
	n.mu.Lock()
	n.failure = reason
	stop := n.stop
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	c.ring()
}

// untilReplaced returns a context that ends with ctx, or when this copy of the profile
// is told that it is not the one in use.
func (c *Client) untilReplaced(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for changed := c.changes(); c.copies.is() != copyReplaced; changed = c.changes() {
			select {
			case <-inner.Done():
				return
			case <-changed:
			}
		}
	}()
	return inner, cancel
}

// TakeOver makes this copy of the profile the one in use: the next call says so, and the
// other copy is told. Before anything is said in a conversation it comes back with new
// keys, since the other copy may have used those that are here. Messages that wait are
// encrypted again then.
func (c *Client) TakeOver() error {
	if !c.Account().Registered {
		return ErrNotRegistered
	}
	c.halt()
	c.copies.reset()
	if c.conn != nil {
		if s := c.conn.Session(); s != nil {
			again := *s
			c.conn.SetSession(&again) // whose connections are bound again
		}
	}
	return c.turn(func(t *turn) error {
		if err := t.SetTakeOver(true); err != nil {
			return err
		}
		if err := t.ForgetSealed(); err != nil {
			return err
		}
		pending, err := t.PendingConversations()
		if err != nil {
			return err
		}
		for _, id := range pending {
			if err := t.SetPending(id, nil); err != nil {
				return err
			}
		}
		return t.renewAll("this copy of the profile has taken over from another")
	})
}
