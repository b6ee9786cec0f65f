package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/datadir"
	"quicproquo/cluster/diskguard"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// A node whose store has drifted from the others' at the same index stops and
// says so; the others go on.
func TestDivergedNodeStops(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	write(t, c.Node(0), 1, nil, "same")
	c.SameT(t)
	victim := c.FollowersT(t)[0]
	store := victim.Engine().Store()
	sealed, err := schemas.SealBatch(1, [][]byte{testcluster.EnqueueEntry(testcluster.Account(2), nil, []byte("never in the log"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply([]fsm.Log{{Index: store.Index() + 1, Data: sealed}}); err != nil {
		t.Fatal(err)
	}
	leader := c.LeaderT(t)
	write(t, leader, 3, nil, "in the log")
	select {
	case <-victim.Engine().Failed():
	case <-time.After(proposeTime):
		t.Fatal("the diverged node goes on")
	}
	if err := victim.Engine().Err(); !errors.Is(err, cluster.ErrDiverged) {
		t.Errorf("the diverged node says %v, want ErrDiverged", err)
	}
	if _, _, err := victim.Engine().Propose(t.Context(), testcluster.EnqueueEntry(testcluster.Account(4), nil, []byte("x"))); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("a stopped node takes writes: %v", err)
	}
	write(t, leader, 3, nil, "the others go on")
}

// Damage to a stopped node's files is noticed, by name, when it starts or when
// it reads them; afterwards the node comes back through its peers with all that
// was acknowledged.
func TestDamagedFilesAreNoticedAndMended(t *testing.T) {
	for _, kind := range []raftlog.Kind{raftlog.BoltDB, raftlog.WAL} {
		t.Run(string(kind), func(t *testing.T) {
			c := testcluster.StartT(t, testcluster.Options{LogStore: kind})
			c.LeaderT(t)
			for i := range 30 {
				write(t, c.Node(i%3), 1, nil, fmt.Sprintf("marker-%02d", i))
			}
			c.SameT(t)
			victim := c.FollowersT(t)[0]
			if err := victim.Kill(); err != nil {
				t.Fatal(err)
			}
			flipped := flipInFiles(t, filepath.Join(victim.Dir(), "raft"), []byte("marker-17"))
			err := victim.Start()
			if err == nil {
				select {
				case <-victim.Engine().Failed():
					err = victim.Engine().Err()
				case <-time.After(5 * time.Second):
				}
			}
			if err == nil || !strings.Contains(err.Error(), "raft") || !strings.Contains(err.Error(), "--join") {
				t.Fatalf("a flipped bit in %s: got %v, want an error that names the file and what to do", flipped, err)
			}
			if err := victim.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := victim.Wipe(); err != nil {
				t.Fatal(err)
			}
			if err := victim.Start(); err != nil {
				t.Fatal(err)
			}
			write(t, c.LeaderT(t), 1, nil, "after")
			c.SameT(t)
			if got := bodies(t, victim, 1); len(got) != 31 {
				t.Errorf("the mended node has %d envelopes, want 31", len(got))
			}
		})
	}
}

// flipInFiles flips one bit in the last place of a directory where text stands.
func flipInFiles(t *testing.T, dir string, text []byte) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.LastIndex(raw, text)
		if at < 0 {
			return nil
		}
		for ; at >= 0; at = bytes.LastIndex(raw[:at], text) {
			raw[at+3] ^= 0x10 // every copy: a database keeps old pages
		}
		found = path
		return os.WriteFile(path, raw, 0o600)
	})
	if err != nil || found == "" {
		t.Fatalf("no file in %s holds %q (%v)", dir, text, err)
	}
	return found
}

