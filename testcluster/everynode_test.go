package testcluster_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/schemas"
	"quicproquo/testcluster"
	"quicproquo/testcluster/keypool"
)

// writer is an account that tries every method that writes, through one node.
type writer struct {
	conn     *client.Conn
	me, peer person
	device   client.DeviceID
	channel  client.ChannelID
	group    []byte
}

// writes are the methods that write, each with a call that must go well. Their order
// matters: the later ones need what the earlier ones made.
var writes = []struct {
	method string
	call   func(context.Context, *writer) error
}{
	{"opaqueRegisterFinish", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Register(ctx, w.me.name, []byte("right"), w.me.key)
		return err
	}},
	{"opaqueLoginFinish", func(ctx context.Context, w *writer) error {
		_, _, err := w.conn.Login(ctx, w.me.credentials())
		return err
	}},
	{"uploadHybridKey", func(ctx context.Context, w *writer) error {
		key := make([]byte, schemas.HybridKeySize)
		_, _ = rand.Read(key)
		return w.conn.UploadHybridKey(ctx, key, w.me.key)
	}},
	{"uploadKeyPackages", func(ctx context.Context, w *writer) error {
		packages, err := keypool.Packages(w.me.name, w.me.key, 1)
		if err != nil {
			return err
		}
		_, _, err = w.conn.UploadKeyPackages(ctx, packages, nil)
		return err
	}},
	{"fetchKeyPackages", func(ctx context.Context, w *writer) error {
		_, err := w.conn.FetchKeyPackages(ctx, w.peer.account(), client.DeviceID{}, nil)
		return err
	}},
	{"createChannel", func(ctx context.Context, w *writer) (err error) {
		w.channel, _, err = w.conn.CreateChannel(ctx, w.peer.account())
		return err
	}},
	{"enqueue", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Enqueue(ctx, client.Message{To: w.me.account(), Payload: []byte("to myself")})
		return err
	}},
	{"batchEnqueue", func(ctx context.Context, w *writer) error {
		outcomes, err := w.conn.BatchEnqueue(ctx, client.Batch{
			Channel: w.channel, Recipients: []client.Recipient{{Account: w.peer.account()}}, Payload: []byte("to a friend"),
		})
		if err == nil {
			err = outcomes[0].Err
		}
		return err
	}},
	{"publishCommit", func(ctx context.Context, w *writer) error {
		_, _, err := w.conn.PublishCommit(ctx, &client.Commit{GroupID: w.group, NextVerifier: sha256.Sum256([]byte("next"))})
		return err
	}},
	{"ack", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Ack(ctx, client.Queue{}, 1)
		return err
	}},
	{"fetch", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Drain(ctx, client.Queue{}, 1, nil)
		return err
	}},
	{"publishEndpoint", func(ctx context.Context, w *writer) error {
		return w.conn.PublishEndpoint(ctx, []byte("here"), time.Hour)
	}},
	{"registerDevice", func(ctx context.Context, w *writer) error {
		_, err := w.conn.RegisterDevice(ctx, client.Device{ID: w.device, Name: "phone"}, w.me.key)
		return err
	}},
	{"revokeDevice", func(ctx context.Context, w *writer) error {
		return w.conn.RevokeDevice(ctx, w.device, w.me.key)
	}},
	{"changePasswordFinish", func(ctx context.Context, w *writer) error {
		_, err := w.conn.ChangePassword(ctx, w.me.name, []byte("right"), []byte("right"), w.me.key)
		return err
	}},
	{"logout", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Logout(ctx, false)
		return err
	}},
	{"opaqueLoginFinish again", func(ctx context.Context, w *writer) error {
		_, _, err := w.conn.Login(ctx, w.me.credentials())
		return err
	}},
	{"deleteAccount", func(ctx context.Context, w *writer) error {
		return w.conn.DeleteAccount(ctx, w.me.key)
	}},
}

// Every method that writes goes well on the leader and on a follower: what the log
// answers finds its way back whatever it holds, results without fields too.
func TestEveryWriteOnEveryNode(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	peer := newPerson(t, "peer")
	through := connect(t, c)
	register(t, through, peer)
	if _, _, err := through.Login(within(t, time.Minute), peer.credentials()); err != nil {
		t.Fatal(err)
	}
	packages, err := keypool.Packages(peer.name, peer.key, 4)
	fatal(t, err)
	_, _, err = through.UploadKeyPackages(within(t, time.Minute), packages, nil)
	fatal(t, err)
	leader := c.LeaderT(t)
	for i, n := range c.Nodes() {
		role := "a follower"
		if n == leader {
			role = "the leader"
		}
		w := &writer{conn: connect(t, c, n), me: newPerson(t, fmt.Sprintf("writer%d", i)), peer: peer, device: client.DeviceID{1}}
		w.group = make([]byte, 32)
		_, _ = rand.Read(w.group)
		for _, step := range writes {
			if err := step.call(within(t, time.Minute), w); err != nil {
				t.Errorf("%s, %s: %s: %v", n.ID(), role, step.method, err)
			}
		}
	}
}
