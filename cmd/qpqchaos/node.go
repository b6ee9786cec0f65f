package main

import (
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/internal/node"
	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/crypto/tlsid"
	"quicproquo/testcluster"
)

// childNode is the hidden command that node processes run.
const childNode = "node"

// linksEnv makes a node do to its packets what its standard input says, which is a list
// of testcluster.Link in JSON for each line. It is no flag, so that the processes of an
// older version (--other) start all the same.
const linksEnv = "QPQCHAOS_LINKS"

// nodeProcess is how a node is started in a directory.
func nodeProcess(program, dir string, o *chaos.Options) *exec.Cmd {
	cmd := childCommand(program, childNode, "--dir", dir, "--log-store", string(o.LogStore))
	if o.Level == chaos.LevelNetns {
		cmd.Env = append(os.Environ(), linksEnv+"=1")
	}
	return cmd
}

func nodeCommand() *cobra.Command {
	var dir, logStore string
	var join bool
	cmd := &cobra.Command{
		Use: childNode, Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
			o := node.ChildOptions{Options: node.Options{Version: "chaos", LogStore: raftlog.Kind(logStore), Join: join}}
			if os.Getenv(linksEnv) != "" {
				harmPackets(&o, logger)
			}
			return node.RunChild(cmd.Context(), dir, o, os.Stdin, logger)
		},
	}
	cmd.Flags().StringVar(&logStore, "log-store", "", "the node's log store")
	cmd.Flags().BoolVar(&join, "join", false, "the node's disk is empty, and the cluster knows it")
	cmd.Flags().StringVar(&dir, "dir", "", "the node's directory")
	return cmd
}

// harmPackets has the node's packets suffer what the parent says.
func harmPackets(o *node.ChildOptions, logger *slog.Logger) {
	faults := testcluster.NewFaults(uint64(os.Getpid()))
	o.Socket = func(socket *net.UDPConn, self tlsid.NodeID, peers []cluster.Peer) net.PacketConn {
		for _, p := range peers {
			faults.Name(p.Address, string(p.ID))
		}
		return faults.Conn(socket, string(self))
	}
	o.Told = func(line []byte) {
		var links []testcluster.Link
		if err := json.Unmarshal(line, &links); err != nil {
			logger.Error("read what links suffer", "error", err)
			return
		}
		faults.SetLinks(links)
	}
}
