package client

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/internal/pace"
	"quicproquo/client/vault"
	"quicproquo/crypto/mls"
)

// Client is a person's device: an account, its conversations, and what it takes
// to keep them going through any node. What it is told to do is in its vault
// before the call returns, and is done when the cluster can be reached. All methods
// are safe for concurrent use.
//
// mu guards the state in memory, which mirrors the vault: only turn.go changes it,
// and only after the vault has committed the same.
type Client struct {
	settings Settings
	vault    *vault.Vault
	now      func() time.Time
	log      *slog.Logger
	conn     *conn.Conn // nil without endpoints
	copies   *instance

	mu       sync.Mutex
	who      *vault.Profile // nil before Register
	self     groupstate.Member
	identity *mls.Identity
	talks    map[vault.ConversationID]*talk
	waiters  map[int64]*waiter
	unsent   map[int64]error // why messages were given up, by their place in the outbox
	// flagged are the epochs in which an unreadable message was told of, plus one.
	flagged map[vault.ConversationID]uint64
	// behind are the epochs of groups' records that were seen ahead of ours.
	behind map[vault.ConversationID]uint64
	keptUp time.Time // when upkeep was last done
	tidied bool      // it was when all that waited had come
	// stockLow asks for a look at the key packages, nameless for names, manyNameless
	// for so many that nobody waits for them.
	stockLow, nameless, manyNameless atomic.Bool
	standings                        standings
	// stockRoom is how many key packages the cluster has room for, once it has said so.
	stockRoom atomic.Int64
	// scrubDue asks for a scrub of the vault, which is not before scrubAfter; the
	// scrubber alone uses that.
	scrubDue   atomic.Bool
	scrubAfter time.Time
	namesakes  namesakes     // what names look like; nil: to be gathered anew
	naming     chan struct{} // has room for whoever asks for names

	bellMu  sync.Mutex
	bell    chan struct{} // closed and replaced when something has changed
	screens map[*screen]struct{}

	net      netState
	acked    map[conn.ChannelID]uint64 // by the acknowledger alone
	workMu   sync.Mutex
	sending  map[vault.ConversationID]bool
	pursuing map[vault.ConversationID]bool
	rate     *pace.Bucket // what receipts and typing may take of the rate of sending
}

// netState is what runs between Start and Close.
type netState struct {
	mu      sync.Mutex
	started bool
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	// resume ends the present subscription, so that the next one begins after what
	// was seen when it was called.
	resume   context.CancelFunc
	wanted   uint64 // subscriptions asked for
	caughtUp uint64 // subscriptions that have given all that there was
	online   bool
	failure  error // why the client receives no more
}

// Conn returns the connection to the cluster, for calls that need no vault; nil if
// the profile has no endpoints.
func (c *Client) Conn() *conn.Conn { return c.conn }

// Close stops what runs and closes the vault. What was not sent yet is sent after
// the next Open.
func (c *Client) Close() error {
	n := &c.net
	n.mu.Lock()
	stop := n.stop
	n.stop = func() {}
	n.started = true // nothing starts any more
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
	var errs []error
	if c.conn != nil {
		if c.who != nil {
			errs = append(errs, c.saveSeen())
		}
		errs = append(errs, c.conn.Close())
	}
	n.tasks.Wait()
	c.ring()
	return errors.Join(append(errs, c.vault.Close())...)
}

func (c *Client) saveSeen() error {
	seen := c.conn.Seen()
	err := c.vault.Update(func(tx *vault.Tx) error { return tx.SetSeen(seen) })
	if errors.Is(err, vault.ErrClosed) {
		return nil // Close was called before
	}
	return err
}

// Start runs the client's network part until Close: it receives, sends, keeps key
// packages in stock, and brings about what the user wants of groups. Calling it
// again does nothing.
func (c *Client) Start() error {
	if err := c.ready(); err != nil {
		return err
	}
	n := &c.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started {
		return n.failure
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.started, n.stop = true, cancel
	for _, run := range []func(context.Context){c.receive, c.acknowledge, c.send, c.report, c.pursue, c.upkeep, c.scrubber} {
		n.tasks.Go(func() { run(ctx) })
	}
	return nil
}

// ready reports whether the client can use the network.
func (c *Client) ready() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.who == nil || !c.who.Registered:
		return ErrNotRegistered
	case c.conn == nil:
		return ErrNoServer
	case c.conn.Session() == nil:
		return ErrNotLoggedIn
	case c.copies.is() == copyReplaced:
		return ErrCopied
	}
	return nil
}

// ring wakes everybody who waits for a change.
func (c *Client) ring() {
	c.bellMu.Lock()
	defer c.bellMu.Unlock()
	close(c.bell)
	c.bell = make(chan struct{})
}

// changes returns a channel that is closed at the next change.
func (c *Client) changes() <-chan struct{} {
	c.bellMu.Lock()
	defer c.bellMu.Unlock()
	return c.bell
}

// pause waits for a time, a change or the context's end; it reports whether to go on.
func (c *Client) pause(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// await waits until done says so, asking it again after each change.
func (c *Client) await(ctx context.Context, done func() (bool, error)) error {
	for {
		changed := c.changes()
		if ok, err := done(); ok || err != nil {
			return err
		}
		if c.copies.is() == copyReplaced {
			return ErrCopied // nothing will change
		}
		if !c.pause(ctx, changed, time.Second) {
			return ctx.Err()
		}
	}
}
