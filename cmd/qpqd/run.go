package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/internal/keysource"
	"quicproquo/cmd/internal/node"
	"quicproquo/crypto/tlsid"
	"quicproquo/rpc"
)

// runFlags are the settings of one node.
type runFlags struct {
	dir, config                  string
	clusterKey                   string
	id, listen, address          string
	peers                        []string
	join, learnKeys              bool
	logStore                     string
	logLevel, logFormat          string
	metrics                      string
	pprof                        bool
	rates                        string
	cacheMiB                     int64
	minFree                      float64
	heartbeat, election, lease   time.Duration
	snapshotEvery, snapshotTrail uint64
	snapshotMiB, trailMiB        int64
}

func (f *runFlags) register(flags *pflag.FlagSet) {
	timing, snap := cluster.DefaultTiming(), cluster.DefaultSnapshotPolicy()
	flags.StringVar(&f.id, "id", "", "the node's name; it never changes")
	flags.StringVar(&f.listen, "listen", "", "local UDP address, such as :4430")
	flags.StringVar(&f.address, "address", "", "HOST:PORT where peers and clients reach the node")
	flags.StringArrayVar(&f.peers, "peers", nil, "a node of the first set as ID=HOST:PORT; repeat for each")
	flags.BoolVar(&f.join, "join", false, "wait to be added to a running cluster instead of starting one; also for a member that has lost its disk")
	flags.BoolVar(&f.learnKeys, "learn-keys", false, "let nodes in whose keys the cluster does not know: only while the nodes of a majority have new keys at once, until `qpqd trust` has told the cluster of each")
	flags.StringVar(&f.clusterKey, "cluster-key", "", "where the cluster key comes from: file, fd:N, command:PROGRAM ARGS, passphrase-file:PATH or passphrase-fd:N (default file: cluster.key in the directory)")
	flags.StringVar(&f.logStore, "log-store", string(raftlog.BoltDB), "where the raft log lies: boltdb or wal")
	flags.Int64Var(&f.cacheMiB, "cache-mib", 64, "the store's block cache, in MiB")
	flags.Float64Var(&f.minFree, "min-free-disk", 0.10, "share of free disk below which writes are refused")
	flags.DurationVar(&f.heartbeat, "heartbeat-timeout", timing.Heartbeat, "silence after which a follower asks for an election; keep it well above the worst disk stall")
	flags.DurationVar(&f.election, "election-timeout", timing.Election, "how long one election may take")
	flags.DurationVar(&f.lease, "leader-lease", timing.Lease, "silence of the majority after which a leader steps down")
	flags.Uint64Var(&f.snapshotEvery, "snapshot-entries", snap.Threshold, "raft entries between snapshots")
	flags.Uint64Var(&f.snapshotTrail, "trailing-entries", snap.Trailing, "raft entries kept behind a snapshot")
	flags.StringVar(&f.metrics, "metrics", "", "HOST:PORT (TCP) that serves /metrics for Prometheus, such as 127.0.0.1:9431; empty: nothing does")
	flags.BoolVar(&f.pprof, "pprof", false, "give the Go runtime's profiles on the socket pprof.sock in the directory, to whoever may open files there")
	flags.StringVar(&f.rates, "rates", "default", "how often callers may call (docs/limits.md): default, or off for measurements (qpq bench), where everybody who reaches the node is known")
	flags.Int64Var(&f.snapshotMiB, "snapshot-mib", snap.Bytes>>20, "MiB of log between snapshots")
	flags.Int64Var(&f.trailMiB, "trailing-mib", snap.TrailingBytes>>20, "MiB of log kept behind a snapshot")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
}