// A directory in use, of a newer format, or that can't be read is refused by
// name, and left as it is.
func TestUnusableDirectoriesAreRefused(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	n := c.Node(0)
	if _, err := datadir.Open(n.Dir()); !errors.Is(err, datadir.ErrLocked) || !strings.Contains(err.Error(), n.Dir()) {
		t.Errorf("a second process on the directory: %v, want ErrLocked with the directory's name", err)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	format := filepath.Join(n.Dir(), "format")
	good, err := os.ReadFile(format)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ name, content, want string }{
		{"newer format", "qpqd-data 99\n", "install the newer"},
		{"foreign file", "something else\n", "is this a node's directory"},
	} {
		if err := os.WriteFile(format, []byte(bad.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := n.Start(); !errors.Is(err, datadir.ErrFormat) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want ErrFormat and %q", bad.name, err, bad.want)
		}
	}
	if err := os.WriteFile(format, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Errorf("the directory is not as it was: %v", err)
	}
}

// A log that ends before the store (files put back from an older copy) is
// refused: going on would skip entries.
func TestLogOlderThanStoreIsRefused(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	for range 10 {
		write(t, c.Node(0), 1, nil, "x")
	}
	c.SameT(t)
	victim := c.FollowersT(t)[0]
	if err := victim.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(victim.Dir(), "raft")); err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err == nil || !strings.Contains(err.Error(), "--join") {
		t.Fatalf("a node without its log: %v, want a refusal that says what to do", err)
	}
	if err := victim.Wipe(); err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	c.SameT(t)
}

