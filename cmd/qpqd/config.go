package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"quicproquo/cluster"
	"quicproquo/cmd/internal/settings"
	"quicproquo/crypto/tlsid"
)

// configFile is the name of the configuration in a node's directory.
const configFile = "node.toml"

// envPrefix starts the name of every environment variable: flag log-store is
// QPQD_LOG_STORE.
const envPrefix = "QPQD_"

// fill gives the flags that were not set on the command line their values.
func fill(flags *pflag.FlagSet, file string, required bool) error {
	values, err := settings.ReadFile(file, required)
	if err != nil {
		return err
	}
	return settings.Source{EnvPrefix: envPrefix, Help: "qpqd run --help"}.Fill(flags, values)
}

// nodeConfig is what `init` writes and `run` reads.
type nodeConfig struct {
	ID      string   `toml:"id" comment:"The node's name for ever."`
	Listen  string   `toml:"listen" comment:"The one UDP port, on this machine."`
	Address string   `toml:"address" comment:"Where the other nodes and clients reach it."`
	Peers   []string `toml:"peers" comment:"The set that the cluster starts from; the same on every node."`
}

func (c nodeConfig) write(dir string) error {
	raw, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	file := filepath.Join(dir, configFile)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// parsePeers reads ID=HOST:PORT.
func parsePeers(texts []string) ([]cluster.Peer, error) {
	peers := make([]cluster.Peer, 0, len(texts))
	for _, text := range texts {
		id, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("node %q is not ID=HOST:PORT, such as n1=10.0.0.1:4430", text)
		}
		peers = append(peers, cluster.Peer{ID: tlsid.NodeID(id), Address: address})
	}
	return peers, nil
}

// loadNodeConfig reads a node's file for commands that need only who is where.
func loadNodeConfig(dir string) (nodeConfig, error) {
	file := filepath.Join(dir, configFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return nodeConfig{}, fmt.Errorf("read configuration: %w", err)
	}
	var config nodeConfig
	if err := toml.Unmarshal(raw, &config); err != nil {
		return nodeConfig{}, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return config, nil
}
