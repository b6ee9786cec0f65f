package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/cluster/mesh"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// BenchmarkResident queues a million envelopes of 1 KiB, to 10,000 recipients, in
// a cluster of three real qpqd processes and reports the most that one of them
// ever held resident. Run it alone:
//
//	go test -run '^$' -bench Resident -benchtime 1x ./cluster
func BenchmarkResident(b *testing.B) {
	const envelopes, recipients, body, batch, callers = 1_000_000, 10_000, 1024, 256, 6
	root := b.TempDir()
	qpqd := filepath.Join(root, "qpqd")
	command(b, "go", "build", "-o", qpqd, "../cmd/qpqd")
	var peers []Peer
	args := []string{"init", "--out", filepath.Join(root, "cluster")}
	for i := range 3 {
		p := Peer{ID: tlsid.NodeID(fmt.Sprint("n", i+1)), Address: freeAddress(b)}
		peers = append(peers, p)
		args = append(args, "--node", fmt.Sprint(p.ID, "=", p.Address))
	}
	command(b, qpqd, args...)
	var processes []*exec.Cmd
	for _, p := range peers {
		cmd := exec.Command(qpqd, "run", "--dir", filepath.Join(root, "cluster", string(p.ID)), "--log-store", "wal")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		processes = append(processes, cmd)
		b.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	}
	streams := outsidePeer(b, filepath.Join(root, "cluster", "n1"), peers)
	leader := outsideLeader(b, streams, peers)
	var done atomic.Int64
	var calls sync.WaitGroup
	for range callers {
		calls.Go(func() {
			text := make([]byte, body)
			_, _ = rand.Read(text)
			for n := done.Add(batch); n <= envelopes; n = done.Add(batch) {
				if err := forwardMany(b.Context(), streams, leader, n, batch, recipients, text); err != nil {
					b.Errorf("forward: %v", err)
					return
				}
			}
		})
	}
	calls.Wait()
	for i, cmd := range processes {
		most := residentMost(b, cmd.Process.Pid)
		b.ReportMetric(most, fmt.Sprintf("%s-MiB", peers[i].ID))
	}
	b.ReportMetric(0, "ns/op")
}

// forwardMany sends one batch of fresh enqueues, and repeats it until it is
// known to be applied.
func forwardMany(ctx context.Context, streams *peerStreams, to tlsid.NodeID, from int64, count, recipients int, body []byte) error {
	batch := make([]*proposal, count)
	for i := range batch {
		number := uint64(from) + uint64(i)
		var id [schemas.RequestIDSize]byte
		binary.BigEndian.PutUint64(id[:], number*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(id[8:], number)
		var key [schemas.AccountKeySize]byte
		binary.BigEndian.PutUint64(key[:], number%uint64(recipients)*0xd1342543de82ef95)
		entry, err := schemas.BuildEntry(id[:], schemas.Caller{Kind: schemas.Actor_Kind_node}, func(c schemas.Entry_command) error {
			params, err := c.NewEnqueue()
			if err != nil {
				return err
			}
			params.SetVersion(schemas.WireVersion)
			if err := params.SetRecipientKey(key[:]); err != nil {
				return err
			}
			return params.SetPayload(body)
		})
		if err != nil {
			return err
		}
		batch[i] = newProposal(entry, 0)
	}
	frame, err := forwardRequest(entriesOf(batch), 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := streams.call(ctx, to, frame)
	if err != nil {
		return err
	}
	if err := deliverForwarded(batch, reply); err != nil {
		return err
	}
	for _, p := range batch {
		if o := <-p.done; o.state != applied || o.result.Code != schemas.Code_ok {
			return fmt.Errorf("outcome %v, %v, %w", o.state, o.result.Code, o.err)
		}
	}
	return nil
}

// outsidePeer speaks to a cluster with one of its nodes' certificates.
func outsidePeer(b *testing.B, dir string, peers []Peer) *peerStreams {
	b.Helper()
	secrets, err := LoadSecrets(dir)
	if err != nil {
		b.Fatal(err)
	}
	keys, err := mesh.NewKeys()
	if err != nil {
		b.Fatal(err)
	}
	addresses := &addressBook{}
	for _, p := range peers {
		addresses.add(p.ID, p.Address)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	endpoint, err := mesh.Open(mesh.Options{
		Conn: conn, Identity: secrets.Identity, Keys: keys, Logger: slog.New(slog.DiscardHandler),
		Member: func(tlsid.NodeID) bool { return true }, Resolve: addresses.find,
	})
	if err != nil {
		b.Fatal(err)
	}
	streams := newPeerStreams(endpoint)
	b.Cleanup(func() {
		streams.close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = endpoint.Close(ctx)
		_ = conn.Close()
	})
	return streams
}

func outsideLeader(b *testing.B, streams *peerStreams, peers []Peer) tlsid.NodeID {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		for _, p := range peers[1:] { // n1's certificate can't be used to call n1
			ctx, cancel := context.WithTimeout(b.Context(), statusTimeout)
			status, err := askStatus(ctx, streams, p.ID)
			cancel()
			if err == nil && status.State == "leader" {
				return p.ID
			}
			if err == nil && status.Leader == peers[0].ID {
				return peers[0].ID
			}
		}
	}
	b.Fatal("no leader")
	return ""
}

func residentMost(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			return kib / 1024
		}
	}
	b.Fatal("no VmHWM")
	return 0
}

func command(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func freeAddress(b *testing.B) string {
	b.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().String()
}
