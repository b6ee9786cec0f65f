package testcluster_test

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	raftwal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"

	"quicproquo/cluster/raftlog"
)

// rawCluster is the measure of the engine: hashicorp/raft as it comes, three
// nodes in this process, TCP, a state machine that does nothing, the same log
// store. No batching above raft, no checksums, no encryption.
type rawCluster struct {
	nodes []*raft.Raft
	stop  []func() error
}

type noMachine struct{}

func (noMachine) Apply(*raft.Log) any { return nil }

func (noMachine) ApplyBatch(logs []*raft.Log) []any { return make([]any, len(logs)) }

func (noMachine) Snapshot() (raft.FSMSnapshot, error) { return noSnapshot{}, nil }

func (noMachine) Restore(r io.ReadCloser) error { return r.Close() }

type noSnapshot struct{}

func (noSnapshot) Persist(sink raft.SnapshotSink) error { return sink.Close() }

func (noSnapshot) Release() {}

func startRaw(b *testing.B, kind raftlog.Kind) *rawCluster {
	b.Helper()
	c := &rawCluster{}
	var servers []raft.Server
	var transports []*raft.NetworkTransport
	for i := range 3 {
		transport, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		transports = append(transports, transport)
		servers = append(servers, raft.Server{ID: raft.ServerID(fmt.Sprint("n", i)), Address: transport.LocalAddr()})
	}
	for i, transport := range transports {
		logs, stable := c.openRaw(b, kind, b.TempDir())
		cfg := raft.DefaultConfig()
		cfg.LocalID = servers[i].ID
		cfg.LogOutput = io.Discard
		cfg.BatchApplyCh = true
		cfg.SnapshotThreshold = 1 << 40
		cache, err := raft.NewLogCache(2048, logs)
		if err != nil {
			b.Fatal(err)
		}
		snapshots := raft.NewDiscardSnapshotStore()
		if i == 0 {
			if err := raft.BootstrapCluster(cfg, cache, stable, snapshots, transport, raft.Configuration{Servers: servers}); err != nil {
				b.Fatal(err)
			}
		}
		node, err := raft.NewRaft(cfg, noMachine{}, cache, stable, snapshots, transport)
		if err != nil {
			b.Fatal(err)
		}
		c.nodes = append(c.nodes, node)
		c.stop = append(c.stop, transport.Close)
	}
	b.Cleanup(c.close)
	return c
}

func (c *rawCluster) openRaw(b *testing.B, kind raftlog.Kind, dir string) (raft.LogStore, raft.StableStore) {
	b.Helper()
	stable, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(dir, "raft.db"),
		BoltOptions: &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true},
	})
	if err != nil {
		b.Fatal(err)
	}
	c.stop = append(c.stop, stable.Close)
	if kind == raftlog.BoltDB {
		return stable, stable
	}
	wal, err := raftwal.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	c.stop = append(c.stop, wal.Close)
	return wal, stable
}

func (c *rawCluster) close() {
	for _, node := range c.nodes {
		_ = node.Shutdown().Error()
	}
	for i := len(c.stop) - 1; i >= 0; i-- {
		_ = c.stop[i]()
	}
}

func (c *rawCluster) leader(b *testing.B) *raft.Raft {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, node := range c.nodes {
			if node.State() == raft.Leader && node.VerifyLeader().Error() == nil {
				return node
			}
		}
	}
	b.Fatal("raw raft elected no leader in 20 s")
	return nil
}
