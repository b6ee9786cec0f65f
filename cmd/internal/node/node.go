package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
	"quicproquo/rpc"
)

// ShutdownTime bounds an orderly stop: draining calls, handing leadership over.
const ShutdownTime = 10 * time.Second

// Node is a running node with its client server.
type Node struct {
	Engine *cluster.Node
	Server *rpc.Server
}

// gcPercent is how much garbage a node lets pile up, in per cent of what is alive. What
// a handshake leaves behind lies between what its connection keeps: at Go's default of
// 100 an idle subscriber costs 67 KiB, at 25 59 KiB, and the engine writes as fast
// within the noise (docs/performance.md). The environment variable GOGC overrules it.
const gcPercent = 25

// Open opens a node and serves clients. It sets the pace of the process's garbage
// collector.
func Open(config cluster.Config, limits rpc.Limits) (*Node, error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	config.Secrets = rpc.Secrets()
	engine, err := cluster.Open(config)
	if err != nil {
		return nil, err
	}
	server := rpc.NewServer(rpc.Engine(engine), rpc.Options{Limits: limits, Logger: config.Logger, ClusterKeys: config.Keys.Keys})
	engine.Serve(tlsid.ALPNClient, server.Serve)
	return &Node{engine, server}, nil
}

// Close stops the node in good order, within ShutdownTime.
func (n *Node) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), ShutdownTime)
	defer cancel()
	return n.Shutdown(ctx)
}

// Shutdown stops the node in good order, as long as ctx lets it.
func (n *Node) Shutdown(ctx context.Context) error {
	return errors.Join(n.Server.Close(ctx), n.Engine.Close(ctx))
}

// Options are what a node's directory does not say. Zero values mean the defaults.
type Options struct {
	Version  string
	LogStore raftlog.Kind
	Join     bool // the node must not start a cluster of its own
	// Socket returns what a node sends and receives by, given its socket; nil: that.
	Socket func(socket *net.UDPConn, self tlsid.NodeID, peers []cluster.Peer) net.PacketConn
}

// OpenDir opens the node of a directory as Provision made it.
func OpenDir(dir string, o Options, limits rpc.Limits, logger *slog.Logger) (*Node, error) {
	config, err := Load(dir)
	if err != nil {
		return nil, err
	}
	peers, err := ParsePeers(config.Peers)
	if err != nil {
		return nil, err
	}
	secrets, err := cluster.LoadSecrets(dir)
	if err != nil {
		return nil, err
	}
	conn, err := o.listen(config, peers)
	if err != nil {
		return nil, err
	}
	return Open(cluster.Config{
		ID: tlsid.NodeID(config.ID), Address: config.Address, Dir: dir, Conn: conn,
		Identity: secrets.Identity, Authority: secrets.Authority, Keys: secrets.Keys, Peers: peers, Version: o.Version, LogStore: o.LogStore,
		Join: o.Join, Logger: logger,
	}, limits)
}

func (o *Options) listen(config Config, peers []cluster.Peer) (net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", config.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if socket, ok := conn.(*net.UDPConn); ok && o.Socket != nil {
		return o.Socket(socket, tlsid.NodeID(config.ID), peers), nil
	}
	return conn, nil
}

// ChildOptions are what a child is told. Zero values mean the defaults.
type ChildOptions struct {
	Options
	// Told gets each line that the parent writes into life; nil: nobody reads them.
	Told func(line []byte)
}

// RunChild runs the node of a directory as Provision made it, with the defaults but
// without limits of rates, since everybody calls from this machine. It ends with ctx,
// when the node fails, or with life: the pipe from a parent, which closes when the
// parent dies, however it does.
func RunChild(ctx context.Context, dir string, o ChildOptions, life io.Reader, logger *slog.Logger) error {
	n, err := OpenDir(dir, o.Options, rpc.Limits{Rates: rpc.Off}, logger)
	if err != nil {
		return err
	}
	orphaned := make(chan struct{})
	go func() {
		defer close(orphaned)
		o.hear(life)
	}()
	var failure error
	select {
	case <-ctx.Done():
	case <-orphaned:
	case <-n.Engine.Failed():
		failure = fmt.Errorf("the node stopped: %w", n.Engine.Err())
	}
	return errors.Join(failure, n.Close())
}

// hear reads what the parent says until it has gone.
func (o *ChildOptions) hear(life io.Reader) {
	if o.Told != nil {
		for lines := bufio.NewScanner(life); lines.Scan(); {
			o.Told(lines.Bytes())
		}
	}
	_, _ = io.Copy(io.Discard, life)
}