func runCommand() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one node",
		Long: `Runs one node until SIGINT or SIGTERM, which stop it in good order: running
calls finish and leadership goes to another node first.

Settings come from flags, then from the environment (log-store is
QPQD_LOG_STORE), then from the file node.toml in the node's directory, whose keys
are the flags' names.`,
		Example: `  qpqd run --dir /var/lib/qpqd
  QPQD_LOG_LEVEL=debug qpqd run --dir cluster/n1 --log-store wal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			required := f.config != ""
			if !required {
				f.config = filepath.Join(f.dir, node.ConfigFile)
			}
			settings := pflag.NewFlagSet("settings", pflag.ContinueOnError)
			cmd.Flags().VisitAll(func(flag *pflag.Flag) {
				if flag.Name != "dir" && flag.Name != "config" && flag.Name != "help" {
					settings.AddFlag(flag)
				}
			})
			if err := fill(settings, f.config, required); err != nil {
				return err
			}
			return f.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "the node's directory, as `init` wrote it")
	cmd.Flags().StringVar(&f.config, "config", "", "configuration file (default: node.toml in --dir)")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	f.register(cmd.Flags())
	return cmd
}

// run opens the node and serves until ctx ends or the node fails.
func (f *runFlags) run(ctx context.Context) error {
	logger, err := newLogger(f.logLevel, f.logFormat)
	if err != nil {
		return err
	}
	cfg, err := f.clusterConfig(logger)
	if err != nil {
		return err
	}
	limits, err := f.limits(logger)
	if err != nil {
		return err
	}
	n, err := node.Open(cfg, limits)
	if err != nil {
		return exitError{exitIO, err}
	}
	stopMetrics, err := serveMetrics(f.metrics, []observed{{
		f.id, func() *cluster.Node { return n.Engine }, func() *rpc.Server { return n.Server },
	}}, logger)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	stopProfiles, err := serveProfiles(f.pprof, f.dir, logger)
	if err != nil {
		return errors.Join(err, n.Close())
	}
	logger.Info("node runs", "id", f.id, "address", cfg.Address, "dir", f.dir)

	var failure error
	select {
	case <-ctx.Done():
		logger.Info("stopping")
	case <-n.Engine.Failed():
		failure = exitError{exitUnexpected, fmt.Errorf("the node stopped: %w", n.Engine.Err())}
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), node.ShutdownTime)
	defer cancel()
	return errors.Join(failure, n.Close(), stopMetrics(stopCtx), stopProfiles(stopCtx))
}

func (f *runFlags) clusterConfig(logger *slog.Logger) (cluster.Config, error) {
	peers, err := node.ParsePeers(f.peers)
	if err != nil {
		return cluster.Config{}, err
	}
	_, secrets, err := readSecrets(f.dir, f.clusterKey)
	if err != nil {
		return cluster.Config{}, err
	}
	if f.listen == "" || f.address == "" || f.id == "" {
		return cluster.Config{}, errors.New("id, listen and address must be set: as flags, in the environment or in node.toml (`qpqd init` writes it)")
	}
	conn, err := net.ListenPacket("udp", f.listen)
	if err != nil {
		return cluster.Config{}, exitError{exitIO, fmt.Errorf("listen: %w; is another node running on this port?", err)}
	}
	timing, snap := cluster.DefaultTiming(), cluster.DefaultSnapshotPolicy()
	timing.Heartbeat, timing.Election, timing.Lease = f.heartbeat, f.election, f.lease
	snap.Threshold, snap.Trailing = f.snapshotEvery, f.snapshotTrail
	snap.Bytes, snap.TrailingBytes = f.snapshotMiB<<20, f.trailMiB<<20
	return cluster.Config{
		ID: tlsid.NodeID(f.id), Address: f.address, Dir: f.dir, Conn: conn,
		Identity: secrets.Identity, Authority: secrets.Authority, Keys: secrets.Keys,
		Peers: peers, Join: f.join, LearnKeys: f.learnKeys, LogStore: raftlog.Kind(f.logStore),
		Timing: timing, Snapshot: snap,
		StoreCache: f.cacheMiB << 20, MinFreeDisk: f.minFree,
		Version: version, Logger: logger,
	}, nil
}

// readSecrets reads the secrets of a node's directory, with the cluster key from where its
// configuration says.
func readSecrets(dir, clusterKey string) (source keysource.Source, secrets cluster.Secrets, err error) {
	if source, err = keysource.Parse(clusterKey); err != nil {
		return source, secrets, err
	}
	key, keep, err := source.Open(dir)
	if err != nil {
		return source, secrets, fmt.Errorf("read the cluster key from %s: %w; copy it from another node, or make a new cluster with qpqd init", source, err)
	}
	secrets, err = cluster.LoadSecretsWith(dir, key, keep)
	return source, secrets, err
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return nil, fmt.Errorf("log-format %q: use text or json", format)
}

// limits are those of the node towards its clients.
func (f *runFlags) limits(logger *slog.Logger) (rpc.Limits, error) {
	switch f.rates {
	case "default":
		return rpc.Limits{}, nil
	case "off":
		logger.Warn("this node does not limit how often anybody calls: --rates off is for measurements")
		return rpc.Limits{Rates: rpc.Off}, nil
	}
	return rpc.Limits{}, fmt.Errorf("--rates %q is neither default nor off", f.rates)
}
