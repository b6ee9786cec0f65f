package client

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/schemas"
)

// deviceInUse is what a cluster remembers of a device: the instance in use.
type deviceInUse struct{ instance uint64 }

// takes is the rule of the store (fsm/instance.go).
func (d *deviceInUse) takes(number uint64, held []uint64) bool {
	if len(held) > schemas.MaxInstances || d.instance != 0 && d.instance != number && !slices.Contains(held, d.instance) {
		return false
	}
	d.instance = number
	return true
}

// binds is what a connection does with a copy (session.go).
func (d *deviceInUse) binds(c conn.Copies) error {
	for {
		number, held, err := c.Instance()
		if err != nil {
			return err
		}
		if d.takes(number, held) {
			return c.Taken(number)
		}
		if !c.Replaced(d.instance) {
			return ErrCopied
		}
	}
}

// copyOf is a profile's directory that can be opened, killed and copied.
type copyOf struct {
	t   *testing.T
	dir string
}

func newCopyOf(t *testing.T) copyOf {
	t.Helper()
	c := copyOf{t, filepath.Join(t.TempDir(), "profile")}
	v, err := vault.Create(c.dir, vault.Raw(make([]byte, 32)))
	if err == nil {
		err = v.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// again is the profile's directory copied.
func (c copyOf) again() copyOf {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(c.dir)); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	return copyOf{c.t, dir}
}

// starts runs f with the profile's client, which ends without a farewell.
func (c copyOf) starts(f func(*Client) error) error {
	c.t.Helper()
	one, err := Open(Profile{Dir: c.dir, Key: vault.Raw(make([]byte, 32))})
	if err != nil {
		c.t.Fatal(err)
	}
	return errors.Join(f(one), one.Close())
}

// Places at which a start can end: the number is kept, the cluster has taken it, the
// vault knows that.
var startSteps = []func(*deviceInUse, conn.Copies) error{
	func(_ *deviceInUse, c conn.Copies) error { _, _, err := c.Instance(); return err },
	func(d *deviceInUse, c conn.Copies) error {
		number, held, err := c.Instance()
		if err == nil && !d.takes(number, held) {
			err = ErrCopied
		}
		return err
	},
	(*deviceInUse).binds,
}

// The one copy of a profile is never taken for another, wherever its starts ended; a copy
// of before is, as soon as the cluster has taken another number.
func TestInstanceOverCrashes(t *testing.T) {
	t.Parallel()
	for n := range 9 {
		order := []int{n % 3, n / 3}
		c, d := newCopyOf(t), &deviceInUse{}
		must := func(what string, err error) {
			if err != nil {
				t.Fatalf("starts that end at %v, %s: %v", order, what, err)
			}
		}
		must("the first", c.starts(func(c *Client) error { return d.binds(c.copies) }))
		old, before := c.again(), d.instance
		for _, step := range order {
			must("one of them", c.starts(func(c *Client) error { return startSteps[step](d, c.copies) }))
		}
		stale := d.instance != before
		err := old.again().starts(func(c *Client) error { return (&deviceInUse{d.instance}).binds(c.copies) })
		if stale != errors.Is(err, ErrCopied) {
			t.Errorf("starts that end at %v, then the copy of before: %v, want ErrCopied: %v", order, err, stale)
		}
		must("the last", c.starts(func(c *Client) error { return d.binds(c.copies) }))
	}
}

// However often a start ends without a word from the cluster, what is kept has an end,
// and nobody is shut out.
func TestInstanceWithoutAnswers(t *testing.T) {
	t.Parallel()
	c, d := newCopyOf(t), &deviceInUse{}
	for range schemas.MaxInstances + 4 {
		err := c.starts(func(c *Client) error {
			number, held, err := c.copies.Instance()
			if len(held) >= schemas.MaxInstances || number == 0 {
				t.Fatalf("%d numbers are held besides %d", len(held), number)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Any of them may have been taken: the first is the oldest.
	err := c.starts(func(c *Client) error {
		_, held, err := c.copies.Instance()
		d.instance = held[0]
		return errors.Join(err, d.binds(c.copies))
	})
	if err != nil {
		t.Errorf("the cluster has taken the first of them, and the next start: %v", err)
	}
}

// Two copies that both hold what the cluster remembers: the second to begin goes on, the
// first is told, says so, encrypts nothing more, and is not told for good: it may take
// over, once it is asked to, and then the second is told.
func TestCopyIsToldAndTakesOver(t *testing.T) {
	t.Parallel()
	d := &deviceInUse{}
	alice := newOffline(t, "alice", Settings{})
	if err := d.binds(alice.copies); err != nil {
		t.Fatal(err)
	}
	if !alice.mayEncrypt() {
		t.Error("alice's only copy may not encrypt")
	}
	// The other copy has gone on.
	d.instance = 77
	work, stopped := context.WithCancel(t.Context())
	defer stopped()
	alice.net.mu.Lock()
	alice.net.stop = stopped
	alice.net.mu.Unlock()
	if alice.copies.Replaced(d.instance) {
		t.Fatal("a copy asks again that was not told to take over")
	}
	alice.net.mu.Lock()
	failure := alice.net.failure
	alice.net.stop = nil
	alice.net.mu.Unlock()
	if work.Err() == nil || !errors.Is(failure, ErrCopied) {
		t.Errorf("the work of a copy that was told goes on (%v), want that it stops with ErrCopied", failure)
	}
	if alice.copies.is() != copyReplaced || alice.beginKeys(t.Context()) == nil && alice.conn != nil {
		t.Error("a copy that was told goes on")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := alice.await(ctx, func() (bool, error) { return false, nil }); !errors.Is(err, ErrCopied) {
		t.Errorf("who waits on a copy that was told: %v, want ErrCopied", err)
	}
	if hopeless(schemas.Code_instanceReplaced) {
		t.Error("a message that the cluster did not take from a copy is given up")
	}
	alice.who.Registered = true
	if err := alice.TakeOver(); err != nil {
		t.Fatal(err)
	}
	if alice.copies.is() != copyUnknown {
		t.Error("a copy that is to take over has not begun again")
	}
	d.instance = 78 // and the other copy once more, meanwhile
	if err := d.binds(alice.copies); err != nil {
		t.Fatalf("take over: %v", err)
	}
	if d.instance == 78 || alice.copies.is() != copyInUse {
		t.Error("the copy that took over is not the one in use")
	}
	d.instance = 79
	if err := d.binds(alice.copies); !errors.Is(err, ErrCopied) {
		t.Errorf("a take-over is good for one time: %v, want ErrCopied", err)
	}
}

// A cluster that remembers nothing is believed as long as it has never remembered this
// vault, not after.
func TestForgetfulCluster(t *testing.T) {
	t.Parallel()
	c := newCopyOf(t)
	err := c.starts(func(c *Client) error {
		_, _, err := c.copies.Instance()
		return errors.Join(err, c.copies.Taken(0))
	})
	if err != nil {
		t.Errorf("a cluster of before instances: %v", err)
	}
	d := &deviceInUse{}
	if err := c.starts(func(c *Client) error { return d.binds(c.copies) }); err != nil {
		t.Fatal(err)
	}
	err = c.starts(func(c *Client) error {
		_, _, err := c.copies.Instance()
		return errors.Join(err, c.copies.Taken(0))
	})
	if !conn.Is(err, schemas.Code_featureLevel) {
		t.Errorf("a cluster that has remembered the vault, and says that it does not know how: %v, want E042", err)
	}
	err = c.starts(func(c *Client) error {
		_, _, err := c.copies.Instance()
		return errors.Join(err, c.copies.Taken(5))
	})
	if !errors.Is(err, conn.ErrResponse) {
		t.Errorf("a cluster that remembers what nobody said: %v, want that it can't be read", err)
	}
}

// A copy that takes over uses no key again that the other copy may have used: what was
// encrypted is encrypted again, commits are dropped, and every conversation comes back
// with new keys.
func TestTakeOverUsesNoKeyAgain(t *testing.T) {
	t.Parallel()
	alice, bob := newOffline(t, "alice", Settings{}), newActor(t, "bob")
	bob.founds(groupData("friends", bob))
	alice.knows(bob)
	alice.invited(bob)
	if _, err := alice.find("friends").Send(t.Context(), content.Text{Text: "hello"}); err != nil {
		t.Fatal(err)
	}
	sealed := func() (n, intents int) {
		err := alice.look(func(t *turn) error {
			list, err := t.Outgoing()
			for _, o := range list {
				if o.Payload != nil {
					n++
				}
			}
			all, failed := t.Intents()
			for _, i := range all {
				if i.Kind == wishRejoin {
					intents++
				}
			}
			return errors.Join(err, failed)
		})
		if err != nil {
			t.Fatal(err)
		}
		return n, intents
	}
	if n, intents := sealed(); n != 1 || intents != 0 {
		t.Fatalf("%d messages are encrypted and %d ways back wanted, want 1 and 0", n, intents)
	}
	alice.who.Registered = true
	if err := alice.TakeOver(); err != nil {
		t.Fatal(err)
	}
	if n, intents := sealed(); n != 0 || intents != 1 {
		t.Errorf("after the take-over %d messages are encrypted and %d ways back wanted, want 0 and 1", n, intents)
	}
	info, err := alice.find("friends").Info()
	if err != nil || info.State != "recovering" {
		t.Errorf("after the take-over the conversation is %s (%v), want recovering", info.State, err)
	}
}

// Whoever imports a backup wants to go on with it: it takes over, once.
func TestImportTakesOver(t *testing.T) {
	t.Parallel()
	alice, d := newOffline(t, "alice", Settings{}), &deviceInUse{}
	if err := d.binds(alice.copies); err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if err := alice.vault.Export(&backup, vault.Raw(make([]byte, 32)), nil); err != nil {
		t.Fatal(err)
	}
	d.instance = 99 // the original has gone on
	c := copyOf{t, filepath.Join(t.TempDir(), "restored")}
	if err := vault.Import(c.dir, &backup, vault.Raw(make([]byte, 32)), nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.starts(func(c *Client) error { return d.binds(c.copies) }); err != nil {
			t.Errorf("the restored profile: %v", err)
		}
	}
	d.instance = 100
	if err := c.starts(func(c *Client) error { return d.binds(c.copies) }); !errors.Is(err, ErrCopied) {
		t.Errorf("the restored profile, replaced since: %v, want ErrCopied", err)
	}
}