// A leader whose disk fills refuses writes as not applied and hands leadership
// over; nothing acknowledged is lost, and with room again the node takes part.
func TestFullDiskRefusesWritesAndLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the disk: go test without -short runs it; in the race run the tests of crashes have the same goroutines at work")
	}
	root := t.TempDir()
	disk := filepath.Join(root, "n1")
	mountTmpfs(t, disk, "96m")
	// The node on the small disk measures it, as processes do; the machine's is not asked.
	measure := func(id tlsid.NodeID) diskguard.Usage {
		usage := diskguard.Usage{Total: 100 << 30, Free: 50 << 30}
		if id == "n1" {
			if usage, err := diskguard.Statfs(disk); err == nil {
				return usage
			}
		}
		return usage
	}
	c := testcluster.StartT(t, testcluster.Options{Dir: root, Disk: measure})
	c.LeaderT(t)
	if err := c.Node(1).Engine().TransferLeadership(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	acked := 0
	write(t, c.Node(0), 1, nil, "before")
	filler := filepath.Join(disk, "filler")
	usage, err := diskguard.Statfs(disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, usage.Free-4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), proposeTime)
	defer cancel()
	if err := testcluster.Await(ctx, "another leader", func() error {
		if l := c.Node(1).Engine().Leader(); l == "n1" || l == "" {
			return fmt.Errorf("leader is %q", l)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var last uint64
	for range 50 {
		_, last = write(t, c.Node(1), 1, nil, strings.Repeat("y", 512<<10))
		acked++
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	n1 := c.Node(0)
	select {
	case <-n1.Engine().Failed():
		t.Logf("n1 stopped on its full disk: %v", n1.Engine().Err())
		if err := n1.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := n1.Start(); err != nil {
			t.Logf("n1 does not start as it is: %v", err)
			if err := n1.Wipe(); err != nil {
				t.Fatal(err)
			}
			if err := n1.Start(); err != nil {
				t.Fatal(err)
			}
		}
	default:
	}
	for _, n := range c.Nodes()[1:] {
		if err := n.Engine().WaitSeen(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if got := bodies(t, n, 1); len(got) != acked+1 {
			t.Errorf("%s has %d envelopes, %d were acknowledged", n.ID(), len(got), acked+1)
		}
	}
}

// mountTmpfs mounts a small file system, or skips where that is not allowed.
func mountTmpfs(t *testing.T, dir, size string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounting a small file system is not allowed here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
}

// A node renews its own certificate, and one without the CA's key gets it from a
// member; connections made afterwards work.
func TestCertificatesAreRenewed(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	keyless := c.Node(2)
	if err := keyless.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(keyless.Dir(), "tls", "*ca*key*"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("CA key files %v (%v), want one", keys, err)
	}
	if err := os.Remove(keys[0]); err != nil {
		t.Fatal(err)
	}
	if err := keyless.Start(); err != nil {
		t.Fatal(err)
	}
	c.LeaderT(t)
	write(t, keyless, 1, nil, "connected")
	for _, n := range []*testcluster.Node{c.Node(0), keyless} {
		before := serial(t, n)
		if err := n.Engine().RenewOnce(); err != nil {
			t.Fatalf("renew on %s: %v", n.ID(), err)
		}
		if serial(t, n) == before {
			t.Errorf("%s still has its old certificate on disk", n.ID())
		}
	}
	if err := c.Node(1).Restart(); err != nil {
		t.Fatal(err)
	}
	write(t, keyless, 1, nil, "still connected")
	c.SameT(t)
}

func serial(t *testing.T, n *testcluster.Node) string {
	t.Helper()
	secrets, err := cluster.LoadSecrets(n.Dir())
	if err != nil {
		t.Fatal(err)
	}
	return secrets.Identity.Leaf().SerialNumber.String()
}

// Whatever bytes a peer sends, the node answers or refuses; it does not panic
// and its log takes no garbage.
func FuzzPeerRequest(f *testing.F) {
	c := testcluster.StartT(f, testcluster.Options{Nodes: 1})
	n := c.LeaderT(f).Engine()
	for _, frame := range peerRequests(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		answer, err := n.AnswerPeer("n1", frame)
		if err == nil {
			if err := schemas.CheckFrame(answer, schemas.MaxPeerMessage); err != nil {
				t.Errorf("the answer is no frame: %v", err)
			}
		}
		if err := n.Err(); err != nil {
			t.Fatalf("the node stopped: %v", err)
		}
	})
}

func peerRequests(tb testing.TB) [][]byte {
	tb.Helper()
	var frames [][]byte
	for _, fill := range []func(schemas.PeerRequest) error{
		func(r schemas.PeerRequest) error { r.SetConfirm(); return nil },
		func(r schemas.PeerRequest) error { r.SetStatus(); return nil },
		func(r schemas.PeerRequest) error { r.SetSettings(); return nil },
		func(r schemas.PeerRequest) error { return r.SetHoldKey(make([]byte, 32)) },
		func(r schemas.PeerRequest) error { return r.SetGiveKey(make([]byte, 16)) },
		func(r schemas.PeerRequest) error { _, err := r.NewRenew(); return err },
		func(r schemas.PeerRequest) error {
			change, err := r.NewChange()
			if err != nil {
				return err
			}
			change.SetKind(schemas.MemberChange_Kind_transfer)
			return change.SetId("n1")
		},
		func(r schemas.PeerRequest) error {
			forward, err := r.NewForward()
			if err != nil {
				return err
			}
			entries, err := forward.NewEntries(1)
			if err != nil {
				return err
			}
			return entries.Set(0, testcluster.EnqueueEntry(testcluster.Account(1), nil, []byte("hello")))
		},
	} {
		msg, seg := schemas.NewMessage()
		req, err := schemas.NewRootPeerRequest(seg)
		if err != nil {
			tb.Fatal(err)
		}
		req.SetTimeoutMs(100)
		if err := fill(req); err != nil {
			tb.Fatal(err)
		}
		frame, err := msg.Marshal()
		if err != nil {
			tb.Fatal(err)
		}
		frames = append(frames, frame)
	}
	return frames
}

// A node whose leader has other entries where it has applied its own stops, and says what
// to do; what it has not applied may go.
func TestANodeIsNotCutBelowWhatItApplied(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	n := c.LeaderT(t).Engine()
	write(t, c.Node(0), 1, nil, "applied")
	applied := n.Store().Index()
	if err := n.MayCut(applied + 1); err != nil {
		t.Errorf("above what it applied: %v, want nothing", err)
	}
	if err := n.MayCut(applied); !errors.Is(err, cluster.ErrDiverged) {
		t.Fatalf("from the last applied entry on: %v, want %v", err, cluster.ErrDiverged)
	}
	<-n.Failed()
	if err := n.Err(); !errors.Is(err, cluster.ErrDiverged) {
		t.Errorf("the node stopped: %v, want %v", err, cluster.ErrDiverged)
	}
}

// A store that has more than its log is noticed within seconds, also where nobody else is
// there to compare with.
func TestStoreAheadOfItsLogStops(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	n := c.LeaderT(t).Engine()
	store := n.Store()
	sealed, err := schemas.SealBatch(1, [][]byte{testcluster.EnqueueEntry(testcluster.Account(2), nil, []byte("never in the log"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Apply([]fsm.Log{{Index: store.Index() + 1000, Data: sealed}}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-n.Failed():
	case <-time.After(30 * time.Second):
		t.Fatal("the node goes on")
	}
	if err := n.Err(); !errors.Is(err, cluster.ErrDiverged) || !strings.Contains(err.Error(), "its log ends at") {
		t.Errorf("the node stopped: %v, want %v and where the log ends", err, cluster.ErrDiverged)
	}
}
