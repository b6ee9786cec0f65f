package testcluster_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/schemas"
	"quicproquo/testcluster"
	"quicproquo/testcluster/keypool"
)

// writer is an account that tries every method that writes, through one node.
type writer struct {
	conn     *conn.Conn
	me, peer person
	device   conn.DeviceID
	channel  conn.ChannelID
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
	{"setContacts", func(ctx context.Context, w *writer) error {
		changed, err := w.conn.SetContacts(ctx, conn.Contacts, w.peer.account())
		if err == nil && changed != 1 {
			err = fmt.Errorf("%d accounts have changed, want 1", changed)
		}
		return err
	}},
	{"createInvite", func(ctx context.Context, w *writer) error {
		invite, expires, err := w.conn.CreateInvite(ctx, 1, time.Hour)
		if err == nil && time.Until(expires) < 50*time.Minute {
			err = fmt.Errorf("the invite ends %v, want in an hour", expires)
		}
		if err != nil {
			return err
		}
		return w.conn.EndInvite(ctx, invite)
	}},
	{"uploadKeyPackage", func(ctx context.Context, w *writer) error {
		packages, err := keypool.Packages(w.me.name, w.me.key, 1)
		if err != nil {
			return err
		}
		key := w.me.account()
		return conn.Call(ctx, w.conn, conn.Request{Method: 0, Write: true}, schemas.NewUploadKeyPackageParams,
			func(p schemas.UploadKeyPackageParams) error {
				return errors.Join(p.SetIdentityKey(key[:]), p.SetPackage(packages[0]))
			},
			func(r schemas.UploadKeyPackageResults) error {
				if r.Remaining() != 1 {
					return fmt.Errorf("%d key packages wait, want 1", r.Remaining())
				}
				return nil
			})
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
		_, err := w.conn.FetchKeyPackages(ctx, w.peer.account(), conn.DeviceID{}, nil)
		return err
	}},
	{"fetchKeyPackage", func(ctx context.Context, w *writer) error {
		_, err := w.conn.FetchKeyPackage(ctx, w.peer.account(), conn.DeviceID{}, nil)
		return err
	}},
	{"createChannel", func(ctx context.Context, w *writer) (err error) {
		w.channel, _, err = w.conn.CreateChannel(ctx, w.peer.account())
		return err
	}},
	{"enqueue", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Enqueue(ctx, conn.Message{To: w.me.account(), Payload: []byte("to myself")})
		return err
	}},
	{"batchEnqueue", func(ctx context.Context, w *writer) error {
		outcomes, err := w.conn.BatchEnqueue(ctx, conn.Batch{
			Channel: w.channel, Recipients: []conn.Recipient{{Account: w.peer.account()}}, Payload: []byte("to a friend"),
		})
		if err == nil {
			err = outcomes[0].Err
		}
		return err
	}},
	{"publishCommit", func(ctx context.Context, w *writer) error {
		_, _, err := w.conn.PublishCommit(ctx, &conn.Commit{GroupID: w.group, NextVerifier: sha256.Sum256([]byte("next"))})
		return err
	}},
	{"ack", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Ack(ctx, conn.Queue{}, 1)
		return err
	}},
	{"fetch", func(ctx context.Context, w *writer) error {
		_, err := w.conn.Drain(ctx, conn.Queue{}, 1, nil)
		return err
	}},
	{"publishEndpoint", func(ctx context.Context, w *writer) error {
		return w.conn.PublishEndpoint(ctx, []byte("here"), time.Hour)
	}},
	{"registerDevice", func(ctx context.Context, w *writer) error {
		_, err := w.conn.RegisterDevice(ctx, conn.Device{ID: w.device, Name: "phone"}, w.me.key)
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
	packages, err := keypool.Packages(peer.name, peer.key, 2*len(c.Nodes()))
	fatal(t, err)
	_, _, err = through.UploadKeyPackages(within(t, time.Minute), packages, nil)
	fatal(t, err)
	leader := c.LeaderT(t)
	set(t, c, "member_invites_daily", 100)
	for i, n := range c.Nodes() {
		role := "a follower"
		if n == leader {
			role = "the leader"
		}
		w := &writer{conn: connect(t, c, n), me: newPerson(t, fmt.Sprintf("writer%d", i)), peer: peer, device: conn.DeviceID{1}}
		w.group = make([]byte, 32)
		_, _ = rand.Read(w.group)
		for _, step := range writes {
			if err := step.call(within(t, time.Minute), w); err != nil {
				t.Errorf("%s, %s: %s: %v", n.ID(), role, step.method, err)
			}
		}
	}
}

// A method that docs/protocol.md marks as a write, and every one of the schema stands there, is
// called on every node by the test above.
func TestEveryWriteIsCalledOnEveryNode(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	fatal(t, err)
	rows := regexp.MustCompile("(?m)^\\| `(\\w+) @\\d+` \\| ([sw ]*)\\|").FindAllStringSubmatch(string(page), -1)
	marked := map[string]bool{"fetch": true} // with drain, as the page says elsewhere
	for _, row := range rows {
		marked[row[1]] = marked[row[1]] || strings.Contains(row[2], "w")
	}
	for _, m := range schemas.NodeService_Methods(nil, nil) {
		_, stands := marked[m.MethodName]
		if !stands && m.MethodName != "health" && !strings.HasSuffix(m.MethodName, "Blob") {
			t.Errorf("docs/protocol.md has no row for %s", m.MethodName)
		}
		called := slices.ContainsFunc(writes, func(w struct {
			method string
			call   func(context.Context, *writer) error
		},
		) bool {
			return w.method == m.MethodName
		})
		if called != marked[m.MethodName] {
			t.Errorf("%s: it writes: %t; it is in the table of writes: %t", m.MethodName, marked[m.MethodName], called)
		}
	}
}
