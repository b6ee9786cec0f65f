package bench

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"quicproquo/client/conn"
)

// enrollTime bounds what is done before the measurement.
const enrollTime = 2 * time.Minute

// password is that of the accounts that are made for a measurement: who knows it can call
// as them, which is of no use to anybody.
const password = "a measurement's password"

// world is what a measurement runs in.
type world struct {
	options  *Options
	nodes    *nodes
	accounts []*account
	seats    []*conn.Conn // connections, each with its account's session
	drains   drains
	closers  []func() error
	turn     atomic.Int64 // of the order in which the next connection tries the nodes
}

// account is one that was made for the measurement.
type account struct {
	name    string
	key     ed25519.PrivateKey
	id      conn.AccountKey
	session *conn.Session
	devices []conn.DeviceID
}

func (w *world) close() error {
	w.drains.stop()
	var errs []error
	for _, c := range w.seats {
		errs = append(errs, c.Close())
	}
	for _, f := range slices.Backward(w.closers) {
		errs = append(errs, f())
	}
	return errors.Join(append(errs, w.nodes.close())...)
}

// connect opens a connection. Each tries the nodes in another order, so that they spread.
func (w *world) connect() (*conn.Conn, error) {
	options, err := w.reach()
	if err != nil {
		return nil, err
	}
	k := int(w.turn.Add(1)-1) % len(options.Endpoints)
	options.Endpoints = slices.Concat(options.Endpoints[k:], options.Endpoints[:k])
	options.InOrder = true
	return conn.Dial(options)
}

func (w *world) reach() (conn.Options, error) {
	if w.options.Dial != nil {
		return w.options.Dial()
	}
	return w.nodes.dial()
}

// enroll makes the accounts, and the connections that call as them.
func (w *world) enroll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, enrollTime)
	defer cancel()
	for range min(w.options.Accounts, w.options.Connections) {
		if _, err := w.newAccount(ctx); err != nil {
			return err
		}
	}
	return w.seat(ctx)
}

// newAccount registers an account and logs it in.
func (w *world) newAccount(ctx context.Context) (_ *account, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	a := &account{key: key, id: conn.AccountKey(key.Public().(ed25519.PublicKey))}
	a.name = "bench-" + hex.EncodeToString(a.id[:6])
	caller, err := w.connect()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, caller.Close()) }()
	if _, err := caller.Register(ctx, a.name, []byte(password), key); err != nil {
		return nil, fmt.Errorf("register %s: %w", a.name, err)
	}
	if a.session, err = a.login(ctx, caller); err != nil {
		return nil, err
	}
	w.accounts = append(w.accounts, a)
	return a, nil
}

func (a *account) login(ctx context.Context, caller *conn.Conn) (*conn.Session, error) {
	s, _, err := caller.Login(ctx, conn.Credentials{Username: a.name, Password: []byte(password), Account: a.id, Key: a.key})
	if err != nil {
		return nil, fmt.Errorf("log %s in: %w", a.name, err)
	}
	return s, nil
}

// seat opens the connections and waits until each has made a call.
func (w *world) seat(ctx context.Context) error {
	for i := range w.options.Connections {
		caller, err := w.connect()
		if err != nil {
			return err
		}
		caller.SetSession(w.caller(i).session)
		w.seats = append(w.seats, caller)
	}
	return together(len(w.seats), func(i int) error {
		_, err := w.seats[i].Whoami(ctx)
		return err
	})
}

// caller is the account of a worker's connection, conn that connection.
func (w *world) caller(worker int) *account {
	return w.accounts[worker%w.options.Connections%len(w.accounts)]
}

func (w *world) conn(worker int) *conn.Conn { return w.seats[worker%len(w.seats)] }

// peer is to whom a worker writes: the next account.
func (w *world) peer(worker int) *account {
	return w.accounts[(worker%w.options.Connections+1)%len(w.accounts)]
}

// acquaint has every account take the senders for contacts: strangers have a small share
// of a queue.
func (w *world) acquaint(ctx context.Context, senders []*account) error {
	return together(len(w.accounts), func(i int) error {
		a := w.accounts[i]
		caller, err := w.as(a)
		if err != nil {
			return err
		}
		from := make([]conn.AccountKey, 0, len(senders))
		for _, s := range senders {
			if s != a {
				from = append(from, s.id)
			}
		}
		if len(from) > 0 {
			_, err = caller.SetContacts(ctx, conn.Contacts, from...)
		}
		return errors.Join(err, caller.Close())
	})
}

// as opens a connection of an account's.
func (w *world) as(a *account) (*conn.Conn, error) {
	caller, err := w.connect()
	if err != nil {
		return nil, err
	}
	caller.SetSession(a.session)
	return caller, nil
}

// together does something for each of n at once.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}
